package forstfs_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// TestSnapshotTimeIsThatOfRoundTrips: in virtual time, in which only requests take any, a snapshot of a large volume takes as long as one of a small one, and
// reads and writes no data object.
func TestSnapshotTimeIsThatOfRoundTrips(t *testing.T) {
	took := func(files int) (d time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			tl := &timeline{t: t, b: bucket()}
			o := small()
			o.RequestInterval, o.ImageFrames = -1, 1<<30
			v, err := forstfs.Open(ctx, tl.store(), o)
			must(t, err)
			must(t, v.MkdirAll(ctx, "/db"))
			write(t, v, "/db/t.sst", content(1000, 1), true)
			for i := 1; i < files; i++ {
				must(t, v.Link(ctx, "/db/t.sst", fmt.Sprintf("/db/%06d.sst", i)))
				if i%1000 == 0 {
					must(t, v.Sync(ctx))
				}
			}
			must(t, v.Sync(ctx))
			write(t, v, "/db/1.log", content(500, 1), true)
			before := v.Metrics().Store
			began := time.Now()
			snap(t, v, "s", nil)
			d = time.Since(began)
			made := v.Metrics().Store.Sub(before)
			for _, comp := range []driver.Component{driver.CompFlush, driver.CompCompaction, driver.CompRead, driver.CompReadahead} {
				if n := made.Sum("", comp).Calls; n != 0 {
					t.Errorf("%d files: %d requests by %s", files, n, comp)
				}
			}
			if n := made.Sum("", "").Calls; n > 5 {
				t.Errorf("%d files: %v", files, made)
			}
			must(t, v.Close())
		})
		return d
	}
	few, many := took(3), took(20_000)
	if few != many || few > 5*time.Second {
		t.Errorf("%v with few files, %v with many; one second is one round trip", few, many)
	}
}
