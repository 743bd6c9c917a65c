package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// BirthImages stores the state that a volume is born with, as images of number 0, before its root makes it a volume. There are two of them, as
// of every state, so that one can get damaged. On nil they are durable. Their keys are returned in any case: they may exist, now or
// later, also after an error. An image of number 0 of another volume is void, so it does no harm if the root is never created, or
// somebody else's is.
func BirthImages(ctx context.Context, store driver.Store, volume VolumeID, body []byte, budget time.Duration, nonce func() uint64) ([]string, error) {
	if nonce == nil {
		nonce = randomNonce
	}
	ctx = driver.WithComponent(ctx, driver.CompSnapshot)
	s := &sender{store: store, budget: budget, hasty: true, wait: newBackoff(nonce())}
	keys := make([]string, 2)
	errs := make([]error, 2)
	put := func(i int) func() {
		im := &Image{Volume: volume, Nonce: nonce(), TrimmedBelow: 1, Body: body}
		keys[i] = ImageKey(0, im.Nonce)
		return func() {
			other, err := s.settle(ctx, keys[i], im.Encode(), nil)
			if err == nil && other != nil {
				err = fmt.Errorf("another object has its name")
			}
			errs[i] = err
		}
	}
	together(put(0), put(1))
	for i, err := range errs {
		if err != nil {
			return keys, fmt.Errorf("write image %s: %w", keys[i], err)
		}
	}
	return keys, nil
}
