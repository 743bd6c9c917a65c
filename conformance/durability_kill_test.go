package conformance_test

import (
	"testing"

	"github.com/forst-go/forst/conformance"
)

func TestKillsLocal(t *testing.T) {
	t.Parallel()
	conformance.RunKills(t, localProcess())
}

func TestZombiesLocal(t *testing.T) {
	t.Parallel()
	conformance.RunZombies(t, localProcess())
}
