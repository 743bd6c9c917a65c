package conformance_test

import (
	"os"
	"testing"

	"github.com/forst-go/forst/conformance"
)

func TestSimulation(t *testing.T) {
	runs := 2500
	switch {
	case os.Getenv("FORST_NIGHTLY") != "":
		runs = 20_000
	case testing.Short():
		runs = 200
	}
	conformance.RunSimulation(t, runs)
}
