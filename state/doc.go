// Package state keeps the keyed state of a stream job: values, lists, maps, reduced and aggregated values and timers, each for a key and a
// namespace. State lives in Pebble databases in forst volumes, so it may be larger than memory and disk, a snapshot moves no table, and a
// rescale copies nothing. It is what Flink's ForSt state backend is, for Go programs.
//
//	b, err := state.Create(ctx, root, &state.Options{Keys: state.Instance(128, 4, 0)})
//	...
//	counts, err := state.NewReducing(b, state.ReducingDescriptor[int64]{Name: "counts", Codec: state.Int64,
//		Reduce: func(a, b int64) int64 { return a + b }})
//	...
//	err = counts.Add(ctx, state.Key("word"), 1)
//	...
//	snap, err := b.Snapshot(ctx, 7, offsets) // short; returns before anything was uploaded
//	err = snap.Wait(ctx)                     // nil: checkpoint 7 can be restored, by any number of instances
//
// root is a store: one prefix for all instances of a job. It stays the caller's and is closed after the backends.
//
// # What is durable when
//
// Without Options.Durable, state is durable in snapshots only: after a crash, Restore a checkpoint and replay the source from the offsets that
// were saved with it. With it, each call that has returned nil is in the store.
//
// # Order
//
// Requests on one key run one after the other in the order in which they were issued; those on different keys run concurrently. Everything may be
// called from many goroutines. Functions that are given to this package (reducers, codecs, Update) are called from its goroutines or the
// caller's, one at a time for a key; they must be quick and must not call the backend.
//
// Formats, rules and their reasons are in docs/state.md.
package state
