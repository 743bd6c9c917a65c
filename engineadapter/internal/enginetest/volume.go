package enginetest

import (
	"context"
	"os"
	"testing"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// Nightly runs take hours instead of a minute; FORST_NIGHTLY=1 asks for them.
func Nightly() bool { return os.Getenv("FORST_NIGHTLY") != "" }

// VolOptions are those of a test's volume; o may be nil. The cache is small, as there are many volumes.
func VolOptions(o *forstfs.Options) *forstfs.Options {
	if o == nil {
		o = &forstfs.Options{}
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 8 << 20
	}
	o.Create, o.SkipProbe = forstfs.CreateIfMissing, true
	return o
}

// OpenVol opens a volume, which is closed at the end of the test if the test has not done so.
func OpenVol(t testing.TB, s driver.Store, o *forstfs.Options) *forstfs.FS {
	t.Helper()
	v := must(forstfs.Open(context.Background(), s, VolOptions(o)))(t)
	t.Cleanup(func() { _ = v.Close() })
	return v
}
