//go:build forstmutants

package enginetest

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/forst-go/forst/internal/mutant"
)

const envMutant = "FORST_MUTANT"

// The bug that the environment names is there before anything of an adapter runs: FORST_MOUNT is read before main.
func init() {
	if id := os.Getenv(envMutant); id != "" {
		mutant.Activate(mutant.ID(id))
	}
}

// Mutants plants bugs, each in a process of its own that runs one test of this binary, which must fail; without the bug it passes. A row is
// the name of a bug and that of the test. TestMutants in package conformance demands a row for every bug that is planted in the adapters.
func Mutants(t *testing.T, rows string) {
	slots := make(chan struct{}, 2)
	run := func(t *testing.T, id, test string) (out string, passed bool) {
		slots <- struct{}{}
		defer func() { <-slots }()
		var pattern []string
		for elem := range strings.SplitSeq(test, "/") {
			pattern = append(pattern, "^"+regexp.QuoteMeta(elem)+"$")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", strings.Join(pattern, "/"), "-test.v", "-test.timeout", "40s")
		cmd.Env = append(os.Environ(), envMutant+"="+id)
		b, err := cmd.CombinedOutput()
		return string(b), err == nil
	}
	healthy := map[string]bool{}
	for line := range strings.Lines(rows) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		id, test := f[0], f[1]
		if !healthy[test] {
			healthy[test] = true
			t.Run("without/"+test, func(t *testing.T) {
				t.Parallel()
				if out, passed := run(t, "", test); !passed || !strings.Contains(out, "--- PASS: "+test) {
					t.Errorf("the test does not pass without a bug:\n%s", out)
				}
			})
		}
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			switch out, passed := run(t, id, test); {
			case passed:
				t.Errorf("%s does not notice %s", test, id)
			case strings.Contains(out, "--- FAIL: "+test), strings.Contains(out, "panic: "):
				for l := range strings.Lines(out) {
					if l = strings.TrimSpace(l); strings.Contains(l, ".go:") {
						t.Logf("caught: %.300s", l)
						break
					}
				}
			default:
				t.Errorf("the process failed for another reason:\n%s", out)
			}
		})
	}
}
