//go:build forstmutants

package journal

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/forst-go/forst/internal/mutant"
)

// TestMutants shows that the scenarios find every planted bug: under the mutant at least one of the scenarios that claim to
// catch it breaks, and each of them does.
func TestMutants(t *testing.T) {
	all := planted(t)
	caught := map[string]bool{}
	for _, s := range scenarios() {
		for _, m := range s.mutants {
			if !slices.Contains(all, m) {
				t.Errorf("scenario %q names the unknown mutant %q", s.name, m)
			}
			t.Run(m+"/"+s.name, func(t *testing.T) {
				defer mutant.Activate(mutant.ID("journal/" + m))()
				err := runScenario(t, s)
				if err == nil {
					t.Error("not caught")
					return
				}
				t.Logf("caught: %v", err)
			})
			caught[m] = true
		}
	}
	for _, m := range all {
		if !caught[m] {
			t.Errorf("nobody catches %q", m)
		}
	}
	t.Logf("%d mutants", len(all))
}

// planted lists the mutants of mutants.go.
func planted(t *testing.T) []string {
	src, err := os.ReadFile("mutants.go")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range regexp.MustCompile(`mutant\.ID = "journal/([a-z-]+)"`).FindAllStringSubmatch(string(src), -1) {
		ids = append(ids, m[1])
	}
	if len(ids) != strings.Count(string(src), "mutant.ID =") || len(ids) < 40 {
		t.Fatalf("%d mutants found", len(ids))
	}
	return ids
}

// TestMutantsSimulated shows that the simulation, which knows nothing of the mutants, finds the worst of them as well.
func TestMutantsSimulated(t *testing.T) {
	for _, m := range []mutant.ID{mutFenceTrimmed, mutRunsForgotten, mutImageUnacked, mutNoLastLook, mutLookAny, mutExistLost, mutForeignIsOwn,
		mutFenceForgotten, mutAckEarly, mutGapEnds, mutKeepOne, mutTrimLive, mutMissingImage, mutSweepFences, mutRootGone, mutGapDamaged} {
		t.Run(string(m), func(t *testing.T) {
			defer mutant.Activate(m)()
			for seed := uint64(1); seed <= 60; seed++ {
				if _, err := simulate(t, seed); err != nil {
					t.Logf("seed %d: %.200v", seed, err)
					return
				}
			}
			t.Error("not found in 60 schedules")
		})
	}
}
