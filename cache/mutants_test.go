//go:build forstmutants

package cache

import (
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/internal/mutant"
)

// TestMutants plants each bug and demands that its check finds it.
func TestMutants(t *testing.T) {
	for _, k := range checks {
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
