package conformance_test

import "strings"

// A mutantRow is one planted bug and the case that must catch it: a test of this package, or the tests of the bug's own package, which then
// have a table of their own and fail if nothing there catches it.
type mutantRow struct {
	id        string
	catch     string
	schedules int // for TestSimulation: how many
}

const ownTests = "own tests"

// mutantTable has a row for each bug that a test build can plant. Where a case here catches a bug of a lower package, too, it is named: a second
// net, which knows nothing of how the package works.
var mutantTable = rows(`
forstfs/cache-key-too-short        TestFSMem/read/every-hint-gives-the-same-bytes
forstfs/close-error-swallowed      TestFSMem/volume/later-open-fences-the-earlier
forstfs/close-without-bytes        TestFSMem/sync/a-closed-log-precedes-the-next-one
forstfs/deferred-delete-forgotten  TestFSMem/handle/a-writer-outlives-the-name
forstfs/delete-ignores-handles     TestFSMem/handle/outlives-the-name
forstfs/delete-when-issued         TestDurabilityMem/crash/every-point-with-deletions-in-time
forstfs/dir-sync-no-op             TestFSMem/sync/dir
forstfs/eof-with-full-read         TestFSMem/read/end-of-file
forstfs/fenced-sync-nil            TestFSMem/volume/later-open-fences-the-earlier
forstfs/handle-loses-bytes         TestFSMem/handle/outlives-the-name
forstfs/image-of-issued            TestDurabilityMem/crash/every-point-of-concurrent-writers
forstfs/inline-before-objects      TestFSMem/write/content-and-size-are-exact
forstfs/lock-given-twice           TestFSMem/lock/excludes-within-the-process
forstfs/memory-waits-for-ever      TestFSMem/write/many-open-bulk-files-share-the-memory
forstfs/newborn-is-foreign         TestFSMem/open/while-it-is-being-created
forstfs/object-name-reused         TestFSMem/write/content-and-size-are-exact
forstfs/orphan-objects-leak        TestFSMem/handle/a-writer-outlives-the-name
forstfs/pack-before-object         TestDurabilityMem/crash/every-point-with-checkpoints
forstfs/pack-wrong-place           TestFSMem/volume/checkpoints-run-by-themselves-and-bound-the-journal
forstfs/reader-size-frozen         TestFSMem/readonly/open-handles-follow
forstfs/rename-without-bytes       TestFSMem/sync/no-byte-of-a-rename-is-missing
forstfs/reuse-in-two-steps         TestDurabilityMem/crash/every-point-with-an-operation-per-frame
forstfs/seal-before-durable        TestFSMem/write/content-and-size-are-exact
forstfs/short-read-without-error   TestFSMem/read/end-of-file
forstfs/stale-is-not-exist         TestFSMem/read/a-missing-object-is-no-missing-file
forstfs/stale-view-not-renewed     TestFSMem/read/overtaken-by-a-pack
forstfs/stat-size-acknowledged     TestFSMem/read/what-was-written-is-there-at-once
forstfs/sweep-ignores-handles      TestFSMem/garbage/sweep-spares-what-a-handle-reads
forstfs/sweep-own-epoch            TestFSMem/garbage/sweep-takes-orphans-only
forstfs/sync-does-not-wait         TestFSMem/sync/bytes-are-durable
forstfs/sync-without-names         TestDurabilityMem/crash/every-point-of-one-writer
forstfs/trim-ignores-handles       TestFSMem/handle/outlives-the-name
forstfs/unsynced-bytes-hidden      TestFSMem/read/what-was-written-is-there-at-once
forstfs/unused-pack-leaks          TestFSMem/garbage/pack-that-came-too-late
forstfs/upload-error-swallowed     TestFSMem/close/a-failed-upload-is-an-error
forstfs/upload-not-retried         TestDurabilityMem/fault/every-request-error-before
forstfs/write-keeps-the-buffer     TestFSMem/write/the-callers-buffer-is-its-own
`)

func rows(text string) (table []mutantRow) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 2 {
			r := mutantRow{id: f[0], catch: f[1]}
			if f[1] == "TestSimulation" {
				r.schedules = 100
			}
			table = append(table, r)
		}
	}
	return table
}
