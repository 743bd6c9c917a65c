package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/forst-go/forst/forstfs"
)

// forst runs one command line.
func forstCmd(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// TestWarmAndCache brings a volume into a cache directory, looks at it, damages it and clears it.
func TestWarmAndCache(t *testing.T) {
	url := fileURL(makeVolume(t))
	v := fill(t, url)
	dir := filepath.Join(t.TempDir(), "cache")
	want := func(code int, in string, args ...string) string {
		t.Helper()
		c, out, errs := forstCmd(t, args...)
		if c != code || !strings.Contains(out+errs, in) {
			t.Fatalf("forst %s: status %d, want %d and %q in\n%s%s", strings.Join(args, " "), c, code, in, out, errs)
		}
		return out
	}
	want(2, "--cache-dir", "warm", url)
	want(2, "--cache-size", "warm", url, "--cache-dir", dir, "--cache-size", "much")
	want(1, "not a cache directory", "cache", "stat", t.TempDir())
	want(1, "not a cache directory", "cache", "clear", t.TempDir())
	want(0, "fetched 97.7 KiB", "warm", url, "--cache-dir", dir, "--cache-size", "32MiB", "--cache-reserve", "0")
	want(0, "fetched 0 B", "warm", url, "--cache-dir", dir, "--cache-size", "32MiB", "--cache-reserve", "0")
	want(0, "closed in order", "cache", "stat", dir)
	want(0, "4 right, 0 wrong", "cache", "verify", dir)
	var res cacheResult
	if err := json.Unmarshal([]byte(want(0, "", "cache", "stat", dir, "--json")), &res); err != nil {
		t.Fatal(err)
	}
	if res.Blocks != 4 || res.BlockBytes != 100_000 || len(res.Volumes) != 1 || res.Volumes[0].Objects != 1 {
		t.Errorf("%+v", res)
	}

	// A program reads from it without a GET, and has it locked meanwhile.
	s, err := openStore(t.Context(), readOnlyURL(url))
	if err != nil {
		t.Fatal(err)
	}
	r, err := forstfs.OpenReadOnly(t.Context(), s, &forstfs.Options{CacheDir: dir, CacheDiskBytes: 32 << 20, CacheReserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.Open(t.Context(), "/db/000001.sst", &forstfs.OpenOptions{Access: forstfs.AccessRandom})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 50_000)
	if _, err := f.ReadAt(p, 20_000); err != nil || string(p) != pattern(100_000)[20_000:70_000] {
		t.Errorf("read: %v", err)
	}
	if n := r.Metrics().ForegroundGETs; n != 0 {
		t.Errorf("%d GETs", n)
	}
	want(0, "in use", "cache", "stat", dir)
	want(1, "in use", "cache", "verify", dir)
	want(1, "in use", "cache", "clear", dir)
	want(1, "directory of its own", "warm", url, "--cache-dir", dir)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}

	// A flipped bit shows.
	path := filepath.Join(dir, "slots-0000")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte(pattern(100)))
	if at < 0 {
		t.Fatal("the first block is not in the segment")
	}
	b[at+10] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	want(1, "1 of 4 blocks", "cache", "verify", dir)
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want(0, "cleared", "cache", "clear", dir)
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "mine" {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}
