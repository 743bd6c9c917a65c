package conformance_test

import (
	"testing"

	"github.com/forst-go/forst/conformance"
)

func TestSimulation(t *testing.T) {
	runs := 2000
	if testing.Short() {
		runs = 200
	}
	conformance.RunSimulation(t, runs)
}
