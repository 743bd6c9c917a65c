//go:build forstmutants

package cache

import (
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/internal/mutant"
)

// TestMutants plants each bug and demands that its check finds it.
func TestMutants(t *testing.T) {
	type check struct {
		name, mutant string
		run          func() error
	}
	dir, rises := t.TempDir(), t.TempDir()
	all := []check{{"a dropped object does not return through the disk tier", "cache/disk-offer-unchecked",
		func() error { return checkDropDuringFetchOnDisk(dir) }},
		{"what was damaged in memory does not rise to the disk", "cache/risen-unverified", func() error { return checkRise(rises, true) }}}
	for _, k := range checks {
		all = append(all, check(k))
	}
	for _, k := range all {
		t.Run(k.mutant, func(t *testing.T) {
			defer mutant.Activate(mutant.ID(k.mutant))()
			synctest.Test(t, func(t *testing.T) {
				err := k.run()
				if err == nil {
					t.Fatalf("the check %q does not find it", k.name)
				}
				t.Log(err)
			})
		})
	}
}
