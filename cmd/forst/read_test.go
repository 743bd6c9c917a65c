package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/fault"
)

// fill puts a few files into a volume and leaves it open for writing, so that the reading commands work beside a writer.
func fill(t *testing.T, url string) *forstfs.FS {
	t.Helper()
	ctx := t.Context()
	v, err := openVolume(ctx, url, forstfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(v.MkdirAll(ctx, "/db/deep"))
	for name, n := range map[string]int{"/db/000001.sst": 100_000, "/db/MANIFEST-000002": 300, "/db/deep/empty": 0} {
		f, err := v.Create(ctx, name, nil)
		check(err)
		_, err = f.Write([]byte(pattern(n)))
		check(err)
		check(f.Close())
	}
	check(v.Link(ctx, "/db/000001.sst", "/db/deep/000001.sst"))
	check(v.Sync(ctx))
	return v
}

func pattern(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d,", i)
	}
	return b.String()[:n]
}

// TestRead shows a volume that a writer has open, and leaves the store exactly as it was.
func TestRead(t *testing.T) {
	dir := makeVolume(t)
	url := fileURL(dir)
	v := fill(t, url)
	before := tree(t, dir, true)

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"ls", url}, "db/\n"},
		{[]string{"ls", url + "/db"}, "000001.sst\nMANIFEST-000002\ndeep/\n"},
		{[]string{"ls", url, "db"}, "000001.sst\nMANIFEST-000002\ndeep/\n"},
		{[]string{"ls", url + "/db", "deep"}, "000001.sst\nempty\n"},
		{[]string{"ls", url + "/db/MANIFEST-000002"}, "/db/MANIFEST-000002\n"},
		{[]string{"ls", "-R", url}, "/db/\n/db/000001.sst\n/db/MANIFEST-000002\n/db/deep/\n/db/deep/000001.sst\n/db/deep/empty\n"},
		{[]string{"cat", url, "db/MANIFEST-000002"}, pattern(300)},
		{[]string{"cat", url, "/db/000001.sst"}, pattern(100_000)},
		{[]string{"cat", url + "/db", "deep/000001.sst"}, pattern(100_000)},
		{[]string{"cat", url, "/db/deep/empty"}, ""},
	} {
		if got := must(t, c.args...); got != c.want {
			t.Errorf("%q printed %.200q, want %.200q", c.args, got, c.want)
		}
	}

	var entries []entry
	fromJSON(t, must(t, "ls", "--json", url+"/db"), &entries)
	if len(entries) != 3 || entries[0].Path != "000001.sst" || entries[0].Size != 100_000 || entries[0].Class != "sst" || !entries[2].Dir {
		t.Errorf("ls --json: %+v", entries)
	}
	if long := must(t, "ls", "-l", url+"/db"); !strings.Contains(long, "100000") || !strings.Contains(long, "manifest") {
		t.Errorf("ls -l: %s", long)
	}
	var s statResult
	fromJSON(t, must(t, "stat", "--json", url, "/db/MANIFEST-000002"), &s)
	if s.Size != 300 || s.ID != fmt.Sprintf("%x", v.VolumeID()) || s.Epoch != v.Epoch() || s.Volume != url {
		t.Errorf("stat: %+v", s)
	}
	if text := must(t, "stat", url); !strings.Contains(text, s.ID) || strings.Contains(text, "inode") {
		t.Errorf("stat: %s", text)
	}
	var du duResult
	fromJSON(t, must(t, "du", "--json", url), &du)
	if du.Files != 3 || du.Bytes != 100_300 || len(du.Dirs) != 3 || du.Stored == nil || du.Stored.Bytes < 100_300 || du.Stored.ByKind["data"] < 100_000 {
		t.Errorf("du: %+v %+v", du, du.Stored)
	}
	if text := must(t, "du", url+"/db/deep"); !strings.Contains(text, "97.7 KiB") || strings.Contains(text, "in the store") {
		t.Errorf("du: %s", text)
	}

	if after := tree(t, dir, true); after != before {
		t.Errorf("reading has changed the store:\n%s\nwas:\n%s", after, before)
	}
	if err := v.Sync(t.Context()); err != nil {
		t.Errorf("reading has disturbed the writer: %v", err)
	}
}

func fromJSON(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

// TestCreateDrop: a dropped volume leaves no data, and its prefix is not used again.
func TestCreateDrop(t *testing.T) {
	dir := makeVolume(t)
	url := fileURL(dir)
	if err := fill(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	var res volumeResult
	fromJSON(t, must(t, "drop", "--json", "--yes", url), &res)
	if res.Done != "dropped" || res.Volume != url || len(res.ID) != 32 {
		t.Errorf("drop: %+v", res)
	}
	left := tree(t, dir, false)
	if strings.Contains(left, "/data/") && strings.Contains(left, "-") {
		for line := range strings.Lines(left) {
			if strings.Contains(line, "/data/") && strings.Contains(line, "-") {
				t.Errorf("data is left: %s", line)
			}
		}
	}
	if code, _, errs := forstRun(t, "create", url); code != exitFailed {
		t.Errorf("the prefix of a dropped volume was used again: %d %s", code, errs)
	}
}

// TestDropFinishes: a drop that was cut off is finished by the next one, which says so; with nothing left to do the volume is simply dropped.
func TestDropFinishes(t *testing.T) {
	dir := makeVolume(t)
	url := fileURL(dir)
	if err := fill(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := openStore(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	f := fault.New(s, nil)
	v, err := forstfs.Open(ctx, f, &forstfs.Options{RetryBudget: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	f.Add(fault.Rule{Ops: []fault.Op{fault.Delete}, Do: fault.Fail(nil)})
	if err := v.Drop(ctx); err == nil {
		t.Error("Drop without any deletion says nil")
	}
	_ = v.Close()
	if left := tree(t, dir, false); !strings.Contains(left, "data/") {
		t.Fatalf("the interrupted drop has deleted everything:\n%s", left)
	}
	if out := must(t, "drop", "--yes", url); out != "finished the drop of "+url+"\n" {
		t.Errorf("drop after an interrupted one: %q", out)
	}
	keys := storeKeys(t, url)
	for _, k := range keys {
		if strings.HasPrefix(k, "data/") {
			t.Errorf("%s is left", k)
		}
	}
	if code, out, errs := forstRun(t, "drop", "--yes", url); code != exitFailed || out != "" || !strings.Contains(errs, "was dropped") {
		t.Errorf("one more drop: exit status %d, %q, %s", code, out, errs)
	}
	if again := storeKeys(t, url); !slices.Equal(again, keys) {
		t.Errorf("one more drop changes %q to %q", keys, again)
	}
}

func TestVersion(t *testing.T) {
	var v versionInfo
	fromJSON(t, must(t, "version", "--json"), &v)
	if v.Version == "" || !strings.HasPrefix(v.Go, "go1.") {
		t.Errorf("%+v", v)
	}
	if out := must(t, "version"); !strings.HasPrefix(out, "forst ") || strings.Count(out, "\n") != 1 {
		t.Errorf("%q", out)
	}
}
