package conformance_test

import (
	"os"
	"testing"
)

// TestMain plants the bug that the environment asks for, and lets the test binary be one of the processes that RunKills starts.
func TestMain(m *testing.M) {
	plantMutant()
	os.Exit(m.Run())
}
