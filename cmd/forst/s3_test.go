package main

import (
	"strings"
	"testing"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/testenv"
)

func storeKeys(t *testing.T, url string) []string {
	t.Helper()
	s, err := openStore(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	infos, err := driver.ListAll(t.Context(), s, "", "")
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{}
	for _, i := range infos {
		keys = append(keys, i.Key)
	}
	return keys
}

// TestDemoS3 is the demo against a real server; it leaves the bucket as it was.
func TestDemoS3(t *testing.T) {
	srv := testenv.S3(t)
	url := srv.URL(t)
	t.Setenv("TMPDIR", t.TempDir())
	var res demoResult
	fromJSON(t, must(t, "demo", "--store", url, "--records", "4000", "--kills", "3", "--json"), &res)
	if !res.OK || res.Finding.Found != 4000 || res.Kills != 3 || res.Use.Requests < 100 || res.Use.Sent < 4000*1000 {
		t.Errorf("%+v", res)
	}
	if left := storeKeys(t, url); len(left) != 0 {
		t.Errorf("left in the bucket: %q", left)
	}
	code, _, errs := forstRun(t, "demo", "--store", url, "--records", "2000", "--kills", "1", "--plant", plantDelete)
	if code != exitFailed || !strings.Contains(errs, "the demo found a loss") {
		t.Errorf("a planted fault: exit status %d\n%s", code, errs)
	}
}

// TestReadS3: the reading commands find their way and write nothing.
func TestReadS3(t *testing.T) {
	url := testenv.S3(t).URL(t)
	base, query, _ := strings.Cut(url, "?")
	at := func(path string) string { return base + path + "?" + query }
	must(t, "create", at("/a/b"))
	fill(t, at("/a/b"))
	before := storeKeys(t, url)
	if got := must(t, "ls", at("/a/b/db/deep")); got != "000001.sst\nempty\n" {
		t.Errorf("ls: %q", got)
	}
	if got := must(t, "cat", at("/a/b"), "db/MANIFEST-000002"); got != pattern(300) {
		t.Errorf("cat: %q", got)
	}
	var s statResult
	fromJSON(t, must(t, "stat", "--json", at("/a/b/db")), &s)
	if !s.Dir || s.Path != "/db" || s.Volume != base+"/a/b" {
		t.Errorf("stat: %+v", s)
	}
	if after := storeKeys(t, url); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("reading has changed the store: %q, was %q", after, before)
	}
}

// TestBadInputS3: what only a server can refuse.
func TestBadInputS3(t *testing.T) {
	srv := testenv.S3(t)
	url := srv.URL(t)
	missing := srv.URLIn("no-such-bucket-here", "vol")
	for _, args := range [][]string{{"ls", missing}, {"create", missing}, {"demo", "--store", missing}} {
		code, _, errs := forstRun(t, args...)
		if code != exitFailed || !strings.Contains(errs, "no-such-bucket-here") || !strings.Contains(errs, "create the bucket") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s in a missing bucket: %d %s", args[0], code, errs)
		}
	}
	if code, _, errs := forstRun(t, "ls", url); code != exitFailed || !strings.Contains(errs, "no volume") || !strings.Contains(errs, display(url)) {
		t.Errorf("ls without a volume: %d %s", code, errs)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
	for _, args := range [][]string{{"ls", url}, {"create", url}, {"drop", "--yes", url}, {"demo", "--store", url}} {
		code, _, errs := forstRun(t, args...)
		if code != exitFailed || !strings.Contains(errs, "secret key is wrong") || !strings.Contains(errs, display(url)) || strings.Count(errs, "\n") != 1 || strings.Count(errs, "403") != 1 {
			t.Errorf("%s with wrong credentials: %d %s", args[0], code, errs)
		}
		if strings.Contains(errs, "hunter2") || strings.Contains(errs, srv.SecretKey) {
			t.Errorf("%s shows a secret: %s", args[0], errs)
		}
		t.Log(errs)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", srv.SecretKey)
	if left := storeKeys(t, url); len(left) != 0 {
		t.Errorf("something was written: %q", left)
	}
}

// TestDropS3 leaves nothing that readers or later volumes could take for data.
func TestDropS3(t *testing.T) {
	url := testenv.S3(t).URL(t)
	must(t, "create", url)
	if err := fill(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	must(t, "drop", "--yes", url)
	for _, k := range storeKeys(t, url) {
		if strings.HasPrefix(k, "data/") {
			t.Errorf("data is left: %s", k)
		}
	}
	if _, err := openVolume(t.Context(), url, forstfs.Options{Create: forstfs.CreateIfMissing}); err == nil {
		t.Error("a dropped volume was opened")
	}
}
