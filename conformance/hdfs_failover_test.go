package conformance_test

import (
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/internal/testenv"
)

// TestNameNodeFailover: of two NameNodes the active one is killed in the middle of commits, the other is made active, and back. Commits go on with it,
// nothing acknowledged is lost, and whoever opens the volume while the first in the configuration is dead, or a standby, finds the other. It is not parallel:
// HADOOP_CONF_DIR belongs to the whole process.
func TestNameNodeFailover(t *testing.T) {
	testenv.Need(t, "hdfs-pair")
	cluster := testenv.StartHDFSPair(t)
	t.Setenv("HADOOP_CONF_DIR", cluster.ConfDir(t))
	const size = 3 << 20
	f := newFaults(t, cluster)
	l := f.ledger()
	l.table("/before.sst", 1, size)
	tables := map[string]byte{"/before.sst": 1}
	for round, name := range []string{"/to-the-second.sst", "/and-back.sst"} {
		cluster.WaitStandby(t)
		var wg sync.WaitGroup
		stop := make(chan struct{})
		var gap time.Duration // the longest commit
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				l.commit(1)
				gap = max(gap, time.Since(began))
			}
		})
		reached := func(n uint64) {
			t.Helper()
			for deadline := time.Now().Add(3 * time.Minute); l.acked.Load() < n && !t.Failed(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Errorf("%d commits were acknowledged, want %d", l.acked.Load(), n)
				}
			}
		}
		reached(l.acked.Load() + 10)
		killed, before := time.Now(), l.acked.Load()
		cluster.KillNameNode(t)
		cluster.Failover(t)
		active := time.Since(killed)
		during := l.acked.Load()
		reached(during + 10)
		close(stop)
		wg.Wait()
		t.Logf("round %d: %d commits were acknowledged before the kill; the other NameNode was active after %v; the longest commit took %v",
			round, before, active.Round(time.Millisecond), gap.Round(time.Millisecond))
		tables[name] = byte(round + 2)
		l.table(name, byte(round+2), size)
		if round == 0 {
			cluster.StartStandby(t)
		}
	}
	l.judge(tables, size)
}
