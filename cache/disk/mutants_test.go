//go:build forstmutants

package disk

import (
	"testing"

	"github.com/forst-go/forst/internal/mutant"
)

// TestMutants plants each bug and demands that its check finds it.
func TestMutants(t *testing.T) {
	for name, check := range map[string]func(dir string) error{
		"cache/disk-unverified":               checkVerify,
		"cache/disk-write-resurrects-dropped": checkDropDuringWrite,
	} {
		t.Run(name, func(t *testing.T) {
			defer mutant.Activate(mutant.ID(name))()
			err := check(t.TempDir())
			if err == nil {
				t.Fatal("nobody finds it")
			}
			t.Log(err)
		})
	}
}
