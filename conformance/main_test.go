package conformance_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/s3"
)

// TestMain plants the bug that the environment asks for, and lets the test binary be one of the processes that RunKills starts.
func TestMain(m *testing.M) {
	plantMutant()
	if conformance.RunChild(openStore) {
		return
	}
	os.Exit(m.Run())
}

// openStore opens the stores of the tests with several processes.
func openStore(ctx context.Context, raw string) (driver.Store, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "file":
		return local.Open(ctx, u.Path, &local.Options{NoGuard: true})
	case "hdfs":
		return hdfs.OpenURL(ctx, u)
	case "s3":
		return s3.OpenURL(ctx, u)
	}
	return nil, fmt.Errorf("no scheme in %s", u.Redacted())
}

func localProcess() conformance.Process {
	return conformance.Process{Open: openStore, URL: func(tb conformance.TB) string { return "file://" + tb.TempDir() }}
}
