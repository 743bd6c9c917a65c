package conformance_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/testenv"
)

// s3Maker gives prefixes of one bucket.
func s3Maker(t *testing.T) conformance.Maker {
	server := testenv.S3(t)
	bucket := server.Bucket(t)
	var n atomic.Int64
	return conformance.Maker{
		Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
			url := server.URLIn(bucket, fmt.Sprintf("vol%d", n.Add(1)))
			return func(ctx context.Context) (driver.Store, error) { return openStore(ctx, url) }
		},
		Secrets: []string{server.SecretKey},
	}
}

func s3Process(t *testing.T, server *testenv.S3Server) conformance.Process {
	bucket := server.Bucket(t)
	var n atomic.Int64
	return conformance.Process{Open: openStore, URL: func(conformance.TB) string {
		return server.URLIn(bucket, fmt.Sprintf("vol%d", n.Add(1)))
	}}
}

func TestFSS3(t *testing.T)         { t.Parallel(); conformance.RunFS(t, s3Maker(t)) }
func TestDurabilityS3(t *testing.T) { t.Parallel(); conformance.RunDurability(t, s3Maker(t)) }
func TestKillsS3(t *testing.T) {
	t.Parallel()
	conformance.RunKills(t, s3Process(t, testenv.S3(t)))
}
func TestZombiesS3(t *testing.T) {
	t.Parallel()
	conformance.RunZombies(t, s3Process(t, testenv.S3(t)))
}

// TestServerKillsS3: the server itself dies and comes back.
func TestServerKillsS3(t *testing.T) {
	t.Parallel()
	server := testenv.StartS3(t)
	conformance.RunServerKills(t, s3Process(t, server), func() { server.Kill(t) }, func() { server.Restart(t) })
}
