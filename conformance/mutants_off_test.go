//go:build !forstmutants

package conformance_test

import (
	"fmt"
	"os"
)

const envMutant = "FORST_MUTANT"

func plantMutant() {
	if id := os.Getenv(envMutant); id != "" {
		fmt.Fprintf(os.Stderr, "%s=%s needs a test binary built with -tags forstmutants\n", envMutant, id)
		os.Exit(2)
	}
}
