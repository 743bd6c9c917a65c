package main

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/forst-go/forst/internal/testenv"
)

// TestDemoHDFS is the demo on a real cluster: nothing may be lost. The nightly run does it twenty times on a cluster of its own, and kills
// a DataNode in the middle of each run.
func TestDemoHDFS(t *testing.T) {
	if os.Getenv("FORST_NIGHTLY") == "" {
		url := testenv.HDFS(t).URL(t)
		t.Setenv("TMPDIR", t.TempDir())
		var res demoResult
		fromJSON(t, must(t, "demo", "--store", url, "--records", "4000", "--kills", "3", "--json"), &res)
		if !res.OK || res.Finding.Found != 4000 || res.Kills != 3 {
			t.Errorf("%+v", res)
		}
		if left := storeKeys(t, url); len(left) != 0 {
			t.Errorf("left in the directory: %q", left)
		}
		return
	}
	const runs = 20
	cluster := testenv.StartHDFS(t)
	url := cluster.URL(t)
	t.Setenv("TMPDIR", t.TempDir())
	for i := range runs {
		victim := i % cluster.DataNodes()
		killed := make(chan struct{})
		after := time.Duration(500+rand.IntN(4000)) * time.Millisecond // the demo takes longer
		timer := time.AfterFunc(after, func() {
			defer close(killed)
			cluster.KillDataNode(t, victim)
		})
		var res demoResult
		fromJSON(t, must(t, "demo", "--store", url, "--records", "20000", "--json"), &res)
		if timer.Stop() {
			t.Fatalf("run %d ended before DataNode %d was killed, after %v", i, victim, after)
		}
		<-killed
		if !res.OK || res.Finding.Found != 20000 || res.Finding.Lost != 0 {
			t.Fatalf("run %d, DataNode %d killed after %v: %+v", i, victim, after, res)
		}
		t.Logf("run %d, DataNode %d killed after %v: %+v", i, victim, after, res)
		cluster.StartDataNode(t, victim)
		cluster.WaitDataNode(t, victim)
	}
	if left := storeKeys(t, url); len(left) != 0 {
		t.Errorf("left in the directory: %q", left)
	}
}
