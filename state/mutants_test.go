//go:build forstmutants

package state

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/forst-go/forst/internal/mutant"
)

const envMutant = "FORST_MUTANT"

func TestMain(m *testing.M) {
	if id := os.Getenv(envMutant); id != "" {
		mutant.Activate(mutant.ID(id))
	}
	os.Exit(m.Run())
}

// TestMutants plants each bug in a process of its own, which runs the test that must find it. The same test passes without the bug.
func TestMutants(t *testing.T) {
	for _, m := range []struct {
		id    mutant.ID
		catch string
	}{
		{mutExpired, "TestTTL/mem"},
		{mutTimerOrder, "TestTimers/mem"},
		{mutBorder, "TestRescale/mem"},
		{mutMergeLoses, "TestReducingAndAggregating/mem"},
		{mutNoDrain, "TestSnapshotsAreExactCuts"},
		{mutNewerWrites, "TestOnlyNewerWritesWaitForASnapshot"},
		{mutNoRange, "TestAbortAndErrors"},
		{mutDoneEarly, "TestOrderOfAKey"},
		{mutKeyOrder, "TestOrderOfAKey"},
		{mutHereOrder, "TestCallersWaitTheirTurn"},
		{mutMeta, "TestRescale/mem"},
		{mutIterLeak, "TestNothingIsLeft"},
		{mutSweepBlind, "TestSweepAsksAgain"},
		{mutWindow, "TestSnapshotsAreExactCuts"},
		{mutCompactions, "TestSnapshotRequests"},
		{mutCloseEarly, "TestCloseWaitsForSnapshots"},
		{mutRetainAll, "TestAutomaticRetention"},
		{mutMirror, "TestConsolidate/mem"},
		{mutMirrorClear, "TestConsolidate/mem"},
		{mutCopyUnlocked, "TestConsolidateBesideWriters"},
		{mutDropNamed, "TestConsolidate/mem"},
	} {
		t.Run(string(m.id), func(t *testing.T) {
			if out, passed := child(t, m.catch, ""); !passed {
				t.Fatalf("without the bug: %s", out)
			}
			out, passed := child(t, m.catch, m.id)
			if passed {
				t.Fatal("nobody has noticed")
			}
			t.Logf("caught by %s", m.catch)
			if strings.Contains(out, "no tests to run") {
				t.Fatal(out)
			}
		})
	}
}

// child runs one test in a process of its own. A panic of the engine about a leak is a failure like any other.
func child(t *testing.T, test string, id mutant.ID) (out string, passed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^"+strings.ReplaceAll(test, "/", "$/^")+"$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), envMutant+"="+string(id))
	b, err := cmd.CombinedOutput()
	out = string(b)
	return out, err == nil && strings.Contains(out, "--- PASS: "+test)
}
