package conformance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
)

// overwrite puts bytes in the place of an object.
func (e *fsEnv) overwrite(name, key string, b []byte) {
	e.Helper()
	e.must(e.peek(name).Put(e.ctx, key, b, driver.PutOptions{}))
}

// keysAt are the keys below a prefix of a place.
func (e *fsEnv) keysAt(name, prefix string) (keys []string) {
	e.Helper()
	infos, err := driver.ListAll(e.ctx, e.peek(name), prefix, "")
	e.must(err)
	for _, i := range infos {
		keys = append(keys, i.Key)
	}
	return keys
}

func (e *fsEnv) bytesAt(name, key string) []byte {
	e.Helper()
	b, err := driver.ReadAll(e.ctx, e.peek(name), key)
	e.must(err)
	return b
}

// Damage that opening a volume does not show: a check that does not look for it finds nothing.
var fsFsckBlindCases = []FSCase{
	{"fsck/a-missing-frame-below-the-image", func(e *fsEnv) {
		// A file is written while an image is on its way: its bytes are in a frame that the image covers and nobody reads to open the volume.
		pack := newStall(0, false, false)
		pack.match = isPut(journal.DataPrefix)
		e.stalls = append(e.stalls, pack)
		v := e.mountOn(&stallStore{e.place("a"), pack}, e.cloneOptions())
		e.put(v, "/1.log", bytesOf(500, 1), true)
		pack.start()
		done := make(chan error, 1)
		go func() { done <- v.Checkpoint(e.ctx) }()
		<-pack.hit
		frames := e.keysAt("a", journal.JournalPrefix)
		e.put(v, "/2.log", bytesOf(700, 2), true)
		later := e.keysAt("a", journal.JournalPrefix)
		close(pack.free)
		e.must(<-done)
		e.close(v)
		if len(later) != len(frames)+1 {
			e.Fatalf("one file is %d frames", len(later)-len(frames))
		}
		e.whole("a")
		key := later[len(later)-1]
		b := e.bytesAt("a", key)
		e.must(e.peek("a").Delete(e.ctx, []string{key}))
		if f := e.finding(e.check("a"), forstfs.Damage, key, "missing"); len(f.Paths) != 1 || f.Paths[0] != "/2.log" {
			e.Errorf("%+v", f)
		}
		e.overwrite("a", key, b)
		e.whole("a")
	}},
	{"fsck/an-image-too-many", func(e *fsEnv) {
		v := e.lender()
		e.must(v.Checkpoint(e.ctx))
		images := e.keysAt("a", journal.ImagePrefix)
		old := images[len(images)-1]
		b := e.bytesAt("a", old)
		for i := range 3 {
			e.put(v, "/3.log", bytesOf(300, uint64(i)), true)
			e.must(v.Checkpoint(e.ctx))
		}
		e.close(v)
		e.whole("a")
		e.overwrite("a", old, b) // it landed again
		r := e.check("a")
		if f := e.finding(r, forstfs.Leak, old, "image older"); r.Orphans != 1 || f.Bytes != int64(len(b)) || r.Damaged() {
			e.Errorf("%+v", r)
		}
	}},
	{"fsck/what-is-held-is-gone", func(e *fsEnv) {
		// The hold was lost, the snapshot removed, and the hold brought back from a copy.
		v := e.lender()
		e.clone("a", "s", "b")
		held, _ := e.holds("a")
		b := e.bytesAt("a", held[0])
		e.must(e.peek("a").Delete(e.ctx, held))
		e.must(v.RemoveSnapshot(e.ctx, "s"))
		e.close(v)
		e.overwrite("a", held[0], b)
		e.finding(e.check("a"), forstfs.Damage, held[0], "which is gone")
		e.finding(e.check("b"), forstfs.Damage, held[0], "does not have snapshot")
	}},
	{"fsck/a-hold-on-another-snapshot", func(e *fsEnv) {
		// There is a hold, and the snapshot that it is for does not keep what the clone needs.
		v := e.lender()
		e.clone("a", "s", "b")
		e.must(v.Remove(e.ctx, "/1.sst"))
		other := e.snap(v, "t", nil)
		e.close(v)
		e.whole("a", "b")
		held, _ := e.holds("a")
		h, err := journal.DecodeHold(e.bytesAt("a", held[0]))
		e.must(err)
		h.Snapshot = other.ID
		e.must(e.peek("a").Delete(e.ctx, held))
		e.overwrite("a", h.HeldKey(), h.Encode())
		e.overwrite("b", h.BorrowKey(), h.Encode())
		e.finding(e.check("b"), forstfs.Damage, e.firstKey("a", journal.DataPrefix), "does not keep this object")
	}},
	{"fsck/wrong-size-of-what-came-meanwhile", func(e *fsEnv) {
		// An object is missing, so the check looks again whether the volume has gone on. It has, and what has come is too short.
		v := e.lender()
		gone := e.firstKey("a", journal.DataPrefix)
		e.must(e.peek("a").Delete(e.ctx, []string{gone}))
		var short string
		s := e.when(e.place("a"), func(what, key string) bool { return what == "stat" && key == gone }, func() {
			before := e.keysAt("a", journal.DataPrefix)
			e.put(v, "/4.sst", bytesOf(9000, 4), true)
			for _, key := range e.keysAt("a", journal.DataPrefix) {
				if !strings.Contains(fmt.Sprint(before), key) {
					short = key
				}
			}
			b := e.bytesAt("a", short)
			e.overwrite("a", short, b[:len(b)-1])
		})
		r, err := forstfs.Fsck(e.ctx, s, &forstfs.FsckOptions{Options: e.cloneOptions()})
		e.must(errors.Join(err, s.Close()))
		e.finding(r, forstfs.Damage, gone, "missing")
		e.finding(r, forstfs.Damage, short, "bytes, want")
		e.must(v.Close())
	}},
	{"fsck/a-file-without-a-name", func(e *fsEnv) {
		// The newest image, sound in every checksum, has a file that no name leads to: the only link count that can be impossible, as names are what is counted.
		v := e.mountAt("a")
		e.put(v, "/1.log", bytesOf(500, 1), true)
		e.must(v.Checkpoint(e.ctx))
		e.put(v, "/nameless", bytesOf(400, 2), true)
		e.must(v.Checkpoint(e.ctx))
		e.close(v)
		images := e.keysAt("a", journal.ImagePrefix)
		key := images[len(images)-1]
		im, err := journal.DecodeImage(e.bytesAt("a", key))
		e.must(err)
		im.Body = e.withoutName(im.Body, "nameless")
		e.overwrite("a", key, im.Encode())
		before := e.objects("a")
		_, err = forstfs.Fsck(e.ctx, e.place("a"), &forstfs.FsckOptions{Options: e.cloneOptions()})
		e.says(err, key, "inode 2 has no name")
		_, err = forstfs.Open(e.ctx, e.place("a"), e.cloneOptions()) // nor does a writer believe it, or take the older image for the truth
		e.says(err, key, "inode 2 has no name")
		if after := e.objects("a"); !maps.Equal(before, after) {
			e.Errorf("there were %q, there are %q", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
		}
	}},
}

// withoutName takes a name of the root directory out of the body of an image (docs/format.md, Namespace body).
func (e *fsEnv) withoutName(body []byte, name string) []byte {
	e.Helper()
	const head, size = 10, 2 // of a section: its id, its flags, and its length from there
	const tree = 4
	le := binary.LittleEndian
	for at := 1; at < len(body); at += head + int(le.Uint64(body[at+size:])) {
		if body[at] != tree {
			continue
		}
		in := body[at+head:][:le.Uint64(body[at+size:])]
		i := bytes.Index(in, append([]byte{byte(len(name))}, name...))
		if i < 0 {
			break
		}
		end := i + 1 + len(name) + 1 // the number of the file is below 128
		less := slices.Concat(in[:i], in[end:])
		less[0]-- // names in the root
		out := slices.Concat(body[:at+head], less, body[at+head+len(in):])
		le.PutUint64(out[at+size:], uint64(len(less)))
		return out
	}
	e.Fatalf("%q is not in the image", name)
	return nil
}

// objects are the objects of a place, with their bytes.
func (e *fsEnv) objects(name string) map[string]string {
	e.Helper()
	all := map[string]string{}
	for _, key := range e.keysAt(name, "") {
		all[key] = string(e.bytesAt(name, key))
	}
	return all
}

// says demands an error with these words.
func (e *fsEnv) says(err error, words ...string) {
	e.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			e.Errorf("%v; want a word about %q", err, w)
		}
	}
}
