package state

import (
	"context"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/forstfs/s3"
	"github.com/forst-go/forst/internal/testenv"
)

// roots are the kinds of stores that the tests of whole backends run on; each call of new gives a fresh prefix.
var roots = []struct {
	name string
	new  func(t testing.TB) driver.Store
}{
	{"mem", func(t testing.TB) driver.Store { return mem.New(nil) }},
	{"local", func(t testing.TB) driver.Store {
		s, err := local.Open(context.Background(), t.TempDir(), &local.Options{Create: true})
		ok(t, err)
		t.Cleanup(func() { ok(t, s.Close()) })
		return s
	}},
	{"s3", func(t testing.TB) driver.Store {
		u, err := url.Parse(testenv.S3(t).URL(t))
		ok(t, err)
		s, err := s3.OpenURL(context.Background(), u)
		ok(t, err)
		t.Cleanup(func() { ok(t, s.Close()) })
		return s
	}},
}

func nightly() bool { return os.Getenv("FORST_NIGHTLY") != "" }

// clock is set by the test.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(1_700_000_000_000)
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// small options make little data go through flushes, pages and batches.
func small() *Options {
	return &Options{
		Keys: AllKeys(16), Page: 3, Batch: 8, BatchBytes: 512, MaxReads: 8, SweepEvery: -1, SweepStep: 7,
		Engine: func(o *pebble.Options) {
			o.MemTableSize = 64 << 10
			o.L0CompactionThreshold = 2
			o.LBaseMaxBytes = 64 << 10
			o.TargetFileSizes[0] = 16 << 10
		},
		Volume: &forstfs.Options{ObjectSize: 64 << 10},
	}
}

func create(t testing.TB, root driver.Store, o *Options) *Backend {
	t.Helper()
	b, err := Create(context.Background(), root, o)
	ok(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%+v", err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
