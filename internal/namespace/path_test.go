package namespace

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestClean(t *testing.T) {
	long := strings.Repeat("n", MaxPath-1)
	for _, c := range []struct{ name, want string }{
		{"", "/"}, {".", "/"}, {"/", "/"}, {"//", "/"}, {"./", "/"}, {"/.", "/"}, {"a/..", "/"},
		{"a", "/a"}, {"/a", "/a"}, {"a/", "/a"}, {"/a//b/./c/", "/a/b/c"}, {"a/../b", "/b"}, {"/a/b/../../c", "/c"},
		{"...", "/..."}, {"..a", "/..a"}, {".a/.b", "/.a/.b"}, {"a\\b", "/a\\b"}, {"\xff", "/\xff"}, {" ", "/ "},
		{long, "/" + long}, {"/" + long, "/" + long},
		{"..", ""}, {"/..", ""}, {"../a", ""}, {"/a/../..", ""}, {"a/../../b", ""}, {"a\x00", ""}, {"\x00", ""}, {"n" + long, ""},
	} {
		got, err := Clean(c.name)
		if got != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Clean(%.20q) = %.20q, %v; want %.20q", c.name, got, err, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = Clean("/db/000123.sst") }); n != 0 {
		t.Errorf("Clean of a clean path allocates %v times", n)
	}
}

// TestCleanAgrees compares with path.Clean, which resolves ".." at the root instead of refusing it.
func TestCleanAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"a", "bb", ".", "..", "", "/", "..."})).Draw(t, "segments"), "/")
		depth, above := 0, false
		for seg := range strings.SplitSeq(name, "/") {
			switch seg {
			case "", ".":
			case "..":
				depth--
				above = above || depth < 0
			default:
				depth++
			}
		}
		got, err := Clean(name)
		if above {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Fatalf("Clean(%q) = %q, %v", name, got, err)
			}
			return
		}
		if want := path.Clean("/" + name); got != want || err != nil || !validPath(got) {
			t.Fatalf("Clean(%q) = %q, %v; want %q", name, got, err, want)
		}
		if again, _ := Clean(got); again != got {
			t.Fatalf("Clean(%q) = %q", got, again)
		}
	})
}
