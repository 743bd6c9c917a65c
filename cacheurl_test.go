package forst

import (
	"context"
	"strings"
	"testing"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

func TestCacheParameters(t *testing.T) {
	all := "cache=%2Fd&cache_memory=64MiB&cache_mode=local-only&cache_reserve=0&cache_size=20GiB"
	for _, c := range []struct {
		url, rest string
		want      forstfs.Options
	}{
		{"s3://b/x", "s3://b/x", forstfs.Options{}},
		{"s3://b/cache?region=cache", "s3://b/cache?region=cache", forstfs.Options{}},
		{"s3://b/x?region=r&" + all, "s3://b/x?region=r",
			forstfs.Options{CacheDir: "/d", CacheDiskBytes: 20 << 30, CacheReserve: -1, CacheBytes: 64 << 20, CacheMode: forstfs.CacheLocalOnly}},
		{"file:///x?cache=/d&create=1", "file:///x?create=1", forstfs.Options{CacheDir: "/d"}},
		{"file:///x?cache_mode=off", "file:///x", forstfs.Options{CacheMode: forstfs.CacheOff}},
	} {
		rest, o, err := withCache(c.url, nil)
		if err != nil || rest != c.rest || o.CacheDir != c.want.CacheDir || o.CacheDiskBytes != c.want.CacheDiskBytes || o.CacheReserve != c.want.CacheReserve ||
			o.CacheBytes != c.want.CacheBytes || o.CacheMode != c.want.CacheMode {
			t.Errorf("%s: %s, %+v, %v", c.url, rest, o, err)
		}
	}
	for url, says := range map[string]string{
		"s3://u:secret@b/x?cache_sise=1GB&cache=/d": "cache_size",
		"s3://b/x?cachesize=1GB":                    "cache_size",
		"s3://b/x?cache=relative":                   "absolute",
		"s3://b/x?cache=":                           "with a value",
		"s3://b/x?cache=/a&cache=/b":                "once",
		"s3://b/x?cache=/a&cache_size=20apples":     "20GiB",
		"s3://b/x?cache=/a&cache_size=0":            "more than 0",
		"s3://b/x?cache_size=1GB":                   "cache=/dir",
		"s3://b/x?cache_mode=on":                    "local-only",
	} {
		_, _, err := withCache(url, nil)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") || driver.KindOf(err) != driver.KindInvalid {
			t.Errorf("%s: %v, want an error that says %q", url, err, says)
		}
		if _, err := OpenStore(context.Background(), url); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("the store of %s: %v", url, err)
		}
	}
	if _, _, err := withCache("s3://b/x?cache=/d", &forstfs.Options{CacheDir: "/other"}); err == nil || !strings.Contains(err.Error(), "Options.CacheDir") {
		t.Errorf("two directories: %v", err)
	}
	if _, o, err := withCache("s3://b/x?cache=/d", &forstfs.Options{CacheDir: "/d", CacheDiskBytes: 7}); err != nil || o.CacheDiskBytes != 7 {
		t.Errorf("the same directory twice: %v, %v", o, err)
	}
}

// A volume that is opened by a URL alone has the cache that the URL names, for reading, too; and where it is has nothing to do with that.
func TestCacheOfURL(t *testing.T) {
	ctx := context.Background()
	at, dir := "file://"+t.TempDir(), t.TempDir()
	url := at + "?cache=" + dir + "&cache_size=64MiB&cache_reserve=0&cache_memory=1MiB"
	v, err := Open(ctx, url, &forstfs.Options{Create: forstfs.CreateIfMissing})
	if err != nil {
		t.Fatal(err)
	}
	if m := v.Metrics().Cache; m.Disk.Limit == 0 || m.Disk.Limit > 64<<20 || m.Capacity > 1<<20 {
		t.Errorf("%v", m)
	}
	r, err := OpenReadOnly(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m := r.Metrics().Cache; m.Disk.Limit == 0 {
		t.Errorf("read-only: %v", m)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if got, err := Location(at+"/x", url+"&mode=ro"); err != nil || strings.Contains(got, "cache") {
		t.Errorf("a clone records %q, %v", got, err)
	}
}
