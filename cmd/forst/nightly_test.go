package main

import (
	"os"
	"testing"

	"github.com/forst-go/forst/internal/testenv"
)

// TestDemoAgainAndAgain is the demo as a user runs it, each time with another seed: once in a normal run, twenty times on each store in
// the nightly one. Nothing may ever be lost.
func TestDemoAgainAndAgain(t *testing.T) {
	runs := 1
	if os.Getenv("FORST_NIGHTLY") != "" {
		runs = 20
	}
	for _, c := range []struct {
		name string
		args func(t *testing.T) []string
	}{
		{"local", func(*testing.T) []string { return nil }},
		{"s3", func(t *testing.T) []string { return []string{"--store", testenv.S3(t).URL(t)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"demo", "--records", "20000", "--json"}, c.args(t)...)
			t.Setenv("TMPDIR", t.TempDir()) // after the server is there: it serves later tests, too, and must not lose its directory
			for i := range runs {
				var res demoResult
				fromJSON(t, must(t, args...), &res)
				if !res.OK || res.Finding.Found != 20000 {
					t.Fatalf("run %d: %+v", i, res)
				}
				t.Logf("run %d: %+v", i, res)
			}
		})
	}
}
