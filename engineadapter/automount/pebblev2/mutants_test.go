//go:build forstmutants

package pebblev2

import (
	"testing"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
)

func TestMutants(t *testing.T) {
	enginetest.Mutants(t, `
automount/creates-unasked        TestAutomount/Refuses
automount/no-volume-is-silent    TestAutomount/Refuses
automount/nonsense-is-no-mount   TestAutomount/Refuses
`)
}
