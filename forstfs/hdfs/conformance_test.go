package hdfs_test

import (
	"context"
	"net/url"
	"os"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/internal/testenv"
)

// config is that of a URL with more parameters: name, value, name, value, ...
func config(t testing.TB, raw string, params ...string) *hdfs.Config {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i+1 < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	u.RawQuery = q.Encode()
	c, err := hdfs.ParseURL(u)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStoreHDFS is the contract of package driver against a real NameNode with three DataNodes.
func TestStoreHDFS(t *testing.T) {
	cluster := testenv.HDFS(t)
	for _, sync := range []string{hdfs.SyncReplicated, hdfs.SyncDisk} {
		t.Run(sync, func(t *testing.T) {
			if sync == hdfs.SyncDisk && os.Getenv("FORST_NIGHTLY") == "" {
				return // the same calls again, with fsyncs; TestSync looks at what they do
			}
			conformance.RunStore(t, conformance.Maker{
				Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
					// On a busy machine a second attempt of a winner would turn it into a loser, which the contract allows but a case that
					// counts winners cannot know.
					c := config(t, cluster.URL(t), "attempt_timeout", "1m", "retry_timeout", "2m", "sync", sync)
					return func(ctx context.Context) (driver.Store, error) { return hdfs.Open(ctx, c) }
				},
			})
		})
	}
}
