package enginefs

import (
	"errors"
	"sync"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/mutant"
)

// End is what a program wants to do when its volume has ended, before the engine learns of it: Pebble ends the process then, by a panic in a goroutine of its own
// in the worst case. The zero End does nothing.
type End struct {
	Do   func(err error)
	once sync.Once
}

// seen looks at the error of a call before the engine does. If it comes from the end of the volume, End.Do is run, once; every such call waits until it has returned.
func (a *FS) seen(err error) error {
	if err == nil || a.End == nil || a.End.Do == nil || mutant.On("enginefs/end-not-told") {
		return err
	}
	for _, why := range []error{err, a.Vol.Err()} {
		if errors.Is(why, forstfs.ErrFenced) || errors.Is(why, forstfs.ErrFailed) {
			a.End.once.Do(func() { a.End.Do(why) })
			break
		}
	}
	return err
}
