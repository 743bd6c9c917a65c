// Package testenv gives tests the real servers that they need: a MinIO built from its source, and a place for others.
//
// A server is found or started like this:
//
//  1. The run names one: "make test" starts each server once with cmd/forst-testenv, which exports FORST_TEST_S3.
//  2. Otherwise, where the server's binary was built before (.cache/bin), the test process starts its own, once.
//  3. Otherwise the test is skipped on a bare machine, and fails when FORST_REQUIRE names the server ("s3,hdfs").
//
// A server that a test process started ends with the process, however that ends: a small guard (guard.go) kills it and removes its
// data. No port is fixed and no test waits a fixed time.
package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// known are the servers that Need can be asked for, with what makes them available.
var known = map[string]func() (why string, ok bool){
	"s3": func() (string, bool) {
		if os.Getenv(EnvS3) != "" {
			return "", true
		}
		bin := MinioPath()
		if _, err := os.Stat(bin); err != nil {
			return "there is no MinIO: run `go run ./internal/testenv/cmd/forst-testenv build s3` once (about 3 minutes), or `make test`", false
		}
		return "", true
	},
	"hdfs":     hdfsAvailable,
	"kerberos": kerberosAvailable,
	// Six JVMs for a minute.
	"hdfs-pair": func() (string, bool) {
		if !Required("hdfs-pair") && os.Getenv("FORST_NIGHTLY") == "" {
			return "a pair of NameNodes is tried with FORST_NIGHTLY=1, or with FORST_REQUIRE=hdfs-pair", false
		}
		return hdfsAvailable()
	},
	// Not found by looking, because no other run may need an engine, or use one that happens to be there.
	"containers": func() (string, bool) {
		if !Required("containers") {
			return "containers are tried by `make test-containers`", false
		}
		if err := CheckEngine(context.Background()); err != nil {
			return err.Error(), false
		}
		return "", true
	},
}

// EnvRequire names the servers without which a run must fail instead of skipping, separated by commas.
const EnvRequire = "FORST_REQUIRE"

// Need skips t when this machine has no such server, and fails it when FORST_REQUIRE names the server.
func Need(t testing.TB, what string) {
	t.Helper()
	if err := checkRequired(); err != nil {
		t.Fatal(err)
	}
	available, ok := known[what]
	if !ok {
		t.Fatalf("testenv.Need(%q): there is no such server", what)
	}
	why, ok := available()
	if ok {
		return
	}
	if Required(what) {
		t.Fatalf("%s is required by %s but %s", what, EnvRequire, why)
	}
	t.Skip(why)
}

// Required reports whether FORST_REQUIRE names what.
func Required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv(EnvRequire), ","), what)
}

// checkRequired refuses a FORST_REQUIRE that would require nothing because of a misspelt name.
func checkRequired() error {
	for name := range strings.SplitSeq(os.Getenv(EnvRequire), ",") {
		if _, ok := known[name]; name != "" && !ok {
			return fmt.Errorf("%s names %q, which is no server of testenv", EnvRequire, name)
		}
	}
	return nil
}

// Root is the folder of the module that the working directory belongs to.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = up
	}
}

// CacheDir holds what the tests build: FORST_CACHE, or .cache in the module.
func CacheDir() string {
	if dir := os.Getenv("FORST_CACHE"); dir != "" {
		return dir
	}
	root, err := Root()
	if err != nil {
		return filepath.Join(os.TempDir(), "forst-cache")
	}
	return filepath.Join(root, ".cache")
}
