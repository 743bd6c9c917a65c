package forstfs

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// Errors of a volume; test with errors.Is. What is missing, exists or is not allowed matches the sentinels of io/fs.
var (
	ErrFenced     = journal.ErrFenced     // another process has taken the volume over: reopen it, after a pause
	ErrBusy       = journal.ErrBusy       // somebody else is taking the volume over right now, or is at work: wait, or use Options.Force
	ErrFailed     = journal.ErrFailed     // the store did not answer for longer than Options.RetryBudget; reopen the volume
	ErrClosed     = journal.ErrClosed     // the volume was closed
	ErrNoVolume   = journal.ErrNoVolume   // nothing is here: check the URL, or set Options.Create
	ErrExists     = journal.ErrExists     // CreateNew found a volume
	ErrFormat     = journal.ErrFormat     // written by a newer forst: upgrade
	ErrDropped    = journal.ErrDropped    // the volume was dropped; its prefix is not used again: choose another
	ErrNotDropped = journal.ErrNotDropped // FinishDrop of a volume that is in use; nothing was changed
	ErrDamaged    = journal.ErrDamaged    // bytes in the store are missing or wrong; nothing was changed
	ErrStale      = journal.ErrStale      // what this handle reads was deleted by a newer writer: reopen or refresh

	// ErrSourceGone: this volume is a clone, and bytes that it borrows cannot be had where it recorded them. Bring the source's objects back, or give the
	// clone the place (Options.OpenStore) if they were moved. Nothing in the clone itself is damaged.
	ErrSourceGone     = errors.New("the volume that this clone borrows from is gone")
	ErrNoSnapshot     = errors.New("no snapshot of this name")               // list them; nothing was changed
	ErrSnapshotExists = errors.New("a snapshot of this name exists")         // remove it first, or choose another name
	ErrSnapshotDoomed = errors.New("the removal of this snapshot has begun") // it cannot be taken back: use another one

	ErrForeign     = errors.New("the prefix holds objects that are not a forst volume")
	ErrReadOnly    = fmt.Errorf("the volume is open read-only: %w", fs.ErrPermission)
	ErrUnsafeStore = errors.New("the store does not keep the contract that durability rests on")

	ErrIsDir    = namespace.ErrIsDir
	ErrNotDir   = namespace.ErrNotDir
	ErrNotEmpty = namespace.ErrNotEmpty
)

func pathErr(op, name string, err error) error {
	if err == nil {
		return nil
	}
	// The sentinels stand bare in a PathError, so that every way of asking (os.IsNotExist too) finds them.
	for _, s := range []error{fs.ErrNotExist, fs.ErrExist} {
		if errors.Is(err, s) {
			return &fs.PathError{Op: op, Path: name, Err: s}
		}
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// storeErr keeps what a store said about its objects from matching fs.ErrNotExist and fs.ErrExist, which are about the names of a volume: a
// store that says "not there" to a PUT is broken or misconfigured, and an engine must not take that for a missing file.
func storeErr(err error) error {
	if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return aboutStore{err}
}

type aboutStore struct{ err error }

func (e aboutStore) Error() string { return e.err.Error() }

func (e aboutStore) Is(target error) bool {
	return target != fs.ErrNotExist && target != fs.ErrExist && errors.Is(e.err, target)
}

// staleErr turns "the object is not there" into ErrStale: an engine takes not-exist for corruption or for an empty
// database, and neither is what it means when a referenced object has gone.
func staleErr(err error) error {
	if driver.KindOf(err) == driver.KindNotExist && !mutant.On(mutStaleNotExist) {
		return fmt.Errorf("%w (%v)", ErrStale, err)
	}
	return err
}
