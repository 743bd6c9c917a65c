//go:build forstmutants

package pebblev1_test

import (
	"testing"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
)

// The bugs of the core that both versions share are planted under version 2, but for what concerns CURRENT.
func TestMutants(t *testing.T) {
	enginetest.Mutants(t, `
enginefs/no-guard             TestDatabaseWithoutCurrentIsRefused
enginefs/rename-in-two-steps  TestContract/RenameIsOneStep
`)
}
