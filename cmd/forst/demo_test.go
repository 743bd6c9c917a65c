package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
)

// demoDirs makes an empty store and an empty directory for temporary files, and checks at the end of the test that the demo has
// cleaned up both, but for what it kept on purpose.
func demoDirs(t *testing.T, kept int) (store string) {
	t.Helper()
	dir, tmp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		for _, d := range []struct {
			dir  string
			want int
		}{{dir, kept}, {tmp, 0}} {
			left, err := os.ReadDir(d.dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(left) != d.want {
				t.Errorf("%d entries are left in %s, want %d: %v", len(left), d.dir, d.want, left)
			}
		}
	})
	return fileURL(dir)
}

func TestDemo(t *testing.T) {
	store := demoDirs(t, 0)
	var res demoResult
	fromJSON(t, must(t, "demo", "--store", store, "--records", "4000", "--writers", "20", "--kills", "3", "--seed", "11", "--json"), &res)
	// What was under way at a kill may be there without having been acknowledged.
	if !res.OK || res.Finding.Found != 4000 || res.Acknowledged > 4000 || res.Acknowledged < 4000-3*20 {
		t.Errorf("%+v", res)
	}
	if res.Kills != 3 || len(res.ReopenMillis) != 4 || res.Seed != 11 || res.Writers != 20 || !strings.HasPrefix(res.Store, store+"/forst-demo-") {
		t.Errorf("%+v", res)
	}
	// Each record is sent once to the journal at least, and read once at least.
	if res.Use.Requests < 100 || res.Use.Sent < 4000*1000 || res.Use.Received < 4000*1000 {
		t.Errorf("%+v", res.Use)
	}
}

func TestDemoText(t *testing.T) {
	store := demoDirs(t, 1)
	code, out, errs := forstRun(t, "demo", "--store", store, "--records", "500", "--kills", "1", "--keep")
	if code != exitOK || strings.Count(out, "\n") != 1 || !strings.Contains(out, " commits acknowledged, 0 lost, 1 kills; reopened 2 times") {
		t.Errorf("%d\n%s", code, out)
	}
	for _, want := range []string{"500 YCSB records", "run 1: SIGKILL after ", "run 2: ", "500 commits found, 0 lost", "kept: " + store + "/forst-demo-"} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q is missing in:\n%s", want, errs)
		}
	}
	if strings.ContainsAny(errs, "\r\x1b") {
		t.Errorf("control characters, although this is no terminal: %q", errs)
	}
}

func TestDemoInput(t *testing.T) {
	store := demoDirs(t, 0)
	name := filepath.Join(t.TempDir(), "lines")
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "%s\n", strings.Repeat("word ", i%50))
	}
	write(t, name, text.String())
	var res demoResult
	fromJSON(t, must(t, "demo", "--store", store, "--input", name, "--kills", "2", "--json"), &res)
	if !res.OK || res.Records != 1000 || res.Finding.Found != 1000 || !strings.Contains(res.DataSet, name) {
		t.Errorf("%+v", res)
	}
	// Fewer records than writers, and nothing but the kills.
	fromJSON(t, must(t, "demo", "--store", store, "--input", name, "--records", "3", "--kills", "2", "--json"), &res)
	if !res.OK || res.Records != 3 || res.Writers != 3 || res.Finding.Found != 3 {
		t.Errorf("%+v", res)
	}
}

// TestDemoFindsPlantedFaults: the check of the demo can fail, for each way to fail, and then the volume is kept.
func TestDemoFindsPlantedFaults(t *testing.T) {
	for _, plant := range plants {
		t.Run(plant, func(t *testing.T) {
			store := demoDirs(t, 1)
			code, out, errs := forstRun(t, "demo", "--store", store, "--records", "2000", "--kills", "1", "--seed", "3", "--json", "--plant", plant)
			if code != exitFailed {
				t.Fatalf("exit status %d\n%s", code, errs)
			}
			if !strings.Contains(errs, "the demo found a loss") || !strings.Contains(errs, "kept: "+store) {
				t.Errorf("%s", errs)
			}
			var res demoResult
			fromJSON(t, out, &res)
			f := res.Finding
			hit := map[string]bool{
				plantEarly:  f.Lost > 0,
				plantDelete: f.Lost > 0,
				plantChange: f.Changed > 0,
				plantSwap:   f.Alien > 0,
				plantAlien:  f.Alien > 0,
				plantTorn:   f.Torn > 0,
				plantFuture: f.Unborn > 0,
			}[plant]
			if res.OK || !hit || len(f.Details) == 0 {
				t.Errorf("%+v", res)
			}
		})
	}
}

// cancelAt cancels a context when a text is written to it.
type cancelAt struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (c *cancelAt) Write(p []byte) (int, error) {
	n, err := c.Buffer.Write(p)
	if strings.Contains(c.Buffer.String(), c.text) {
		c.cancel()
	}
	return n, err
}

// TestDemoInterrupted: Ctrl-C ends the writer process and removes what the demo has made.
func TestDemoInterrupted(t *testing.T) {
	for _, at := range []string{"YCSB records", "run 1: SIGKILL"} {
		t.Run(at, func(t *testing.T) {
			store := demoDirs(t, 0)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			errs := &cancelAt{text: at, cancel: cancel}
			var out bytes.Buffer
			code := run(ctx, []string{"demo", "--store", store, "--kills", "2"}, strings.NewReader(""), &out, errs)
			if code != exitInterrupted || out.Len() != 0 || !strings.HasSuffix(errs.String(), "forst: interrupted\n") {
				t.Errorf("exit status %d, output %q\n%s", code, out.String(), errs.String())
			}
		})
	}
}

// TestWriterDies: a writer process that fails is an error with its own last words, not a kill and not a loss.
func TestWriterDies(t *testing.T) {
	dir := t.TempDir()
	c := &demoConfig{Records: 10, Writers: 1, Kills: 1}
	data := ycsb{n: 10}
	d := &demo{demoConfig: c, progress: newProgress(io.Discard), data: data, ledger: newLedger(data, 1), vol: &demoVolume{url: fileURL(dir)}, res: &demoResult{}}
	err := d.rounds(t.Context())
	if err == nil || !strings.Contains(err.Error(), "ended by itself") || !strings.Contains(err.Error(), "no volume") {
		t.Errorf("%v", err)
	}
}

// TestWriterEndsWithParent: when the parent is gone, the writer process closes the database and ends.
func TestWriterEndsWithParent(t *testing.T) {
	dir := makeVolume(t)
	w, err := startWriter(&writerJob{URL: fileURL(dir), Records: 100, Next: []int64{1}}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for m := range w.messages {
		if m.Kind == msgAck && m.Seq == 100 {
			w.stdin.Close() // what the end of the parent does
		}
	}
	w.wait()
	// The process is gone, so its lock on the directory is, too.
	v, err := openVolume(t.Context(), fileURL(dir), forstfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

func TestDemoStore(t *testing.T) {
	dir := t.TempDir()
	v, use, err := makeDemoVolume(t.Context(), fileURL(dir)+"?guard=off")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(v.url, "?guard=off") || !strings.HasPrefix(v.url, fileURL(dir)+"/forst-demo-") || use.Requests == 0 {
		t.Errorf("%+v %+v", v, use)
	}
	if err := v.remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := deleteAll(t.Context(), v.url); err == nil {
		t.Error("the directory is still there")
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	p := &progress{w: &b, tty: true}
	p.update("half %d%%", 50)
	p.line("done")
	if want := "\r\x1b[Khalf 50%\r\x1b[Kdone\n"; b.String() != want {
		t.Errorf("on a terminal: %q, want %q", b.String(), want)
	}
	b.Reset()
	p = &progress{w: &b, every: time.Hour, last: time.Now()}
	p.update("too early")
	p.line("done")
	if want := "done\n"; b.String() != want {
		t.Errorf("elsewhere: %q, want %q", b.String(), want)
	}
	if newProgress(&b).tty {
		t.Error("a buffer is taken for a terminal")
	}
}

func TestNumbers(t *testing.T) {
	var got []string
	for _, n := range []int64{0, 999, 1000, -1000, -999, 1234567, 123456} {
		got = append(got, count(n))
	}
	for _, n := range []int64{0, 1023, 1024, 1536, 5 << 30} {
		got = append(got, size(n))
	}
	for _, d := range []time.Duration{123456, 12345678, 12345678901} {
		got = append(got, brief(d))
	}
	want := []string{"0", "999", "1,000", "-1,000", "-999", "1,234,567", "123,456", "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB", "120µs", "12ms", "12.35s"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
