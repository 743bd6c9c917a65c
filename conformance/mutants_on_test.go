//go:build forstmutants

package conformance_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	planted "github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/testenv"
)

// envMutant names the bug that a child process of TestMutants carries.
const envMutant = "FORST_MUTANT"

func plantMutant() {
	if id := os.Getenv(envMutant); id != "" {
		planted.Activate(planted.ID(id))
	}
}

// TestMutants plants each bug of the table in a process of its own, which runs the case that must catch it and must fail. The same case passes
// without the bug. Every bug that is planted anywhere in the module must be in a table.
func TestMutants(t *testing.T) {
	if os.Getenv(envMutant) != "" {
		t.Fatal("a mutant of the mutants")
	}
	inTable := map[string]bool{}
	healthy := map[string]mutantRow{}
	for _, r := range mutantTable {
		if inTable[r.id+" "+r.catch] {
			t.Errorf("%s has two equal rows", r.id)
		}
		inTable[r.id], inTable[r.id+" "+r.catch] = true, true
		if r.catch != ownTests {
			healthy[r.catch] = r
		}
	}
	for _, id := range uncaught(allPlanted(t), inTable) {
		t.Errorf("nobody catches %s: it has no row here and no test of its own package names it", id)
	}
	t.Run("without", func(t *testing.T) {
		for catch, r := range healthy {
			t.Run(catch, func(t *testing.T) {
				t.Parallel()
				if out, passed := child(t, mutantRow{catch: r.catch, schedules: min(r.schedules, 100)}); !passed || !strings.Contains(out, "--- PASS: "+catch) {
					t.Errorf("the case does not pass without a bug:\n%s", tail(out))
				}
			})
		}
	})
	for _, r := range mutantTable {
		if r.catch == ownTests {
			continue
		}
		t.Run(r.id, func(t *testing.T) {
			t.Parallel()
			why, err := caught(t, r)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("caught: %s", why)
		})
	}
	t.Logf("%d rows", len(mutantTable))
}

// caught runs the case of a row with its bug. It is an error if the case does not see the bug.
func caught(t *testing.T, r mutantRow) (why string, err error) {
	t.Helper()
	switch out, passed := child(t, r); {
	case passed:
		return "", fmt.Errorf("%s does not notice %s", r.catch, r.id)
	case strings.Contains(out, "--- FAIL: "+r.catch), strings.Contains(out, "panic: "):
		return reason(out), nil
	default:
		return "", fmt.Errorf("the process failed for another reason:\n%s", tail(out))
	}
}

// uncaught are the planted bugs that no row and no test of their own package names.
func uncaught(planted, inTable map[string]bool) (ids []string) {
	for id, owned := range planted {
		if !inTable[id] && !owned {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// TestUncaughtMutantsAreRed: TestMutants can fail. A bug that nobody names is reported, and so is one that its case does not see.
func TestUncaughtMutantsAreRed(t *testing.T) {
	planted := allPlanted(t)
	planted["forstfs/nobody-knows-this-one"] = false
	inTable := map[string]bool{}
	for _, r := range mutantTable {
		inTable[r.id] = true
	}
	if got := uncaught(planted, inTable); !slices.Contains(got, "forstfs/nobody-knows-this-one") {
		t.Errorf("a bug without a row is not reported: %q", got)
	}
	delete(inTable, "forstfs/seal-before-durable")
	if got := uncaught(planted, inTable); !slices.Contains(got, "forstfs/seal-before-durable") {
		t.Errorf("a row that was taken out is not missed: %q", got)
	}
	if why, err := caught(t, mutantRow{id: "forstfs/nobody-knows-this-one", catch: "TestFSMem/sync/dir"}); err == nil {
		t.Errorf("a case that sees no bug counts as one that does: %s", why)
	}
	if why, err := caught(t, mutantRow{id: "forstfs/dir-sync-no-op", catch: "TestFSMem/no/such-case"}); err == nil {
		t.Errorf("a case that does not exist counts as one that sees the bug: %s", why)
	}
}

// slots bounds the processes at once.
var slots = make(chan struct{}, 2)

// child runs one case in a process with the bug, or without one.
func child(t *testing.T, r mutantRow) (out string, passed bool) {
	t.Helper()
	slots <- struct{}{}
	defer func() { <-slots }()
	var pattern []string
	for elem := range strings.SplitSeq(r.catch, "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(elem)+"$")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	limit := "40s" // a bug that hangs is caught by this; on a busy machine the other cases take 10
	if r.schedules > 0 {
		limit = "90s"
	}
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", strings.Join(pattern, "/"), "-test.v", "-test.timeout", limit, "-rapid.nofailfile")
	cmd.Env = append(os.Environ(), envMutant+"="+r.id, fmt.Sprintf("FORST_SIM_RUNS=%d", max(r.schedules, 1)))
	cmd.Dir = t.TempDir()
	b, err := cmd.CombinedOutput()
	return string(b), err == nil
}

func tail(out string) string { return out[max(0, len(out)-3000):] }

// reason is the first line of the failure.
func reason(out string) string {
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, ".go:") || strings.HasPrefix(line, "panic: ") {
			return line[:min(len(line), 200)]
		}
	}
	return "?"
}

var (
	plantedConst   = regexp.MustCompile(`(mut[A-Za-z]+)\s+mutant\.ID = "([a-z0-9]+/[a-z0-9-]+)"`)
	plantedInPlace = regexp.MustCompile(`mutant\.On\("([a-z0-9]+/[a-z0-9-]+)"\)`)
)

// allPlanted finds every bug that is planted in the module, and whether a test of its own package names it.
func allPlanted(t *testing.T) map[string]bool {
	t.Helper()
	root, err := testenv.Root()
	must(t, err)
	all := map[string]bool{}
	var adapters strings.Builder
	ofAdapters := map[string][]string{}
	must(t, filepath.WalkDir(root, func(dir string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); dir != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "docs") {
			return filepath.SkipDir
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return err
		}
		tests := new(strings.Builder)
		if in, err := filepath.Rel(root, dir); err == nil && (strings.HasPrefix(in, "engineadapter") || in == filepath.Join("internal", "automount")) {
			tests = &adapters // they share packages below them, and the bugs there
		}
		names := map[string][]string{} // how tests may call it
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			if strings.HasSuffix(f, "_test.go") {
				tests.Write(b)
				continue
			}
			for _, m := range plantedConst.FindAllStringSubmatch(string(b), -1) {
				names[m[2]] = append(names[m[2]], m[1], `"`+m[2][strings.IndexByte(m[2], '/')+1:]+`"`)
			}
			for _, m := range plantedInPlace.FindAllStringSubmatch(string(b), -1) {
				names[m[1]] = append(names[m[1]], `"`+m[1]+`"`)
			}
		}
		for id, ways := range names {
			if tests == &adapters {
				ofAdapters[id] = ways
				continue
			}
			all[id] = slices.ContainsFunc(ways, func(w string) bool { return strings.Contains(tests.String(), w) })
		}
		return nil
	}))
	for id, ways := range ofAdapters {
		all[id] = slices.ContainsFunc(ways, func(w string) bool {
			return strings.Contains(adapters.String(), w) || strings.Contains(adapters.String(), "\n"+strings.Trim(w, `"`)+" ")
		})
	}
	if len(all) < 100 {
		t.Errorf("only %d planted bugs found: are they declared in another way now?", len(all))
	}
	return all
}
