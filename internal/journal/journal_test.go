package journal

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// newVolume returns a store with the root of a new volume.
func newVolume(t *testing.T) *mem.Store {
	t.Helper()
	s := mem.New(nil)
	create(t, s)
	return s
}

func create(t *testing.T, s driver.Store) Root {
	t.Helper()
	r, err := CreateRoot(context.Background(), s, RootOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func open(t *testing.T, s driver.Store, o *Options) (*Journal, *log) {
	t.Helper()
	m := &log{}
	j, err := Open(context.Background(), s, m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close(context.Background()) })
	return j, m
}

func commit(t *testing.T, j *Journal, ops ...string) {
	t.Helper()
	if err := tryCommit(j, ops...); err != nil {
		t.Fatalf("commit %v: %v", ops, err)
	}
}

func tryCommit(j *Journal, ops ...string) error {
	var pos uint64
	for _, op := range ops {
		pos = j.Enqueue([]byte(op+"\n"), []byte("inline of "+op))
	}
	return j.Wait(context.Background(), pos)
}

func wantOps(t *testing.T, m *log, want ...string) {
	t.Helper()
	if got := m.ops(); !slices.Equal(got, want) {
		t.Errorf("state %v, want %v", got, want)
	}
}

func TestCommitAndReopen(t *testing.T) {
	ctx := context.Background()
	s := newVolume(t)
	j, m := open(t, s, nil)
	commit(t, j, "a", "b")
	commit(t, j, "c")
	wantOps(t, m, "a", "b", "c")
	if j.Epoch() != 1 || j.Acked() != 6 {
		t.Errorf("epoch %d, acked %d; want 1, 6 (4 fences, 2 frames)", j.Epoch(), j.Acked())
	}
	j.Enqueue([]byte("d\n"), nil)
	if err := j.Close(ctx); err != nil {
		t.Fatal(err)
	}
	j2, m2 := open(t, s, nil)
	wantOps(t, m2, "a", "b", "c", "d")
	if j2.Epoch() != 2 {
		t.Errorf("epoch %d, want 2", j2.Epoch())
	}
	commit(t, j2, "e")
	m3 := &log{}
	r, err := OpenReader(ctx, s, m3, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantOps(t, m3, "a", "b", "c", "d", "e")
	commit(t, j2, "f")
	if changed, err := r.Refresh(ctx); err != nil || !changed {
		t.Fatal(changed, err)
	}
	wantOps(t, m3, "a", "b", "c", "d", "e", "f")
	if changed, err := r.Refresh(ctx); err != nil || changed {
		t.Fatal(changed, err)
	}
}

func TestImageTrimReopen(t *testing.T) {
	ctx := context.Background()
	s := newVolume(t)
	j, _ := open(t, s, nil)
	var want []string
	for i := range 30 {
		op := fmt.Sprint("op", i)
		commit(t, j, op)
		want = append(want, op)
		if i%7 == 6 {
			info, err := j.WriteImage(ctx)
			if err != nil || !info.Written || info.Seq != j.Acked() {
				t.Fatal(info, err)
			}
			if _, err := j.Trim(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	images, _ := listImages(ctx, s)
	if len(images) != 2 {
		t.Errorf("%d images, want 2", len(images))
	}
	numbers, _ := listFrames(ctx, s, 0)
	if !slices.Equal(numbers[:5], []uint64{1, 2, 3, 4, 26}) { // fences, then behind the older image: after 21 ops
		t.Errorf("frames %v", numbers)
	}
	_, m := open(t, s, nil)
	wantOps(t, m, want...)
	if err := tryCommit(j, "late"); err == nil {
		t.Error("the old writer was not fenced")
	}
}

func TestGroupCommit(t *testing.T) {
	s := newVolume(t)
	j, m := open(t, s, nil)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if err := tryCommit(j, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(m.ops()) != 64 {
		t.Errorf("%d operations", len(m.ops()))
	}
}
