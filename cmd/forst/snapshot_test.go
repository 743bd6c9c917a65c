package main

import (
	"strings"
	"testing"

	"github.com/forst-go/forst/forstfs"
)

// TestSnapshotCommands goes through the life of snapshots from the command line.
func TestSnapshotCommands(t *testing.T) {
	dir := makeVolume(t)
	url := fileURL(dir)
	v := fill(t, url)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if got := must(t, "snapshot", "ls", url); got != "" {
		t.Errorf("no snapshots: %q", got)
	}
	quiet := []string{"--quiet", "10ms"}
	out := must(t, append([]string{"snapshot", "create", url, "daily", "--meta", "mine", "--expire", "100h"}, quiet...)...)
	if !strings.HasPrefix(out, "took "+url+"@daily (id ") || !strings.Contains(out, "3 files, 97.9 KiB") {
		t.Errorf("create: %q", out)
	}
	must(t, append([]string{"snapshot", "create", url, "deep", "--dir", "/db/deep"}, quiet...)...)
	var all []snapshotResult
	fromJSON(t, must(t, "snapshot", "ls", "--json", url), &all)
	if len(all) != 2 || all[0].Name != "daily" || string(all[0].Meta) != "mine" || all[0].Expires == nil || all[1].Dir != "/db/deep" || *all[1].Holds != 0 || *all[0].Exclusive <= 0 {
		t.Errorf("%+v", all)
	}

	v, err := openVolume(t.Context(), url, forstfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.RemoveAll(t.Context(), "/db"); err != nil {
		t.Fatal(err)
	}
	if err := v.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"ls", url}, ""},
		{[]string{"ls", url + "@daily"}, "db/\n"},
		{[]string{"ls", url + "@daily/db"}, "000001.sst\nMANIFEST-000002\ndeep/\n"},
		{[]string{"ls", url + "@" + all[0].ID, "db/deep"}, "000001.sst\nempty\n"},
		{[]string{"cat", url + "@daily", "db/MANIFEST-000002"}, pattern(300)},
		{[]string{"cat", url + "@deep", "/db/deep/000001.sst"}, pattern(100_000)},
		{[]string{"ls", "-R", url + "@deep"}, "/db/\n/db/deep/\n/db/deep/000001.sst\n/db/deep/empty\n"},
	} {
		if got := must(t, c.args...); got != c.want {
			t.Errorf("%q printed %.200q, want %.200q", c.args, got, c.want)
		}
	}
	if out := must(t, "stat", url+"@daily"); !strings.Contains(out, "volume: "+url+"@daily\n") {
		t.Errorf("stat: %q", out)
	}
	if out := must(t, "du", url+"@daily"); strings.Contains(out, "in the store") || !strings.Contains(out, "97.9 KiB") {
		t.Errorf("du: %q", out)
	}
	if out := must(t, "du", url); !strings.Contains(out, "snapshots ") {
		t.Errorf("du: %q", out)
	}
	if out := must(t, "snapshot", "rm", url, "deep"); out != "requested the removal of "+url+"@deep\n" {
		t.Errorf("rm: %q", out)
	}
	if err := v.Checkpoint(t.Context()); err != nil { // the writer lives on, and serves it
		t.Fatal(err)
	}
	fromJSON(t, must(t, "snapshot", "ls", "--json", url), &all)
	if len(all) != 1 {
		t.Errorf("after rm: %+v", all)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	must(t, append([]string{"snapshot", "restore", url, "daily", "--yes"}, quiet...)...)
	if got := must(t, "cat", url, "/db/000001.sst"); got != pattern(100_000) {
		t.Errorf("after restore: %d bytes", len(got))
	}
	if out := must(t, "snapshot", "rm", "--take-over", "--json", url, "daily"); !strings.Contains(out, `"removed"`) {
		t.Errorf("rm --take-over: %q", out)
	}
	if got := must(t, "snapshot", "ls", url); got != "" {
		t.Errorf("all are removed: %q", got)
	}
}

func TestSnapshotBadInput(t *testing.T) {
	dir := makeVolume(t)
	url := fileURL(dir)
	must(t, "snapshot", "create", url, "one", "--take-over")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"snapshot", "nope"}, exitUsage, "unknown command"},
		{[]string{"snapshot", "create", url}, exitUsage, "arguments given: 1"},
		{[]string{"snapshot", "create", url, "one", "--take-over"}, exitFailed, "a snapshot of this name exists"},
		{[]string{"snapshot", "create", url, "a/b", "--take-over"}, exitFailed, "a space, a control character"},
		{[]string{"snapshot", "create", url, "x", "--expire", "-1h"}, exitUsage, "--expire"},
		{[]string{"snapshot", "create", url, "x", "--quiet", "0s"}, exitUsage, "--quiet"},
		{[]string{"snapshot", "create", url, "x", "--take-over", "--dir", "/nope"}, exitFailed, "/nope"},
		{[]string{"snapshot", "restore", url, "one"}, exitUsage, "--yes"},
		{[]string{"snapshot", "restore", url, "nope", "--yes", "--take-over"}, exitFailed, "no snapshot of this name"},
		{[]string{"snapshot", "rm", url, "nope"}, exitFailed, "no snapshot of this name"},
		{[]string{"ls", url + "@nope"}, exitFailed, "no snapshot of this name"},
		{[]string{"snapshot", "ls", fileURL(t.TempDir())}, exitFailed, "the prefix is empty"},
	} {
		code, _, errs := forstRun(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit status %d, %q; want %d, %q", c.args, code, errs, c.code, c.want)
		}
	}
}

// TestSnapshotRefusesABusyVolume: without --take-over a volume that somebody writes to is left alone.
func TestSnapshotRefusesABusyVolume(t *testing.T) {
	dir := makeVolume(t)
	url := fileURL(dir)
	v, err := openVolume(t.Context(), url, forstfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			f, err := v.Create(t.Context(), "/f", nil)
			if err == nil {
				err = f.Sync()
				f.Close()
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	code, _, errs := forstRun(t, "snapshot", "create", url, "one", "--quiet", "2s")
	close(stop)
	if code != exitFailed || !strings.Contains(errs, "--take-over") {
		t.Errorf("exit status %d, %q", code, errs)
	}
	if err := <-done; err != nil {
		t.Errorf("the writer: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}
