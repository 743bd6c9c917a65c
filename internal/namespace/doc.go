// Package namespace is the state of a volume: paths, directories, inodes, extents and who refers to which container. It
// is a pure state machine: operations go in one after another, the same sequence always gives the same state, and the
// same state always gives the same bytes (Encode). It makes no I/O, starts no goroutine, reads no clock.
//
// A writer asks Check before it issues an operation, encodes it with Op.AppendTo into a frame, and every reader of that
// frame gives it to Apply. The bytes of operations and of the body of an image are tables in docs/format.md, fixed
// by the golden vectors in testdata.
//
// What the rest of forst may rely on:
//
//   - An operation that Check accepts is accepted by Apply in the same state; one that Apply refuses changes nothing.
//   - A file whose last name has gone leaves the State at once. Open handles are the caller's business.
//   - Append, Extend, Touch and Pack act on an inode; when it is gone they do nothing, so that a file may be removed while
//     its bytes are still on their way.
//   - A slice of extents that was handed out is never modified.
//   - A container is reported by TakeReleased only when no extent refers to it.
//
// Nothing here is durable and nothing is locked: methods that change the State need it exclusively, the others may run
// in parallel with each other. A range over one of the sequences must not change the State.
package namespace
