package journal

import (
	"context"
	"testing"

	"github.com/forst-go/forst/forstfs/mem"
)

// BenchmarkCommit is what the journal itself costs: one entry of 1 KiB in one frame, over a store that takes no time.
func BenchmarkCommit(b *testing.B) {
	ctx := context.Background()
	s := mem.New(nil)
	if _, err := CreateRoot(ctx, s, RootOptions{}); err != nil {
		b.Fatal(err)
	}
	j, err := Open(ctx, s, nobody{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close(ctx)
	ops, inline := []byte("operation"), make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if err := j.Wait(ctx, j.Enqueue(ops, inline)); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCommitAllocates counts what one commit allocates, the store's copy of the object included.
func TestCommitAllocates(t *testing.T) {
	s := newVolume(t)
	ctx := context.Background()
	j, err := Open(ctx, s, nobody{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close(ctx)
	ops, inline := []byte("operation"), make([]byte, 1024)
	n := testing.AllocsPerRun(100, func() {
		if err := j.Wait(ctx, j.Enqueue(ops, inline)); err != nil {
			t.Fatal(err)
		}
	})
	if n > 40 {
		t.Errorf("%v allocations for a commit", n)
	}
}
