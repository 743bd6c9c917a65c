package bench

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
)

// TestSnapshotAnySize measures in virtual time, over 28 ms PUTs and 24 ms GETs, what a checkpoint of a database costs that has everything in its volume: a synced log record and a
// snapshot. The small volume has 1 table of 16 MiB, the large one 4 (with FORST_NIGHTLY=1 64: 1 GiB) and 1,024 names that link to them (as many as 16 GiB have).
func TestSnapshotAnySize(t *testing.T) {
	measure := func(tables, links int) (took time.Duration, sent int64) {
		synctest.Test(t, func(t *testing.T) {
			v := volume(t, injected(t), &forstfs.Options{CacheBytes: -1})
			for i := range tables {
				if err := table(v, fmt.Sprintf("%06d.sst", i), 16<<20); err != nil {
					t.Fatal(err)
				}
			}
			for i := range links {
				if err := v.Link(ctx, fmt.Sprintf("%06d.sst", i%tables), fmt.Sprintf("1%05d.sst", i)); err != nil {
					t.Fatal(err)
				}
			}
			wal, err := v.Create(ctx, "000001.log", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := wal.Write(make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := v.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
			before, start := v.Metrics().Store, time.Now()
			if err := wal.Sync(); err != nil {
				t.Fatal(err)
			}
			if _, err := v.Snapshot(ctx, "s", nil); err != nil {
				t.Fatal(err)
			}
			took = time.Since(start)
			sent = v.Metrics().Store.Sub(before).Sum("put", "").Out
			if err := wal.Close(); err != nil {
				t.Fatal(err)
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
		})
		return took, sent
	}
	small, smallSent := measure(1, 0)
	tables := 4
	if os.Getenv("FORST_NIGHTLY") != "" {
		tables = 64
	}
	large, largeSent := measure(tables, 1024)
	t.Logf("16 MiB: %v, %d bytes sent; %d MiB and 1,024 links: %v, %d bytes sent", small, smallSent, tables*16, large, largeSent)
	if large > small*6/5 || large > 5*28*time.Millisecond {
		t.Errorf("the large one takes %v, the small one %v", large, small)
	}
	if largeSent > 1<<20 {
		t.Errorf("%d bytes were sent", largeSent)
	}
}
