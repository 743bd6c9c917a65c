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
	"github.com/forst-go/forst/forstfs/hdfs"
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
	case "hdfs":
		return hdfs.OpenURL(ctx, u)
	}
	return nil, fmt.Errorf("no scheme in %s", u.Redacted())
}

// Durability runs the durability suite with an engine on every kind of store; a short run, which is the one with the race detector, a small sample in memory.
//
// On S3 engines other than Pebble v2 get a sample unless FORST_NIGHTLY is set: what is done with processes and servers. On HDFS all engines get processes that
// are killed, and the rest at night.
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
	nightly := os.Getenv("FORST_NIGHTLY") != ""
	t.Run("local", func(t *testing.T) {
		p := place(func() string { return "file://" + t.TempDir() })
		conformance.RunEngine(t, p.maker(), eng)
		p.processes(t, eng)
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		server := testenv.S3(t)
		p := onS3(t, server)
		if nightly || eng.Name == "pebblev2" {
			conformance.RunEngine(t, p.maker(), eng)
		}
		p.processes(t, eng)
	})
	t.Run("s3 server", func(t *testing.T) {
		t.Parallel()
		server := testenv.StartS3(t)
		conformance.RunEngineServerKills(t, onS3(t, server).process(), eng, func() { server.Kill(t) }, func() { server.Restart(t) })
	})
	t.Run("hdfs", func(t *testing.T) {
		t.Parallel()
		p := onHDFS(t, testenv.HDFS(t))
		if !nightly {
			conformance.RunEngineKills(t, p.process(), eng)
			return
		}
		conformance.RunEngine(t, p.maker(), eng)
		p.processes(t, eng)
	})
	if !nightly {
		return
	}
	t.Run("hdfs NameNode", func(t *testing.T) {
		t.Parallel()
		cluster := testenv.StartHDFS(t)
		conformance.RunEngineServerKills(t, onHDFS(t, cluster).process(), eng, func() { cluster.KillNameNode(t) }, func() {
			cluster.StartNameNode(t)
			cluster.WaitLive(t, cluster.DataNodes())
		})
	})
}

// place gives the URL of an empty prefix at each call.
type place func() string

func onS3(t *testing.T, server *testenv.S3Server) place {
	bucket := server.Bucket(t)
	var n atomic.Int64
	return func() string { return server.URLIn(bucket, fmt.Sprintf("vol%d", n.Add(1))) }
}

func onHDFS(t *testing.T, cluster *testenv.HDFSCluster) place {
	dir := cluster.Dir(t)
	var n atomic.Int64
	return func() string { return cluster.URLIn(fmt.Sprintf("%s/vol%d", dir, n.Add(1))) }
}

func (p place) maker() conformance.Maker {
	return conformance.Maker{Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
		at := p()
		return func(ctx context.Context) (driver.Store, error) { return openStore(ctx, at) }
	}}
}

func (p place) process() conformance.Process {
	return conformance.Process{Open: openStore, URL: func(conformance.TB) string { return p() }}
}

// processes runs all that is done with processes of their own.
func (p place) processes(t *testing.T, eng conformance.Engine) {
	conformance.RunEngineKills(t, p.process(), eng)
	conformance.RunEngineDeadStores(t, p.process(), eng)
	if eng.Checkpoint != nil {
		conformance.RunEnginePlaced(t, p.process(), eng)
	}
	conformance.RunEngineZombies(t, p.process(), eng)
}
