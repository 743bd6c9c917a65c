package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// imageKey is a listed image.
type imageKey struct {
	seq, nonce uint64
	key        string
	size       int64
}

// listImages returns the listed images, newest first. Names that are no image keys are none of our business.
func listImages(ctx context.Context, store driver.Store) ([]imageKey, error) {
	var all []imageKey
	for info, err := range store.List(ctx, ImagePrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list the images: %w", err)
		}
		if n, nonce, ok := ParseImageKey(info.Key); ok {
			all = append(all, imageKey{n, nonce, info.Key, info.Size})
		}
	}
	slices.SortFunc(all, func(a, b imageKey) int {
		return cmp.Or(cmp.Compare(b.seq, a.seq), cmp.Compare(b.nonce, a.nonce))
	})
	return all, nil
}

// errOtherVolume: a sound image, but of another volume: a cloner that lost the race for this place left it. It is as void as a frame of
// another volume.
var errOtherVolume = errors.New("image of another volume")

// readImage reads and checks one image. The error wraps ErrDamaged if its bytes are wrong, errRestart if it is gone, errOtherVolume if it does not
// belong here.
func readImage(ctx context.Context, store driver.Store, r Root, k imageKey) (*Image, int64, error) {
	var err error
	for range 2 { // bytes that are wrong once may be right when read again
		var b []byte
		if b, err = driver.ReadAll(ctx, store, k.key); err != nil {
			switch driver.KindOf(err) {
			case driver.KindNotExist:
				return nil, 0, fmt.Errorf("%w: image %s is gone (%v)", errRestart, k.key, err)
			case driver.KindCorrupt:
				err = fmt.Errorf("%w: %w", ErrDamaged, err)
				continue
			}
			return nil, 0, fmt.Errorf("read image %s: %w", k.key, err)
		}
		var im *Image
		if im, err = DecodeImage(b); err != nil {
			continue
		}
		switch {
		case im.Volume != r.Volume && !mutant.On(mutOtherImage):
			return nil, 0, fmt.Errorf("%w %s", errOtherVolume, im.Volume)
		case im.Volume != r.Volume:
			err = fmt.Errorf("%w: image of volume %s, this is %s", ErrDamaged, im.Volume, r.Volume)
		case im.Seq != k.seq || im.Nonce != k.nonce:
			err = fmt.Errorf("%w: image %d-%016x under another name", ErrDamaged, im.Seq, im.Nonce)
		default:
			return im, int64(len(b)), nil
		}
	}
	return nil, 0, fmt.Errorf("image %s: %w", k.key, err)
}
