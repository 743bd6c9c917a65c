//go:build forstmutants

package pebblev2_test

import (
	"testing"
	"time"

	"github.com/forst-go/forst/internal/mutant"
)

// plant is for processes that live and die with a bug.
func plant(bug string) {
	if bug != "" {
		mutant.Activate(mutant.ID(bug))
	}
}

// TestMutantsOfTheCache plants bugs of the cache's disk below a running database; the others are caught beside them, in cache/disk.
func TestMutantsOfTheCache(t *testing.T) {
	for _, bug := range []string{"cache/disk-unverified", "cache/disk-error-is-data", "cache/disk-silent"} {
		t.Run(bug, func(t *testing.T) {
			defer mutant.Activate(mutant.ID(bug))()
			err := newFailing(t.TempDir(), 5*time.Second).run()
			if err == nil {
				t.Fatal("a database on a failing disk does not find it")
			}
			t.Logf("%.300v", err)
		})
	}
	for _, bug := range []string{"cache/disk-load-misplaced", "cache/disk-not-locked"} {
		t.Run("kills/"+bug, func(t *testing.T) {
			defer mutant.Activate(mutant.ID(bug))() // here, too: two processes must look away for both to have a directory
			err := cacheKills(t, 3, 1, bug)
			if err == nil {
				t.Fatal("processes that are killed do not find it")
			}
			t.Logf("%.300v", err)
		})
	}
}
