//go:build !forstmutants

package hdfs_test

import (
	"context"
	"os"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/internal/testenv"
)

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
