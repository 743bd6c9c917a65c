// Package journal is the commit log of a volume: one totally ordered sequence of frames, each an object that is created
// if absent, with fencing, replay, images and trimming. docs/protocol.md gives every rule with its reason, docs/model the
// exhaustive models that the rules were checked with, docs/format.md the bytes.
//
// The journal knows nothing of paths or files: operations and inline bytes are opaque, and a Machine turns them into
// state. It rests on one primitive of the store, create-if-absent, and on nothing else: every request may land late, or
// twice, or never, its reply may be lost, and every process may stop between any two steps.
//
// A Journal is one writer. Opening one takes the volume over: whoever had it before gets ErrFenced at the next durability
// call, for ever. A Reader follows a volume and never writes.
package journal
