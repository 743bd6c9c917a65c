package enginetest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/forstfs/s3"
	"github.com/forst-go/forst/internal/testenv"
)

// Main runs the tests of an adapter, or is one of the processes that Durability starts.
func Main(m *testing.M, eng conformance.Engine) {
	if conformance.RunEngineChild(openStore, eng) {
		return
	}
	os.Exit(m.Run())
}

// openStore opens the stores that processes share.
func openStore(ctx context.Context, raw string) (driver.Store, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "file":
		return local.Open(ctx, u.Path, &local.Options{Create: true, NoGuard: true})
	case "s3":
		return s3.OpenURL(ctx, u)
	}
	return nil, fmt.Errorf("no scheme in %s", u.Redacted())
}

// Durability runs the durability suite with an engine on every kind of store; a short run, which is the one with the race detector, a small sample in memory.
//
// On S3 processes are stopped in a nightly run only: one that is stopped in the middle of a request was seen to hold up whoever
// takes over for half a minute. Engines other than Pebble v2 get a sample there: processes that are killed, and that lose their store.
func Durability(t *testing.T, eng conformance.Engine) {
	t.Run("mem", func(t *testing.T) {
		conformance.RunEngine(t, conformance.Maker{Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
			b := mem.NewBucket(nil)
			return func(context.Context) (driver.Store, error) { return b.Open("some/prefix") }
		}}, eng)
	})
	if testing.Short() {
		return
	}
	whole := func(t *testing.T, fresh func() string) {
		conformance.RunEngine(t, conformance.Maker{Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
			at := fresh()
			return func(ctx context.Context) (driver.Store, error) { return openStore(ctx, at) }
		}}, eng)
	}
	processes := func(t *testing.T, fresh func() string, zombies bool) {
		p := conformance.Process{Open: openStore, URL: func(conformance.TB) string { return fresh() }}
		conformance.RunEngineKills(t, p, eng)
		conformance.RunEngineDeadStores(t, p, eng)
		if eng.Checkpoint != nil {
			conformance.RunEnginePlaced(t, p, eng)
		}
		if zombies {
			conformance.RunEngineZombies(t, p, eng)
		}
	}
	t.Run("local", func(t *testing.T) {
		fresh := func() string { return "file://" + t.TempDir() }
		whole(t, fresh)
		processes(t, fresh, true)
	})
	t.Run("s3", func(t *testing.T) {
		server := testenv.S3(t)
		bucket := server.Bucket(t)
		var n atomic.Int64
		fresh := func() string { return server.URLIn(bucket, fmt.Sprintf("vol%d", n.Add(1))) }
		nightly := os.Getenv("FORST_NIGHTLY") != ""
		if nightly || eng.Name == "pebblev2" {
			whole(t, fresh)
		}
		processes(t, fresh, nightly)
	})
}
