package state

import (
	"errors"
	"fmt"
	"io/fs"
)

var (
	// ErrClosed is what calls get after Close began. It matches fs.ErrClosed.
	ErrClosed = fmt.Errorf("state backend: %w", fs.ErrClosed)
	// ErrCorrupt is bytes that this package did not write, or a codec that does not fit them. Retrying does not help.
	ErrCorrupt = errors.New("corrupt state")
	// ErrIncompatible is a descriptor that does not fit the state that was restored; the message says why and what to do.
	ErrIncompatible = errors.New("incompatible state")
	// ErrNotMine is a key of a key group that this backend does not own: records are sent to the wrong instance.
	ErrNotMine = errors.New("the key belongs to another instance")
	// ErrNoCheckpoint is a checkpoint that is not there, or does not cover the key groups that are to be restored.
	ErrNoCheckpoint = errors.New("no such checkpoint")
	// ErrCheckpointExists is a checkpoint of this number, run and range that was committed before: choose a higher number.
	ErrCheckpointExists = errors.New("the checkpoint exists")
	// ErrAborted is the result of a snapshot that was aborted.
	ErrAborted = errors.New("the snapshot was aborted")
)
