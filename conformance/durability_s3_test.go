package conformance_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/internal/testenv"
)

func s3Process(t *testing.T, server *testenv.S3Server) conformance.Process {
	bucket := server.Bucket(t)
	var n atomic.Int64
	return conformance.Process{Open: openStore, URL: func(conformance.TB) string {
		return server.URLIn(bucket, fmt.Sprintf("vol%d", n.Add(1)))
	}}
}

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
