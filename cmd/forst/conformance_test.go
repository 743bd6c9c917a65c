package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/internal/testenv"
)

// TestConformance: a good store passes, and nothing is left in it.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	code, out, errs := forstRun(t, "conformance", "--run", "store/(get|stat|if-absent)/|crash/every-point-of-one-writer", fileURL(dir))
	if code != exitOK || !strings.Contains(out, fileURL(dir)+": conforms (") || !strings.Contains(out, "durability") {
		t.Errorf("exit status %d\n%s%s", code, out, errs)
	}
	for _, want := range []string{"store/get: ", "store/if-absent: ", "durability/crash: 1 passed, 0 failed"} {
		if !strings.Contains(errs, want) {
			t.Errorf("the progress lacks %q:\n%s", want, errs)
		}
	}
	wantEmpty(t, dir)
	wantEmpty(t, os.TempDir())
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left in %s: %v %v", dir, left, err)
	}
}

// TestConformanceJSON: the result names each case that ran, once, and only those that were chosen.
func TestConformanceJSON(t *testing.T) {
	dir := t.TempDir()
	var res conformanceResult
	fromJSON(t, must(t, "conformance", "--json", "--suite", "store", "--run", "/errors/", fileURL(dir)), &res)
	var want []string
	for _, c := range conformance.StoreCases() {
		if strings.HasPrefix(c.Name, "errors/") {
			want = append(want, "store/"+c.Name)
		}
	}
	var got []string
	for _, c := range res.Cases {
		got = append(got, c.String())
		if !c.OK || len(c.Failures) > 0 {
			t.Errorf("%s: %v", &c, c.Failures)
		}
	}
	if !slices.Equal(got, want) || len(got) == 0 {
		t.Errorf("ran %q, want %q", got, want)
	}
	if !res.OK || res.Passed != len(want) || res.Failed != 0 || res.Store != fileURL(dir) || res.Use.Requests == 0 || res.Use.Sent == 0 || res.Seconds <= 0 {
		t.Errorf("%+v", res)
	}
	wantEmpty(t, dir)
}

// TestConformanceSharesTheBigStore: the cases that only read a store of many keys fill it once for all.
func TestConformanceSharesTheBigStore(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", t.TempDir())
	var res conformanceResult
	fromJSON(t, must(t, "conformance", "--json", "--run", "^store/list/(more-than-1000-keys|start-after-in-a-big-store|prefix-in-a-big-store)$", fileURL(dir)), &res)
	if res.Passed != 3 || res.Use.Requests < 1103 || res.Use.Requests > 2000 {
		t.Errorf("%d cases passed with %d requests", res.Passed, res.Use.Requests)
	}
	wantEmpty(t, dir)
	wantEmpty(t, os.TempDir())
}

// TestConformanceChooses: by default all cases of both suites run.
func TestConformanceChooses(t *testing.T) {
	all := len(conformance.StoreCases()) + len(conformance.DurabilityCases())
	for _, tc := range []struct {
		suites []string
		run    string
		want   int
	}{
		{suites, "", all},
		{[]string{"store"}, "", len(conformance.StoreCases())},
		{[]string{"durability"}, "", len(conformance.DurabilityCases())},
		{suites, "^durability/", len(conformance.DurabilityCases())},
		{suites, "^store/put/64-MiB$", 1},
	} {
		c := &conformanceConfig{Suites: tc.suites}
		if err := c.validate(tc.run); err != nil || len(c.cases()) != tc.want {
			t.Errorf("%q --run %q: %d cases, %v; want %d", tc.suites, tc.run, len(c.cases()), err, tc.want)
		}
	}
}

// TestConformanceFindsFaults: each planted fault is found by the case that is made for it, which the report names.
func TestConformanceFindsFaults(t *testing.T) {
	found := map[string][]string{
		plantIgnoreIfAbsent:  {"store/if-absent/race-of-16-has-one-winner"},
		plantShortRead:       {"store/get/range-in-the-middle"},
		plantListMissesFresh: {"store/list/right-after-put"},
		plantForgetPuts:      {"durability/readback/after-every-owner", "durability/crash/every-point-of-one-writer", "durability/fault/every-read-short"},
		plantForgetLater:     {"durability/readback/after-every-owner", "durability/crash/every-point-of-one-writer"},
	}
	for _, plant := range confPlants() {
		if len(found[plant]) == 0 {
			t.Errorf("no case is named for %s", plant)
		}
		for _, name := range found[plant] {
			t.Run(plant+"/"+name, func(t *testing.T) {
				wantFound(t, plant, name)
			})
		}
	}
}

// wantFound demands that the case finds the planted fault, in both kinds of report.
func wantFound(t *testing.T, plant, name string) {
	dir := t.TempDir()
	code, out, errs := forstRun(t, "conformance", "--plant", plant, "--run", "^"+name+"$", fileURL(dir))
	if code != exitFailed || !strings.Contains(out, "FAILED "+name+"\n    ") || !strings.Contains(out, "DOES NOT CONFORM (0 of 1 cases passed") ||
		!strings.Contains(errs, "1 of 1 cases failed on "+fileURL(dir)+": "+name) {
		t.Errorf("exit status %d\n%s%s", code, out, errs)
	}
	wantEmpty(t, dir)
	var res conformanceResult
	code, out, _ = forstRun(t, "conformance", "--json", "--plant", plant, "--run", "^"+name+"$", fileURL(dir))
	if err := json.Unmarshal([]byte(out), &res); code != exitFailed || err != nil || res.OK || res.Failed != 1 || len(res.Cases) != 1 || len(res.Cases[0].Failures) == 0 {
		t.Errorf("exit status %d, %v: %s", code, err, out)
	}
}

// TestConformanceInterrupted: Ctrl-C in the middle of a case cleans up, whatever the case was doing.
func TestConformanceInterrupted(t *testing.T) {
	for _, tc := range []struct{ suite, sign string }{
		{"store", "root-*/*"},              // objects are put
		{"durability", "root-*/*/journal"}, // volumes are open, and would retry for long
	} {
		t.Run(tc.suite, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("TMPDIR", t.TempDir())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for ctx.Err() == nil {
					if m, _ := filepath.Glob(filepath.Join(dir, "forst-conformance-*", filepath.FromSlash(tc.sign))); len(m) > 0 {
						cancel()
					}
					<-tick.C
				}
			}()
			code, out, errs := forstRunCtx(ctx, "conformance", "--suite", tc.suite, "--run", "atomic/|delete/|fault/", fileURL(dir))
			if code != exitInterrupted || out != "" || !strings.HasSuffix(errs, "forst: interrupted\n") {
				t.Errorf("exit status %d %q\n%s", code, out, errs)
			}
			wantEmpty(t, dir)
			wantEmpty(t, os.TempDir())
		})
	}
}

// TestConformanceGate: after stop a handle changes nothing and reads nothing, and no new one opens.
func TestConformanceGate(t *testing.T) {
	dir := t.TempDir()
	s, err := newScratch(t.Context(), &conformanceConfig{Store: fileURL(dir)})
	if err != nil {
		t.Fatal(err)
	}
	rec := conformance.Record(t.Context(), "gate", s.tempDir, func(tb conformance.TB) {
		open := s.maker().Fresh(tb)
		st, err := open(t.Context())
		if err != nil {
			tb.Fatalf("%v", err)
		}
		if err := s.touchOn(t.Context(), st); err != nil {
			tb.Fatalf("before stop: %v", err)
		}
		s.stop()
		if err := s.touchOn(t.Context(), st); err == nil {
			tb.Errorf("a stopped handle can put")
		}
		if err := st.Delete(t.Context(), []string{"here"}); err == nil {
			tb.Errorf("a stopped handle can delete")
		}
		if _, err := st.Stat(t.Context(), "here"); err == nil || !strings.Contains(err.Error(), "interrupted") {
			tb.Errorf("a stopped handle can stat: %v", err)
		}
		if _, err := st.Get(t.Context(), "here", 0, -1); err == nil || !strings.Contains(err.Error(), "interrupted") {
			tb.Errorf("a stopped handle can get: %v", err)
		}
		for _, err := range st.List(t.Context(), "", "") {
			if err == nil || !strings.Contains(err.Error(), "interrupted") {
				tb.Errorf("a stopped handle can list: %v", err)
			}
		}
		if _, err := open(t.Context()); err == nil {
			tb.Errorf("a stopped scratch opens stores")
		}
		if err := st.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	if failures := rec.Failures(); len(failures) > 0 {
		t.Error(strings.Join(failures, "\n"))
	}
	if err := s.remove(t.Context()); err != nil {
		t.Error(err)
	}
	wantEmpty(t, dir)
}

// TestConformanceBadInput: nothing runs and nothing is written.
func TestConformanceBadInput(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{}, exitUsage, "arguments given: 0"},
		{[]string{"--suite", "shop", fileURL(dir)}, exitUsage, "known are store, durability"},
		{[]string{"--run", "(", fileURL(dir)}, exitUsage, "--run"},
		{[]string{"--run", "no-such-case", fileURL(dir)}, exitUsage, "no case matches"},
		{[]string{"--plant", "tree", fileURL(dir)}, exitUsage, "ignore-if-absent"},
		{[]string{"nonsense://x"}, exitUsage, "nonsense"},
		{[]string{fileURL(dir) + "/missing"}, exitFailed, "missing"},
		{[]string{fileURL(dir) + "?mode=ro"}, exitUsage, "read-only"},
	} {
		code, out, errs := forstRun(t, append([]string{"conformance"}, tc.args...)...)
		if code != tc.code || out != "" || !strings.Contains(errs, tc.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: exit status %d, %q, %s", tc.args, code, out, errs)
		}
	}
	wantEmpty(t, dir)
}

// TestConformanceS3: against a real server, which is as empty afterwards as it was; the nightly run takes all cases.
func TestConformanceS3(t *testing.T) {
	srv := testenv.S3(t)
	url := srv.URL(t)
	expr := "store/(errors|stat|delete)/|durability/crash/every-point-with-checkpoints|durability/fault/every-read-short"
	if os.Getenv("FORST_NIGHTLY") != "" {
		expr = ""
	}
	code, out, errs := forstRun(t, "conformance", "--run", expr, url)
	t.Log(out)
	if code != exitOK || !strings.Contains(out, ": conforms (") {
		t.Errorf("exit status %d\n%s%s", code, out, errs)
	}
	if strings.Contains(out+errs, srv.SecretKey) {
		t.Error("a secret is shown")
	}
	if left := storeKeys(t, url); len(left) != 0 {
		t.Errorf("left in the bucket: %q", left)
	}
	code, _, errs = forstRun(t, "conformance", srv.URLIn("no-such-bucket-here", "vol"))
	if code != exitFailed || !strings.Contains(errs, "create the bucket") || strings.Count(errs, "\n") != 1 {
		t.Errorf("a missing bucket: %d %s", code, errs)
	}
}
