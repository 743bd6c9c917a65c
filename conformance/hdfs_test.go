package conformance_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/internal/testenv"
)

// hdfsMaker gives directories on the run's cluster. RunStore has its place beside the driver.
func hdfsMaker(t *testing.T) conformance.Maker {
	cluster := testenv.HDFS(t)
	base := cluster.Dir(t)
	n := 0
	return conformance.Maker{Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
		n++
		return opener(cluster.URLIn(fmt.Sprintf("%s/%d", base, n)))
	}}
}

func opener(raw string) func(context.Context) (driver.Store, error) {
	return func(ctx context.Context) (driver.Store, error) {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, err
		}
		return hdfs.OpenURL(ctx, u)
	}
}

// TestFSHDFS takes minutes; a short run takes the groups in which most goroutines meet.
func TestFSHDFS(t *testing.T) {
	t.Parallel()
	m := hdfsMaker(t)
	if os.Getenv("FORST_NIGHTLY") != "" {
		conformance.RunFS(t, m)
		return
	}
	groups := "sync read write garbage model volume"
	if testing.Short() {
		groups = "sync model"
	}
	ran := 0
	for _, c := range conformance.FSCases() {
		if group, _, _ := strings.Cut(c.Name, "/"); strings.Contains(groups, group) {
			t.Run(c.Name, func(t *testing.T) { c.Run(t, m) })
			ran++
		}
	}
	if ran < 5 {
		t.Errorf("only %d cases ran: have the groups other names now?", ran)
	}
}

// TestDurabilityHDFS crashes volumes at every request; the nightly run makes requests fail, too, which takes real time on a real cluster.
func TestDurabilityHDFS(t *testing.T) {
	t.Parallel()
	if os.Getenv("FORST_NIGHTLY") != "" {
		conformance.RunDurability(t, hdfsMaker(t))
		return
	}
	m, ran := hdfsMaker(t), 0
	if testing.Short() {
		return // a store in memory meets the race detector in the same cases
	}
	for _, c := range conformance.DurabilityCases() {
		if strings.HasPrefix(c.Name, "crash/every-point") {
			t.Run(c.Name, func(t *testing.T) { c.Run(t, m) })
			ran++
		}
	}
	if ran < 3 {
		t.Errorf("only %d cases ran: have they other names now?", ran)
	}
}

func hdfsProcess(cluster *testenv.HDFSCluster, base string) conformance.Process {
	n := 0
	return conformance.Process{Open: openStore, URL: func(conformance.TB) string {
		n++
		return cluster.URLIn(fmt.Sprintf("%s/vol%d", base, n))
	}}
}

// TestKillsHDFS: writers die with files under construction, and the next owner is there at once: it waits for nobody's lease.
func TestKillsHDFS(t *testing.T) {
	t.Parallel()
	cluster := testenv.HDFS(t)
	conformance.RunKills(t, hdfsProcess(cluster, cluster.Dir(t)))
}

// TestZombiesHDFS: stalled writers go on after the takeover.
func TestZombiesHDFS(t *testing.T) {
	t.Parallel()
	cluster := testenv.HDFS(t)
	conformance.RunZombies(t, hdfsProcess(cluster, cluster.Dir(t)))
}
