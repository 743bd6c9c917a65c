package bench

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
)

// TestCommitDuringUploads measures in virtual time, where the processor costs nothing and other load on the machine does not show: files that are synced
// every 30 ms, alone and while four writers stream tables of 16 MiB into the same volume, over 28 ms PUTs and 90 MB/s per connection. The ratio is what the
// protocol itself makes a commit wait: a sync that comes while a frame is in flight waits for it and then for its own.
func TestCommitDuringUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := volume(t, injected(t), &forstfs.Options{CacheBytes: -1})
		wal, err := v.Create(ctx, "000001.log", nil)
		if err != nil {
			t.Fatal(err)
		}
		commits := func(l *Latencies) {
			for range 300 {
				if _, err := wal.Write(make([]byte, 200)); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				if err := wal.Sync(); err != nil {
					t.Fatal(err)
				}
				l.Add(time.Since(start))
			}
		}
		var alone, loaded Latencies
		commits(&alone)
		stop := make(chan struct{})
		done := make(chan error, 4)
		for w := range 4 {
			go func() {
				var err error
				for i := 0; err == nil; i++ {
					select {
					case <-stop:
						done <- nil
						return
					default:
						err = table(v, fmt.Sprintf("%d-%d.sst", w, i), 16<<20)
					}
				}
				done <- err
			}()
		}
		commits(&loaded)
		close(stop)
		for range 4 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if err := wal.Close(); err != nil {
			t.Fatal(err)
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		ratio := float64(loaded.Quantile(.99)) / float64(alone.Quantile(.99))
		t.Logf("alone %v; with uploads %v; p99 ratio %.2f", &alone, &loaded, ratio)
		if ratio > 2.01 { // two frames, and the bytes of the first
			t.Errorf("p99 of a commit is %.2f times that without uploads; it waits for more than one frame besides its own", ratio)
		}
	})
}

// table writes a bulk file as an engine does, and then syncs what names it.
func table(v *forstfs.FS, name string, size int) error {
	f, err := v.Create(ctx, name, nil)
	if err != nil {
		return err
	}
	p := make([]byte, 32<<10)
	for n := 0; n < size; n += len(p) {
		if _, err := f.Write(p); err != nil {
			return err
		}
		time.Sleep(time.Duration(float64(len(p)) / 200e6 * 1e9)) // an engine fills a table at 200 MB/s
	}
	if err := f.Close(); err != nil {
		return err
	}
	return v.Sync(ctx)
}
