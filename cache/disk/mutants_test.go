//go:build forstmutants

package disk

import (
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/internal/mutant"
)

// TestMutants plants each bug and demands that its check finds it.
func TestMutants(t *testing.T) {
	reads := func(dir string) error { return checkBypass(dir, "read") }
	writes := func(dir string) error { return checkBypass(dir, "write") }
	for name, check := range map[string]func(dir string) error{
		"cache/disk-unverified":               checkVerify,
		"cache/disk-write-resurrects-dropped": checkDropDuringWrite,
		"cache/disk-record-unsealed":          checkDamage,
		"cache/disk-record-first":             checkCrash,
		"cache/disk-load-misplaced":           checkRestart,
		"cache/disk-not-locked":               checkLock,
		"cache/disk-error-is-data":            reads,
		"cache/disk-never-bypassed":           writes,
		"cache/disk-never-back":               reads,
		"cache/disk-silent":                   writes,
		"cache/disk-full-is-failure":          checkFullDisk,
		"cache/disk-full-shrinks-twice":       checkFullDiskMetTwice,
	} {
		t.Run(name, func(t *testing.T) {
			defer mutant.Activate(mutant.ID(name))()
			synctest.Test(t, func(t *testing.T) {
				err := check(t.TempDir())
				if err == nil {
					t.Fatal("nobody finds it")
				}
				t.Log(err)
			})
		})
	}
}
