package s3_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
	"github.com/forst-go/forst/internal/testenv"
)

// TestStore is the contract of package driver against a real MinIO.
func TestStore(t *testing.T) {
	server := testenv.S3(t)
	bucket := server.Bucket(t)
	var n atomic.Int64
	conformance.RunStore(t, conformance.Maker{
		Secrets: []string{server.SecretKey},
		Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
			prefix := fmt.Sprintf("case/%d", n.Add(1))
			return func(ctx context.Context) (driver.Store, error) {
				return s3.Open(ctx, &s3.Config{Bucket: bucket, Prefix: prefix, Endpoint: server.Endpoint,
					AccessKey: server.AccessKey, SecretKey: driver.NewSecret(server.SecretKey),
					// On a busy machine a second attempt of a winner would turn it into a loser, which the contract allows but a
					// case that counts winners cannot know.
					AttemptTimeout: time.Minute, RetryTimeout: 2 * time.Minute})
			}
		},
	})
}
