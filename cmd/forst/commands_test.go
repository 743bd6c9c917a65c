package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/testenv"
)

// The commands on snapshots, clones and whole stores, from the command line, with their exit statuses and messages: on a local directory and on a server.
func TestCommandsLocal(t *testing.T) {
	root := t.TempDir()
	commands(t, func(path string) string {
		dir := filepath.Join(root, path)
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		return fileURL(dir)
	})
}

func TestCommandsS3(t *testing.T) {
	t.Parallel()
	base, query, _ := strings.Cut(testenv.S3(t).URL(t), "?")
	commands(t, func(path string) string { return base + "/" + path + "?" + query })
}

// commander calls forst and looks into the stores behind its back.
type commander struct{ *testing.T }

// want runs a command line and looks for words in what it says, on either output.
func (c commander) want(code int, words []string, args ...string) string {
	c.Helper()
	got, out, errs := forstRun(c.T, args...)
	if got != code {
		c.Fatalf("forst %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errs)
	}
	for _, w := range words {
		if not, found := strings.CutPrefix(w, "!"); found {
			if strings.Contains(out+errs, not) {
				c.Errorf("forst %s says %q:\n%s%s", strings.Join(args, " "), not, out, errs)
			}
		} else if !strings.Contains(out+errs, w) {
			c.Errorf("forst %s does not say %q:\n%s%s", strings.Join(args, " "), w, out, errs)
		}
	}
	return out
}

func (c commander) store(url string) driver.Store {
	c.Helper()
	s, err := openStore(c.Context(), url)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { s.Close() })
	return s
}

func (c commander) keys(url, prefix string) (keys []string) {
	c.Helper()
	for _, k := range storeKeys(c.T, url) {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	return keys
}

func (c commander) get(url, key string) []byte {
	c.Helper()
	b, err := driver.ReadAll(c.Context(), c.store(url), key)
	if err != nil {
		c.Fatal(err)
	}
	return b
}

func (c commander) put(url, key string, b []byte) {
	c.Helper()
	if err := c.store(url).Put(c.Context(), key, b, driver.PutOptions{}); err != nil {
		c.Fatal(err)
	}
}

func (c commander) remove(url, key string) []byte {
	c.Helper()
	b := c.get(url, key)
	if err := c.store(url).Delete(c.Context(), []string{key}); err != nil {
		c.Fatal(err)
	}
	return b
}

// orphan is the name of an object that an earlier writer left behind.
func (c commander) orphan(url string, n uint64) string {
	c.Helper()
	data := c.keys(url, "data/")
	if len(data) == 0 {
		c.Fatal("no data object")
	}
	epoch, nonce, _, ok := journal.ParseDataKey(data[0])
	if !ok {
		c.Fatalf("%s is no data object", data[0])
	}
	return journal.DataKey(epoch, nonce, 0xbadcafe+n)
}

func commands(t *testing.T, at func(string) string) {
	c := commander{t}
	src, clone := at("src"), at("clone")
	must(t, "create", src)
	if err := fill(t, src).Close(); err != nil {
		t.Fatal(err)
	}
	quiet := []string{"--quiet", "10ms"}
	c.want(exitOK, []string{"took "}, append([]string{"snapshot", "create", src, "one"}, quiet...)...)
	c.want(exitOK, []string{" is whole", "1 snapshots", "0 orphans"}, "fsck", src)
	c.want(exitOK, []string{" is whole", " read\n"}, "verify", src)

	// clone
	c.want(exitUsage, []string{"names no snapshot"}, "clone", src, clone)
	c.want(exitFailed, []string{"no snapshot of this name"}, "clone", withSnapshot(src, "two"), clone)
	c.want(exitOK, []string{"cloned ", "0 B copied"}, "clone", withSnapshot(src, "one"), clone)
	c.want(exitFailed, nil, "clone", withSnapshot(src, "one"), clone) // a volume is there
	if got := must(t, "cat", clone, "/db/000001.sst"); got != pattern(100_000) {
		t.Errorf("the clone has %d bytes", len(got))
	}
	c.want(exitOK, []string{" is whole", "borrowed"}, "fsck", clone)
	c.want(exitOK, []string{" is whole"}, "verify", clone)
	c.want(exitFailed, []string{"clone"}, "drop", "--yes", src) // somebody needs it

	// a clone without its hold, and a hold without its clone
	holds := c.keys(src, "hold/")
	if len(holds) != 1 {
		t.Fatalf("holds: %q", holds)
	}
	hold := c.remove(src, holds[0])
	c.want(exitFailed, []string{"damage", "hold", "DAMAGED"}, "fsck", clone)
	c.want(exitFailed, []string{"DAMAGED"}, "fsck", "--repair", clone) // it cannot know
	c.put(src, holds[0], hold)
	c.want(exitOK, []string{" is whole"}, "fsck", clone)
	c.want(exitOK, []string{"stays", "nothing was changed"}, "gc", "--dry-run", src)

	// detach
	c.want(exitOK, []string{"copied"}, "detach", clone)
	c.want(exitOK, []string{" is whole", "0 B borrowed"}, "fsck", clone)
	if left := c.keys(src, "hold/"); len(left) != 0 {
		t.Errorf("holds after detach: %q", left)
	}
	c.put(src, holds[0], hold) // its removal is undone by a late request, say
	c.want(exitOK, []string{"!DAMAGED"}, "fsck", src)
	c.want(exitOK, []string{"repaired: removed " + holds[0]}, "fsck", "--repair", src)
	if left := c.keys(src, "hold/"); len(left) != 0 {
		t.Errorf("holds after --repair: %q", left)
	}

	// gc beside a writer
	first, lost := c.orphan(src, 1), c.orphan(src, 2)
	c.put(src, first, []byte("the sweep after the takeover is over when I am gone"))
	v, err := openVolume(t.Context(), src, forstfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); len(c.keys(src, first)) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("no sweep after a takeover")
		}
	}
	c.put(src, lost, []byte("nobody needs me"))
	before, asked := strings.Join(storeKeys(t, src), "\n"), len(c.keys(src, "request/"))
	c.want(exitOK, []string{"leak: ", lost, " is whole", "1 orphans"}, "fsck", src)
	c.want(exitOK, []string{lost, "1 objects that nobody needs", "nothing was changed"}, "gc", "--dry-run", src)
	if strings.Join(storeKeys(t, src), "\n") != before {
		t.Error("gc --dry-run changed something")
	}
	c.want(exitOK, []string{"1 objects that nobody needs", "will sweep"}, "gc", src)
	if n := len(c.keys(src, "request/")); n != asked+1 {
		t.Errorf("%d requests, there were %d", n, asked)
	}
	if n := len(c.keys(src, lost)); n != 1 {
		t.Error("gc deleted beside the writer")
	}
	if err := v.Checkpoint(t.Context()); err != nil { // nobody was fenced, and it serves the request
		t.Fatal(err)
	}
	if n := len(c.keys(src, lost)) + len(c.keys(src, "request/")); n != 0 {
		t.Errorf("%d objects are left after the writer's image", n)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}

	// gc where nobody is
	c.put(src, lost, []byte("nobody needs me"))
	c.want(exitUsage, []string{"--dry-run"}, "gc", "--now", "--dry-run", src)
	c.want(exitUsage, []string{"--now"}, "gc", "--take-over", src)
	c.want(exitOK, []string{lost, "swept"}, append([]string{"gc", "--now", src}, quiet...)...)
	if n := len(c.keys(src, lost)) + len(c.keys(src, "request/")); n != 0 {
		t.Errorf("%d objects are left after gc --now", n)
	}
	c.want(exitOK, []string{" is whole", "0 orphans"}, "fsck", src)

	// --repair of a leak asks the next writer
	c.put(src, lost, []byte("nobody needs me"))
	c.want(exitOK, []string{"repaired: asked the writer"}, "fsck", "--repair", src)
	if len(c.keys(src, lost)) != 1 || len(c.keys(src, "request/")) != 1 {
		t.Error("--repair did more, or less, than ask")
	}
	c.want(exitOK, []string{`"journal"`}, append([]string{"gc", "--now", "--json", src}, quiet...)...)

	// damage
	damaged := func(key string, spoil func([]byte) []byte, how ...string) {
		t.Helper()
		b := c.remove(src, key)
		if s := spoil(append([]byte(nil), b...)); s != nil {
			c.put(src, key, s)
		}
		for _, command := range []string{"fsck", "verify"} {
			if code := exitFailed; command == how[0] || how[0] == "both" {
				c.want(code, append([]string{key}, how[1:]...), command, src)
			} else {
				c.want(exitOK, []string{" is whole"}, command, src)
			}
		}
		if len(c.keys(src, key)) > 0 {
			c.remove(src, key)
		}
		c.put(src, key, b)
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 8; return b }
	short := func(b []byte) []byte { return b[:len(b)-1] }
	gone := func([]byte) []byte { return nil }
	data := c.keys(src, "data/")
	var big string
	for _, k := range data {
		if len(c.get(src, k)) >= 100_000 {
			big = k
		}
	}
	if big == "" {
		t.Fatalf("no object holds the table: %q", data)
	}
	damaged(big, gone, "both", "damage: ", "/db/000001.sst", "missing", "DAMAGED")
	damaged(big, short, "both", "damage: ", "/db/000001.sst", "DAMAGED")
	bodies := c.keys(src, "snapshot/")
	if len(bodies) == 0 {
		t.Fatal("no body of a snapshot")
	}
	damaged(bodies[0], gone, "both", "damage: ", "DAMAGED")
	damaged(bodies[0], flip, "verify", "damage: ", "DAMAGED")
	images := c.keys(src, "image/")
	damaged(images[0], flip, "verify", "damage: ", "DAMAGED")
	c.want(exitOK, []string{" is whole"}, "verify", src)
	c.want(exitFailed, []string{"no volume here"}, "fsck", at("nothing"))
}

// withSnapshot is URL@SNAPSHOT.
func withSnapshot(url, name string) string {
	place, query, has := strings.Cut(url, "?")
	place += "@" + name
	if has {
		place += "?" + query
	}
	return place
}
