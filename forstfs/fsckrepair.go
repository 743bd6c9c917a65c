package forstfs

import (
	"context"
	"fmt"

	"github.com/forst-go/forst/forstfs/driver"
)

// Repair does what cannot do harm about the findings of a check, and says what it did. It disturbs no writer: what only the owner of the volume may delete, it asks the
// owner to delete. Nothing that is missing comes back by it.
func Repair(ctx context.Context, store driver.Store, r *FsckReport, o *Options) ([]string, error) {
	did := []string{}
	holds, err := CollectHolds(ctx, store, &HoldsOptions{Options: o})
	for _, h := range holds {
		if h.Removed {
			did = append(did, fmt.Sprintf("removed %s, the hold of a clone at %s that needs nothing any more (%s)", h.Key, h.Place, h.State))
		}
	}
	if err != nil {
		return did, err
	}
	for _, f := range r.Findings {
		if f.Severity == Leak {
			if err := RequestCollect(ctx, store, o); err != nil {
				return did, err
			}
			return append(did, "asked the writer of the volume, or the next one, to sweep up what nobody needs"), nil
		}
	}
	return did, nil
}
