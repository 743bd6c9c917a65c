package conformance_test

import (
	"testing"

	"github.com/forst-go/forst/conformance"
)

func TestDurabilityMem(t *testing.T) { conformance.RunDurability(t, memMaker()) }

func TestDurabilityLocal(t *testing.T) {
	t.Parallel()
	conformance.RunDurability(t, localMaker())
}
