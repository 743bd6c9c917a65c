package conformance

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// firstKey is the first key below a prefix of a place.
func (e *fsEnv) firstKey(name, prefix string) string {
	e.Helper()
	infos, err := driver.ListAll(e.ctx, e.peek(name), prefix, "")
	e.must(err)
	if len(infos) == 0 {
		e.Fatalf("nothing is below %s of %s", prefix, name)
	}
	return infos[0].Key
}

// finding demands that a check has found exactly this, with the severity.
func (e *fsEnv) finding(r *forstfs.FsckReport, s forstfs.Severity, key, what string) forstfs.Finding {
	e.Helper()
	for _, f := range r.Findings {
		if f.Severity == s && f.Key == key && strings.Contains(f.What, what) {
			return f
		}
	}
	e.Fatalf("no %s %q about %s in %v", s, what, key, r.Findings)
	return forstfs.Finding{}
}

var fsFsckCases = []FSCase{
	{"fsck/a-sound-volume", func(e *fsEnv) {
		v := e.lender()
		e.must(v.Checkpoint(e.ctx))
		e.put(v, "/3.log", bytesOf(300, 3), true)
		r := e.check("a")
		if len(r.Findings) > 0 || r.Files != 3 || r.Snapshots != 1 || r.Bytes != 21_200 || r.Orphans+r.Pending > 0 || r.Read < 20_900 || r.Needed < 20_900 {
			e.Errorf("%+v", r)
		}
		before := len(e.keys(""))
		e.whole("a")
		if n := len(e.keys("")); n != before {
			e.Errorf("a check has changed the store: %d objects, before %d", n, before)
		}
		e.must(v.Err())
		e.want("Fsck of nothing", second(forstfs.Fsck(e.ctx, e.peek("z"), nil)), forstfs.ErrNoVolume)
	}},
	{"fsck/a-missing-object", func(e *fsEnv) {
		v := e.lender()
		e.must(v.Checkpoint(e.ctx))
		e.close(v)
		for _, prefix := range []string{"data/", journal.SnapshotPrefix} {
			key := e.firstKey("a", prefix)
			b, err := driver.ReadAll(e.ctx, e.peek("a"), key)
			e.must(errors.Join(err, e.peek("a").Delete(e.ctx, []string{key})))
			r := e.check("a")
			f := e.finding(r, forstfs.Damage, key, "missing")
			if !r.Damaged() || len(f.Paths) == 0 {
				e.Errorf("%+v", f)
			}
			e.must(e.peek("a").Put(e.ctx, key, b[:len(b)-1], driver.PutOptions{}))
			e.finding(e.check("a"), forstfs.Damage, key, fmt.Sprintf("%d bytes", len(b)-1))
			e.must(e.peek("a").Put(e.ctx, key, b, driver.PutOptions{}))
			e.whole("a")
		}
	}},
	{"fsck/verify-reads-every-byte", func(e *fsEnv) {
		v := e.lender()
		e.must(v.Checkpoint(e.ctx))
		e.put(v, "/3.log", bytesOf(300, 3), true)
		e.must(v.Checkpoint(e.ctx))
		e.close(v)
		infos, err := driver.ListAll(e.ctx, e.peek("a"), "", "")
		e.must(err)
		checked := 0
		for _, i := range infos {
			if !strings.HasPrefix(i.Key, "journal/") && !strings.HasPrefix(i.Key, "image/") && !strings.HasPrefix(i.Key, "snapshot/") {
				continue
			}
			b, err := driver.ReadAll(e.ctx, e.peek("a"), i.Key)
			e.must(err)
			bad := slices.Clone(b)
			bad[len(bad)/2] ^= 4
			e.must(e.peek("a").Put(e.ctx, i.Key, bad, driver.PutOptions{}))
			r, err := forstfs.Fsck(e.ctx, e.peek("a"), &forstfs.FsckOptions{Options: e.cloneOptions(), Verify: true})
			if err == nil && !r.Damaged() {
				e.Errorf("a flipped bit of %s is not found", i.Key)
			}
			if err != nil {
				e.want(i.Key, err, forstfs.ErrDamaged) // what the volume cannot be read without
			}
			e.must(e.peek("a").Put(e.ctx, i.Key, b, driver.PutOptions{}))
			checked++
		}
		if e.whole("a"); checked < 5 {
			e.Errorf("only %d objects", checked)
		}
		bad := errors.New("not a table")
		var names []string
		r, err := forstfs.Fsck(e.ctx, e.peek("a"), &forstfs.FsckOptions{Options: e.cloneOptions(), Verify: true, CheckFile: func(name string, r io.ReaderAt, size int64) error {
			names = append(names, name)
			p := make([]byte, size)
			if _, err := r.ReadAt(p, 0); err != nil && err != io.EOF {
				return err
			}
			if name == "/1.sst" && string(p) == string(bytesOf(20_000, 1)) {
				return bad
			}
			return nil
		}})
		e.must(err)
		if len(names) != 3 || !r.Damaged() || !strings.Contains(fmt.Sprint(r.Findings), "not a table") {
			e.Errorf("an engine's own check of %q: %v", names, r.Findings)
		}
	}},
	{"fsck/orphans-and-what-is-on-its-way", func(e *fsEnv) {
		v := e.lender()
		f := e.create(v, "/9.sst")
		e.write(f, bytesOf(20_000, 9)) // some of it is in objects that no frame names yet
		waitUntil(e, func() bool {
			r, err := forstfs.Fsck(e.ctx, e.peek("a"), &forstfs.FsckOptions{Options: e.cloneOptions()})
			return err != nil || r.Pending+r.Orphans > 0
		})
		r := e.check("a")
		if r.Orphans > 0 || r.Pending == 0 || r.Damaged() {
			e.Errorf("beside a writer: %+v", r)
		}
		w := e.mountAt("a") // the writer is dead; its objects are orphans until they are swept
		_ = f.Close()
		_ = v.Close() // what it had on its way has landed, perhaps behind the sweep of the takeover
		e.last.Delete(v)
		e.must(second(w.Sweep(e.ctx)))
		waitUntil(e, func() bool { return e.check("a").Orphans == 0 })
		e.close(w)
		w = e.mountAt("a")
		e.must(second(w.Sweep(e.ctx)))
		e.close(w)
		e.whole("a")
		orphan := journal.DataKey(1, 77, 1)
		e.must(e.peek("a").Put(e.ctx, orphan, make([]byte, 500), driver.PutOptions{}))
		r = e.check("a")
		if f := e.finding(r, forstfs.Leak, orphan, "nobody"); r.Orphans != 1 || r.Orphaned != 500 || f.Bytes != 500 || r.Damaged() {
			e.Errorf("%+v", r)
		}
		did, err := forstfs.Repair(e.ctx, e.peek("a"), r, e.cloneOptions())
		if e.must(err); len(did) != 1 {
			e.Errorf("%q", did)
		}
		w = e.mountAt("a") // who serves the request with its next image
		e.put(w, "/x", []byte("x"), true)
		e.must(w.Checkpoint(e.ctx))
		e.close(w)
		e.whole("a")
	}},
	{"fsck/clones-and-lenders-agree", func(e *fsEnv) {
		v := e.lender()
		e.clone("a", "s", "b")
		e.whole("a", "b")
		held, borrowed := e.holds("a")
		if len(held) != 1 || len(borrowed) != 0 {
			e.Fatalf("%q, %q", held, borrowed)
		}
		record, err := driver.ReadAll(e.ctx, e.peek("a"), held[0])
		e.must(errors.Join(err, e.peek("a").Delete(e.ctx, held)))
		e.finding(e.check("b"), forstfs.Damage, held[0], "hold is missing")
		e.must(e.peek("a").Put(e.ctx, held[0], record, driver.PutOptions{}))
		e.whole("a", "b")
		_, borrowed = e.holds("b")
		b, err := driver.ReadAll(e.ctx, e.peek("b"), borrowed[0])
		e.must(errors.Join(err, e.peek("b").Delete(e.ctx, borrowed)))
		e.finding(e.check("b"), forstfs.Damage, "", "without a hold")
		e.must(e.peek("b").Put(e.ctx, borrowed[0], b, driver.PutOptions{}))
		key := e.firstKey("a", "data/")
		b, err = driver.ReadAll(e.ctx, e.peek("a"), key)
		e.must(errors.Join(err, e.peek("a").Delete(e.ctx, []string{key})))
		if f := e.finding(e.check("b"), forstfs.Damage, key, "borrowed object is missing"); len(f.Paths) == 0 {
			e.Errorf("%+v", f)
		}
		e.must(e.peek("a").Put(e.ctx, key, b, driver.PutOptions{}))
		// A clone that was dropped by a process that could not reach its lender.
		c := e.mountAt("b")
		e.must(c.Drop(e.ctx))
		e.must(e.peek("a").Put(e.ctx, held[0], record, driver.PutOptions{}))
		r := e.check("a")
		e.finding(r, forstfs.Leak, held[0], "(given)")
		did, err := forstfs.Repair(e.ctx, e.peek("a"), r, e.cloneOptions())
		if e.must(err); len(did) == 0 || !strings.Contains(did[0], held[0]) {
			e.Errorf("%q", did)
		}
		e.wantHolds("a", 0, 0)
		e.must(v.Checkpoint(e.ctx)) // serves what the repair has asked for
		e.close(v)
		e.whole("a")
	}},
}

// waitUntil asks again and again, for as long as the case may take.
func waitUntil(e *fsEnv, done func() bool) {
	e.Helper()
	for !done() {
		if e.ctx.Err() != nil {
			e.Fatalf("it never happened")
		}
		time.Sleep(time.Millisecond)
	}
}
