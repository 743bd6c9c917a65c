package conformance_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// slowDelete holds the first deletion of a data object until it is let go or given up.
type slowDelete struct {
	driver.Store
	held, free chan struct{}
}

func (s *slowDelete) Delete(ctx context.Context, keys []string) error {
	if s.held != nil && strings.HasPrefix(keys[0], "data/") {
		close(s.held)
		s.held = nil
		select {
		case <-s.free:
		case <-ctx.Done():
		}
	}
	return s.Store.Delete(ctx, keys)
}

// TestCloseWaitsForDeletes: a deletion under way when the volume is closed in peace is carried out, not cut off: nothing is left that nobody needs.
func TestCloseWaitsForDeletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := mem.NewBucket(nil)
		raw, err := b.Open("")
		must(t, err)
		s := &slowDelete{Store: raw, held: make(chan struct{}), free: make(chan struct{})}
		held := s.held
		v, err := forstfs.Open(t.Context(), s, &forstfs.Options{Create: forstfs.CreateIfMissing, SkipProbe: true, CacheBytes: -1})
		must(t, err)
		f, err := v.Create(t.Context(), "/a.sst", nil)
		must(t, err)
		_, err = f.Write(make([]byte, 1000))
		must(t, err)
		must(t, f.Close())
		must(t, v.Sync(t.Context()))
		must(t, v.Remove(t.Context(), "/a.sst"))
		must(t, v.Sync(t.Context()))
		<-held
		done := make(chan error, 1)
		go func() { done <- v.Close() }()
		synctest.Wait()
		close(s.free)
		must(t, <-done)
		look, err := b.Open("")
		must(t, err)
		left, err := driver.ListAll(t.Context(), look, "data/", "")
		must(t, err)
		if len(left) > 0 {
			t.Fatalf("after Close %s is left, which no file needs", left[0].Key)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
