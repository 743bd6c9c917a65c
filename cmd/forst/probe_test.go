package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/forst-go/forst/internal/probe"
)

// TestProbe: a good store is safe, and nothing is left in it.
func TestProbe(t *testing.T) {
	dir := t.TempDir()
	if out := must(t, "probe", fileURL(dir)); !strings.Contains(out, fileURL(dir)+": safe (") || !strings.Contains(out, "passed   create if absent") {
		t.Errorf("probe: %s", out)
	}
	var res probeResult
	fromJSON(t, must(t, "probe", "--json", fileURL(dir)), &res)
	if !res.Safe || len(res.Passed) == 0 || res.Requests == 0 || res.Requests > probe.MaxRequests || res.Problem != "" {
		t.Errorf("%+v", res)
	}
	for line := range strings.Lines(tree(t, dir, false)) {
		if strings.Contains(line, " ") { // a file, with its checksum
			t.Errorf("probe has left %s", line)
		}
	}
}

// TestProbeFails: a store that cannot be probed is an error, and says nothing about its safety.
func TestProbeFails(t *testing.T) {
	dir := t.TempDir()
	url := fileURL(dir) + "?mode=ro"
	code, out, errs := forstRun(t, "probe", url)
	if code != exitFailed || out != "" || !strings.Contains(errs, fileURL(dir)) || strings.Contains(errs, "not safe") {
		t.Errorf("%d %q %s", code, out, errs)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPrintProbe(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out}
	if err := a.printProbe(probeResult{Store: "s3://b", Passed: []string{"one"}, Warnings: []string{"objects expire"}, Requests: 3, Millis: 1.5}, false); err != nil {
		t.Fatal(err)
	}
	if want := "passed   one\nwarning  objects expire\ns3://b: NOT SAFE (1 checks passed, 3 requests, 2ms)\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
}
