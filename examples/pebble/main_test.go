package main

import (
	"net/url"
	"path/filepath"
	"testing"
)

// TestRun runs the program three times on one volume: each run finds what the last one left.
func TestRun(t *testing.T) {
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(t.TempDir()) + "/new", RawQuery: "create=1"}
	for want := 1; want <= 3; want++ {
		got, err := run(t.Context(), u.String())
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("run %d counted %d", want, got)
		}
	}
}
