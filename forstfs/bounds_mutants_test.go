//go:build forstmutants

package forstfs_test

import (
	"testing"

	"github.com/forst-go/forst/internal/mutant"
)

// TestMutants: the bounds in virtual time notice the bugs that are planted for them.
func TestMutants(t *testing.T) {
	for id, bound := range map[string]string{
		"upload-without-end":     "UploadsGiveUp",
		"staleness-counts-later": "StalenessCountsFromBegin",
	} {
		t.Run(bound, func(t *testing.T) {
			defer mutant.Activate(mutant.ID("forstfs/" + id))()
			err := bounds[bound](t)
			if err == nil {
				t.Fatalf("%s is not noticed", id)
			}
			t.Logf("caught: %v", err)
		})
	}
}
