package forstfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/mem"
)

// openAt opens the volume under a prefix of a bucket.
func openAt(t *testing.T, b *mem.Bucket, prefix string) *forstfs.FS {
	t.Helper()
	o := small()
	o.OpenStore = relative(b)
	v, err := forstfs.Open(ctx, under(t, b, prefix), o)
	must(t, err)
	return v
}

// cloneTo clones a snapshot of the volume under from.
func cloneTo(t *testing.T, b *mem.Bucket, from, snapshot, to string, o *forstfs.CloneOptions) (forstfs.CloneInfo, error) {
	t.Helper()
	if o == nil {
		o = &forstfs.CloneOptions{}
	}
	if o.Options == nil {
		o.Options = &forstfs.Options{SkipProbe: true}
	}
	o.SourceURL, o.CloneURL, o.Options.OpenStore = "../"+from, "../"+to, relative(b)
	src, dst := under(t, b, from), under(t, b, to)
	defer src.Close()
	defer dst.Close()
	return forstfs.Clone(ctx, src, snapshot, dst, o)
}

func fsck(t *testing.T, b *mem.Bucket, prefix string, verify bool) *forstfs.FsckReport {
	t.Helper()
	s := under(t, b, prefix)
	defer s.Close()
	r, err := forstfs.Fsck(ctx, s, &forstfs.FsckOptions{Options: &forstfs.Options{OpenStore: relative(b)}, Verify: verify})
	must(t, err)
	return r
}

// whole demands that fsck finds nothing at all.
func whole(t *testing.T, b *mem.Bucket, prefixes ...string) {
	t.Helper()
	for _, p := range prefixes {
		if r := fsck(t, b, p, true); len(r.Findings) > 0 || r.Orphans > 0 {
			t.Errorf("%s: %d orphans, %v", p, r.Orphans, r.Findings)
		}
	}
}

func sameBytes(t *testing.T, v *forstfs.FS, name string, want []byte) {
	t.Helper()
	got, err := readHead(t, v, name, len(want))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s of %s: %d bytes, %v", name, v.Name(), len(got), err)
	}
}

// TestClone: a clone has the files of the snapshot, moves no bytes of data objects, is independent of what its source does later, and its source of it; Detach
// ends the dependence.
func TestClone(t *testing.T) {
	b := bucket()
	table, log := content(300<<10, 1), content(3000, 2)
	src := openAt(t, b, "src")
	write(t, src, "/1.sst", table, true)
	write(t, src, "/2.log", log, true)
	_, err := src.Snapshot(ctx, "s", nil)
	must(t, err)
	write(t, src, "/later.sst", table[:70<<10], true)
	info, err := cloneTo(t, b, "src", "s", "dst", nil)
	must(t, err)
	if info.Files != 2 || info.Copied != 0 || info.Lenders != 1 || info.Bytes != int64(len(table)+len(log)) {
		t.Errorf("%+v", info)
	}
	whole(t, b, "dst")
	v := openAt(t, b, "dst")
	sameBytes(t, v, "/1.sst", table)
	sameBytes(t, v, "/2.log", log)
	if _, err := v.Stat(ctx, "/later.sst"); err == nil {
		t.Error("the clone has what came after the snapshot")
	}
	write(t, v, "/own.sst", table[:100<<10], true)
	must(t, v.Sync(ctx))
	must(t, errors.Join(src.RemoveAll(ctx, "/1.sst"), src.Sync(ctx), src.RemoveSnapshot(ctx, "s"), src.Checkpoint(ctx)))
	_, err = src.Sweep(ctx)
	must(t, err)
	sameBytes(t, v, "/1.sst", table)
	if _, err := cloneTo(t, b, "src", "s", "other", nil); !errors.Is(err, forstfs.ErrSnapshotDoomed) {
		t.Errorf("a doomed snapshot was cloned: %v", err)
	}
	if err := src.Drop(ctx); !errors.Is(err, forstfs.ErrHeld) || !strings.Contains(err.Error(), "../dst") {
		t.Errorf("drop of a lender: %v", err)
	}
	must(t, v.Close())
	v = openAt(t, b, "dst")
	sameBytes(t, v, "/1.sst", table)
	d, err := v.Detach(ctx, nil)
	must(t, err)
	if d.Given != 1 || d.Still != 0 || d.Bytes == 0 {
		t.Errorf("%+v", d)
	}
	sameBytes(t, v, "/1.sst", table)
	sameBytes(t, v, "/2.log", log)
	must(t, src.Close())
	src = openAt(t, b, "src")
	must(t, errors.Join(src.Drop(ctx), src.Close()))
	sameBytes(t, v, "/1.sst", table)
	must(t, errors.Join(v.Checkpoint(ctx), v.Close()))
	whole(t, b, "dst")
	v = openAt(t, b, "dst")
	sameBytes(t, v, "/1.sst", table)
	sameBytes(t, v, "/own.sst", table[:100<<10])
	must(t, v.Close())
}

// TestCloneOfAClone: holds for every volume that is borrowed from; whoever goes, what is needed stays.
func TestCloneOfAClone(t *testing.T) {
	b := bucket()
	first, second := content(200<<10, 1), content(150<<10, 2)
	a := openAt(t, b, "a")
	write(t, a, "/1.sst", first, true)
	_, err := a.Snapshot(ctx, "s", nil)
	must(t, err)
	_, err = cloneTo(t, b, "a", "s", "b", nil)
	must(t, err)
	vb := openAt(t, b, "b")
	write(t, vb, "/2.sst", second, true)
	_, err = vb.Snapshot(ctx, "t", nil)
	must(t, err)
	info, err := cloneTo(t, b, "b", "t", "deep/c", nil)
	must(t, err)
	if info.Lenders != 2 {
		t.Errorf("%+v", info)
	}
	whole(t, b, "deep/c", "b")
}

// TestCloneCopy: a copy has everything, and nobody is held.
func TestCloneCopy(t *testing.T) {
	b, far := bucket(), bucket()
	table, log := content(300<<10, 1), content(3000, 2)
	src := openAt(t, b, "src")
	write(t, src, "/1.sst", table, true)
	write(t, src, "/2.log", log, true)
	_, err := src.Snapshot(ctx, "s", nil)
	must(t, err)
	from, to := under(t, b, "src"), under(t, far, "dst")
	var last, total int64
	info, err := forstfs.Clone(ctx, from, "s", to, &forstfs.CloneOptions{Copy: true, Progress: func(d, n int64) { last, total = max(last, d), n }})
	must(t, err)
	if info.Copied < int64(len(table)) || info.Lenders != 0 || last != total || total != info.Copied {
		t.Errorf("%+v, %d of %d", info, last, total)
	}
	must(t, errors.Join(from.Close(), to.Close(), src.Drop(ctx), src.Close()))
	whole(t, far, "dst")
	v := openAt(t, far, "dst")
	sameBytes(t, v, "/1.sst", table)
	sameBytes(t, v, "/2.log", log)
	must(t, v.Close())
}

// TestCloneRequests: every request of a clone in its round trip: at most nine, whatever the size, and no byte of a table.
func TestCloneRequests(t *testing.T) {
	clone := func(t *testing.T, files int) (trips int, text string) {
		synctest.Test(t, func(t *testing.T) {
			b := bucket()
			src := openAt(t, b, "src")
			for i := range files {
				write(t, src, fmt.Sprintf("/%d.sst", i), content(1000, uint64(i)), false)
			}
			write(t, src, "/x.log", content(500, 1), true)
			_, err := src.Snapshot(ctx, "s", nil)
			must(t, errors.Join(err, src.Checkpoint(ctx), src.Close()))
			tl := &timeline{t: t, b: b}
			trips = tl.do("clone", func() {
				info, err := forstfs.Clone(ctx, tl.wrap("source", under(t, b, "src")), "s", tl.wrap("clone ", under(t, b, "dst")),
					&forstfs.CloneOptions{SourceURL: "../src", CloneURL: "../dst"})
				must(t, err)
				if info.Files != files+1 || info.Copied != 0 {
					t.Errorf("%+v", info)
				}
			})
			text = tl.out.String()
			if strings.Contains(text, "data/") {
				t.Errorf("a clone reads or writes data objects:\n%s", text)
			}
			if files == 3 {
				tl.compare("clone.golden")
			}
		})
		return trips, text
	}
	few, text := clone(t, 3)
	many, _ := clone(t, 300)
	if few != many || few > 9 {
		t.Errorf("%d round trips with 3 tables, %d with 300; 9 are promised\n%s", few, many, text)
	}
}
