//go:build forstmutants

package conformance_test

import (
	"os"

	planted "github.com/forst-go/forst/internal/mutant"
)

// envMutant names the bug that a child process of TestMutants carries.
const envMutant = "FORST_MUTANT"

func plantMutant() {
	if id := os.Getenv(envMutant); id != "" {
		planted.Activate(planted.ID(id))
	}
}
