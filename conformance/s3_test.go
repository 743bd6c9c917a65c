package conformance_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
	"github.com/forst-go/forst/internal/testenv"
)

// s3Maker gives roots in one bucket of the run's server, which is removed with the test. RunStore has its place beside the driver.
func s3Maker(t *testing.T) conformance.Maker {
	server := testenv.S3(t)
	bucket := server.Bucket(t)
	var n atomic.Int64
	return conformance.Maker{
		Secrets: []string{server.SecretKey},
		Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
			prefix := fmt.Sprintf("case/%d", n.Add(1))
			return func(ctx context.Context) (driver.Store, error) {
				return s3.Open(ctx, &s3.Config{Bucket: bucket, Prefix: prefix, Endpoint: server.Endpoint,
					AccessKey: server.AccessKey, SecretKey: driver.NewSecret(server.SecretKey)})
			}
		},
	}
}

// TestFSS3 takes minutes; a short run, which is the one with the race detector, takes the groups in which most goroutines meet.
func TestFSS3(t *testing.T) {
	t.Parallel()
	m := s3Maker(t)
	if !testing.Short() {
		conformance.RunFS(t, m)
		return
	}
	ran := 0
	for _, c := range conformance.FSCases() {
		switch group, _, _ := strings.Cut(c.Name, "/"); group {
		case "sync", "garbage", "model":
			t.Run(c.Name, func(t *testing.T) { c.Run(t, m) })
			ran++
		}
	}
	if ran < 5 {
		t.Errorf("only %d cases ran: have the groups other names now?", ran)
	}
}

// TestDurabilityS3 crashes volumes at every request; the nightly run makes requests fail, too, which takes real time on a real server.
func TestDurabilityS3(t *testing.T) {
	t.Parallel()
	if os.Getenv("FORST_NIGHTLY") != "" {
		conformance.RunDurability(t, s3Maker(t))
		return
	}
	m, ran := s3Maker(t), 0
	for _, c := range conformance.DurabilityCases() {
		if strings.HasPrefix(c.Name, "crash/") || slices.Contains([]string{"fault/every-read-short", "snapshot/every-crash-point", "clone/every-crash-point"}, c.Name) {
			t.Run(c.Name, func(t *testing.T) { c.Run(t, m) })
			ran++
		}
	}
	if ran < 5 {
		t.Errorf("only %d cases ran: have they other names now?", ran)
	}
}
