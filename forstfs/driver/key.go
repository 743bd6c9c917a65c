package driver

import (
	"fmt"
	"strings"
)

// MaxKey is the longest key in bytes.
const MaxKey = 512

// CheckKey reports whether key is legal: 1 to MaxKey bytes, segments of 1 to 200 bytes separated by single "/", of the
// characters A-Z a-z 0-9 . _ - = + @ ~ , and no segment begins with "." (a driver may use such names for its own
// temporary files). The grammar is the part that S3, HDFS and POSIX share.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("key of %d bytes: 1 to %d are legal", len(key), MaxKey)
	}
	for seg := range strings.SplitSeq(key, "/") {
		if seg == "" {
			return fmt.Errorf("key %q has an empty segment", key)
		}
		if len(seg) > 200 {
			return fmt.Errorf("key %q has a segment of %d bytes: at most 200 are legal", key, len(seg))
		}
		if seg[0] == '.' {
			return fmt.Errorf("key %q has a segment that begins with a dot", key)
		}
	}
	return checkChars(key)
}

// CheckPrefix reports whether prefix is legal for List: empty, or the beginning of a legal key.
func CheckPrefix(prefix string) error {
	if len(prefix) > MaxKey {
		return fmt.Errorf("prefix of %d bytes: at most %d are legal", len(prefix), MaxKey)
	}
	if strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//") {
		return fmt.Errorf("prefix %q has an empty segment", prefix)
	}
	return checkChars(prefix)
}

func checkChars(s string) error {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("._-=+@~,/", c) >= 0:
		default:
			return fmt.Errorf("%q: character %q is not legal in a key", s, c)
		}
	}
	return nil
}
