package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDirectoryRules(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	c := openTier(t, testOptions(dir, 64))
	if _, err := Open(testOptions(dir, 64)); !errors.Is(err, ErrLocked) {
		t.Errorf("a second Open: %v, want ErrLocked", err)
	}
	c.putAll(1, 2)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	other := testOptions(dir, 64)
	other.BlockSize *= 2
	c = openTier(t, other)
	if m := c.Metrics(); m.Loaded != 0 {
		t.Error("blocks of another size were loaded")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testOptions(foreign, 64)); err == nil || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("a directory with foreign files: %v", err)
	}
	for _, bad := range []Options{{}, {Dir: dir, Size: 1}, {Dir: dir, BlockSize: 1000}} {
		if _, err := Open(&bad); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}
