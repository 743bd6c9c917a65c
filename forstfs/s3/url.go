package s3

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// params are the query parameters of a URL. Secrets are not among them: a URL ends up in logs and process lists.
var params = map[string]func(c *Config, v string) error{
	"region":     func(c *Config, v string) error { c.Region = v; return nil },
	"endpoint":   func(c *Config, v string) error { c.Endpoint = v; return nil },
	"profile":    func(c *Config, v string) error { c.Profile = v; return nil },
	"sse":        func(c *Config, v string) error { c.SSE = v; return nil },
	"kms_key":    func(c *Config, v string) error { c.KMSKey = v; return nil },
	"ca":         func(c *Config, v string) error { c.CAFile = v; return nil },
	"checksum":   func(c *Config, v string) error { c.Checksum = v; return nil },
	"path_style": func(c *Config, v string) error { return parse(v, strconv.ParseBool, func(b bool) { c.PathStyle = &b }) },
	"concurrency": func(c *Config, v string) error {
		return parse(v, strconv.Atoi, func(n int) { c.Concurrency = n })
	},
	"journal_connections": func(c *Config, v string) error {
		return parse(v, strconv.Atoi, func(n int) { c.JournalConnections = n })
	},
	"retry_timeout": func(c *Config, v string) error {
		return parse(v, time.ParseDuration, func(d time.Duration) { c.RetryTimeout = d })
	},
	"attempt_timeout": func(c *Config, v string) error {
		return parse(v, time.ParseDuration, func(d time.Duration) { c.AttemptTimeout = d })
	},
}

func parse[T any](v string, parse func(string) (T, error), set func(T)) error {
	x, err := parse(v)
	if err != nil {
		return fmt.Errorf("%q is not a %T", v, x)
	}
	set(x)
	return nil
}

// ParseURL makes a Config from "s3://bucket/prefix?region=...&endpoint=...". It refuses credentials and unknown parameters
// and lists those that it knows.
func ParseURL(u *url.URL) (*Config, error) {
	bad := func(format string, args ...any) error {
		return &driver.Error{Op: "open", Path: safeURL(u), Kind: driver.KindInvalid, Err: fmt.Errorf(format, args...)}
	}
	if u.User != nil {
		return nil, bad("credentials do not belong in a URL: use the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), a profile or Config")
	}
	if u.Opaque != "" || u.Fragment != "" {
		return nil, bad("want s3://bucket/prefix?name=value&...")
	}
	c := &Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, bad("the query is not well-formed")
	}
	known := strings.Join(slices.Sorted(maps.Keys(params)), ", ")
	for _, name := range slices.Sorted(maps.Keys(query)) {
		set, ok := params[name]
		if !ok {
			return nil, bad("unknown parameter %q; known are: %s", name, known)
		}
		if len(query[name]) != 1 {
			return nil, bad("parameter %q is given %d times", name, len(query[name]))
		}
		if err := set(c, query[name][0]); err != nil {
			return nil, bad("parameter %q: %w", name, err)
		}
	}
	return c, nil
}

// OpenURL is the driver.Opener of the scheme "s3".
func OpenURL(ctx context.Context, u *url.URL) (driver.Store, error) {
	c, err := ParseURL(u)
	if err != nil {
		return nil, err
	}
	return Open(ctx, c)
}

// safeURL is what errors show of a URL: neither user nor query.
func safeURL(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }
