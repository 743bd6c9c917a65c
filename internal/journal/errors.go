package journal

import "errors"

// The errors of this package. What is returned wraps one of them, and says what to do; test with errors.Is.
var (
	// ErrFenced: another process opened the volume for writing and owns it now. This Journal is dead for ever; nothing that
	// it did not acknowledge may be relied on. Open again only if the other process is meant to lose.
	ErrFenced = errors.New("fenced: another process took the volume over")

	// ErrBusy: another process opened the volume, or wrote to it, while this one was opening it. Wait and try again, or
	// open with Force.
	ErrBusy = errors.New("busy: another process is opening or writing the volume")

	// ErrFailed: the store did not take a frame within the retry budget. Whether that frame is in the journal is not
	// known; the Journal is dead for ever. Open again when the store is well.
	ErrFailed = errors.New("the journal failed")

	// ErrClosed: the Journal or Reader was closed.
	ErrClosed = errors.New("the journal is closed")

	// ErrNoVolume: the store is reachable and certainly holds no volume at this place.
	ErrNoVolume = errors.New("no volume here")

	// ErrExists: there is a volume, or the tombstone of one, at this place already. Use another prefix.
	ErrExists = errors.New("a volume exists here already")

	// ErrFormat: an object is of a newer format, or the volume needs a feature that this version does not know. Upgrade.
	ErrFormat = errors.New("unknown format")

	// ErrDropped: the volume was dropped. Its prefix is never used again; use another one.
	ErrDropped = errors.New("the volume was dropped")

	// ErrNotDropped: FinishDrop was asked to finish the drop of a volume that is in use. Nothing was changed.
	ErrNotDropped = errors.New("the volume is not dropped")

	// ErrDamaged: an object that must be there is missing, or its bytes are wrong. Nothing was written. Restore the object
	// from a copy or the volume from a snapshot.
	ErrDamaged = errors.New("the volume is damaged")

	// ErrStale: a frame is gone because a newer writer no longer needs it. Refresh the Reader, or reopen.
	ErrStale = errors.New("stale: the object was removed by a newer writer")
)

// errRestart makes an opener start again: what it read was overtaken.
var errRestart = errors.New("overtaken")
