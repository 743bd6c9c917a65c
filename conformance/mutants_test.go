//go:build forstmutants

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
cache/disk-unverified              TestSimulation

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
forstfs/link-across-aliases        TestPlacementMem/ForSt/place/renames-and-links-cross
forstfs/local-fence-unseen         TestPlacementMem/LocalWAL/place/a-fenced-log-learns-of-it
forstfs/local-files-unlisted       TestPlacementMem/ForSt/place/renames-and-links-cross
forstfs/local-name-not-synced      TestPlacementMem/ForSt/place/power-loss-at-every-point
forstfs/local-reaped-early         TestPlacementMem/ForSt/place/power-loss-at-every-point
forstfs/local-sync-no-fsync        TestPlacementMem/ForSt/place/power-loss-at-every-point
forstfs/lost-disk-opens            TestPlacementMem/LocalWAL/place/a-lost-disk-is-refused
forstfs/max-lag-ignored            TestPlacementMem/LocalWAL_that_follows/place/sync-honours-the-lag
forstfs/move-without-sync          TestPlacementMem/all_classes_but_tables/place/power-loss-at-every-point
forstfs/redo-sync-no-fsync         TestPlacementMem/LocalWAL_that_follows/place/power-loss-at-every-point
forstfs/lock-given-twice           TestFSMem/lock/excludes-within-the-process
forstfs/memory-waits-for-ever      TestFSMem/write/many-open-bulk-files-share-the-memory
forstfs/newborn-is-foreign         TestFSMem/open/while-it-is-being-created
forstfs/object-name-reused         TestFSMem/write/content-and-size-are-exact
forstfs/orphan-objects-leak        TestFSMem/handle/a-writer-outlives-the-name
forstfs/abandoned-without-tomb     TestFSMem/clone/an-abandoned-hold-goes-behind-a-tombstone
forstfs/cache-key-of-borrower      TestFSMem/clone/shares-the-cache
forstfs/cloner-does-not-look       TestFSMem/clone/removed-before-the-hold
forstfs/cloner-ignores-doom        TestFSMem/clone/a-doomed-snapshot-takes-no-hold
forstfs/cloner-looks-first         TestFSMem/clone/removed-before-the-hold
forstfs/cloner-looks-first         TestSimulation
forstfs/restore-beside-removal     TestFSMem/snapshot/restored-beside-its-removal
forstfs/parts-out-of-order         TestFSMem/write/a-long-tail-goes-in-parts
forstfs/late-bytes-unpinned        TestFSMem/handle/removed-while-its-bytes-are-on-their-way
forstfs/first-close-unpins         TestFSMem/handle/two-files-of-one-object
forstfs/refused-delete-forgotten   TestFSMem/garbage/refused-deletes-come-again
forstfs/given-up-snapshot-stays    TestFSMem/snapshot/given-up-leaves-nothing
forstfs/undone-before-its-body     TestFSMem/snapshot/given-up-leaves-nothing
forstfs/detach-copies-unpinned     TestFSMem/clone/detach-beside-a-removal
forstfs/detach-copy-let-go         TestFSMem/clone/detach-beside-a-removal
forstfs/failed-clone-leaves-all    TestFSMem/clone/what-a-dead-cloner-leaves-is-no-volume
forstfs/holds-in-two-lenders       TestFSMem/clone/of-a-clone-of-a-clone
forstfs/any-root-is-the-clones     TestFSMem/clone/what-a-dead-cloner-leaves-is-no-volume
forstfs/fsck-ignores-frames        TestFSMem/fsck/a-missing-frame-below-the-image
forstfs/fsck-ignores-images        TestFSMem/fsck/an-image-too-many
forstfs/fsck-sizes-once            TestFSMem/fsck/wrong-size-of-what-came-meanwhile
forstfs/fsck-held-is-gone          TestFSMem/fsck/what-is-held-is-gone
forstfs/fsck-hold-is-enough        TestFSMem/fsck/a-hold-on-another-snapshot
forstfs/fsck-ignores-holds         TestFSMem/fsck/clones-and-lenders-agree
forstfs/fsck-misses-missing        TestFSMem/fsck/a-missing-object
forstfs/fsck-pending-is-orphan     TestFSMem/fsck/orphans-and-what-is-on-its-way
forstfs/hold-given-when-issued     TestFSMem/clone/a-hold-stays-until-the-removal-is-acknowledged
forstfs/hold-ignores-handles       TestFSMem/clone/a-hold-stays-while-a-handle-needs-it
forstfs/detach-files-only          TestFSMem/clone/detach-takes-its-snapshots-along
forstfs/move-before-body           TestDurabilityMem/clone/every-crash-point
forstfs/hold-of-files-only         TestFSMem/clone/a-snapshot-of-a-clone-keeps-the-hold
forstfs/source-gone-is-not-exist   TestFSMem/clone/a-source-that-is-gone-is-no-missing-file
forstfs/verify-is-blind            TestFSMem/fsck/verify-reads-every-byte
forstfs/drop-of-a-lender           TestFSMem/snapshot/what-a-clone-holds-stays
forstfs/drop-of-a-lender           TestSimulation
forstfs/restore-in-two-steps       TestDurabilityMem/snapshot/every-crash-point
forstfs/snapshot-commit-before-body TestDurabilityMem/snapshot/every-crash-point
forstfs/snapshot-deleted-early     TestDurabilityMem/snapshot/every-crash-point
forstfs/snapshot-holds-ignored     TestFSMem/snapshot/what-a-clone-holds-stays
forstfs/snapshot-inline-forgotten  TestFSMem/snapshot/keeps-what-was-issued
forstfs/snapshot-not-doomed        TestFSMem/snapshot/a-doom-is-seen-before-holds-are-listed
forstfs/snapshot-pending-opens     TestDurabilityMem/snapshot/every-crash-point
forstfs/snapshot-without-commit    TestDurabilityMem/snapshot/every-crash-point
forstfs/sweep-leaves-bodies        TestDurabilityMem/snapshot/writer-stalled-before-every-request
forstfs/sweep-takes-bodies         TestFSMem/snapshot/keeps-what-was-issued
forstfs/unused-pack-ignores-pins   TestDurabilityMem/snapshot/packed-for-it-alone
forstfs/pack-before-object         TestDurabilityMem/crash/every-point-with-checkpoints
forstfs/pack-unjournaled           TestSimulation
forstfs/pack-wrong-place           TestFSMem/volume/checkpoints-run-by-themselves-and-bound-the-journal
forstfs/reader-size-frozen         TestFSMem/readonly/open-handles-follow
forstfs/rename-without-bytes       TestFSMem/sync/no-byte-of-a-rename-is-missing
forstfs/reuse-in-two-steps         TestDurabilityMem/crash/every-point-with-an-operation-per-frame
forstfs/seal-before-durable        TestFSMem/write/content-and-size-are-exact
forstfs/short-read-without-error   TestFSMem/read/end-of-file
forstfs/stale-is-not-exist         TestFSMem/read/a-missing-object-is-no-missing-file
forstfs/stale-view-not-renewed     TestFSMem/read/overtaken-by-a-pack
forstfs/stat-size-acknowledged     TestFSMem/read/what-was-written-is-there-at-once
forstfs/sweep-before-fence         TestSimulation
forstfs/sweep-ignores-handles      TestFSMem/garbage/sweep-spares-what-a-handle-reads
forstfs/sweep-own-epoch            TestFSMem/garbage/sweep-takes-orphans-only
forstfs/sync-does-not-wait         TestFSMem/sync/bytes-are-durable
forstfs/sync-without-names         TestDurabilityMem/crash/every-point-of-one-writer
forstfs/takeover-without-sweep     TestSimulation
forstfs/trim-ignores-handles       TestFSMem/handle/outlives-the-name
forstfs/unsynced-bytes-hidden      TestFSMem/read/what-was-written-is-there-at-once
forstfs/unused-pack-leaks          TestFSMem/garbage/pack-that-came-too-late
forstfs/upload-error-swallowed     TestFSMem/close/a-failed-upload-is-an-error
forstfs/upload-not-retried         TestDurabilityMem/fault/every-request-error-before
forstfs/write-keeps-the-buffer     TestFSMem/write/the-callers-buffer-is-its-own

journal/ack-before-durable         TestFSMem/sync/returns-when-it-is-durable
journal/close-drops-queue          TestFSMem/close/of-the-volume-is-a-sync
journal/damaged-frame-void         TestFSMem/open/damaged-frame
journal/damaged-image-counts       TestFSMem/open/newest-image-damaged
journal/damaged-image-silent       TestFSMem/open/newest-image-damaged
journal/drop-without-image         TestFSMem/drop/is-for-ever
journal/drop-without-image         TestSimulation
journal/equal-fence-effective      TestDurabilityMem/crash/every-point-of-takeovers
journal/error-is-failure           TestDurabilityMem/fault/every-request-error-before
journal/exist-is-lost              TestSimulation
journal/far-frames-ignored         TestFSMem/open/missing-frames
journal/fence-trimmed              TestFSMem/garbage/fences-stay
journal/fenced-goes-on             TestFSMem/volume/later-open-fences-the-earlier
journal/foreign-is-own             TestFSMem/volume/later-open-fences-the-earlier
journal/gap-ends-reader            TestFSMem/readonly/open-handles-follow
journal/image-forgets-runs         TestFSMem/garbage/fences-stay
journal/image-unacked              TestDurabilityMem/crash/every-point-of-takeovers-after-close
journal/keep-one-image             TestFSMem/open/newest-image-damaged
journal/missing-image-damaged      TestDurabilityMem/zombie/opener-stalled-before-every-request
journal/no-last-look               TestSimulation
journal/root-error-is-no-volume    TestFSMem/open/damaged-root
journal/run-of-one                 TestFSMem/garbage/fences-stay
journal/sweep-deletes-fences       TestFSMem/garbage/fences-stay
journal/trim-by-any-image          TestDurabilityMem/zombie/writer-stalled-before-every-request
journal/trim-live-frames           TestFSMem/handle/outlives-the-name
journal/unknown-feature-ignored    TestFSMem/open/unknown-feature
journal/void-of-run-trimmed        TestFSMem/garbage/fences-stay
journal/volume-id-unchecked        TestFSMem/open/frame-of-another-volume
journal/waiter-cancels-put         TestFSMem/sync/who-gives-up-harms-nobody

namespace/create-keeps-bytes       TestFSMem/create/a-new-file-each-time
namespace/link-is-rename           TestFSMem/link/one-file-two-names
namespace/move-drops-body          TestFSMem/clone/detach-takes-its-snapshots-along
namespace/next-inode-not-replayed  TestFSMem/create/an-empty-file-exists-without-write-or-sync
namespace/pack-by-file             TestFSMem/write/content-and-size-are-exact
namespace/remove-frees-linked      TestFSMem/link/one-file-two-names
namespace/removeall-shallow        TestFSMem/removeall/the-whole-subtree
namespace/rename-keeps-links       TestFSMem/handle/outlives-the-name
`)

func rows(text string) (table []mutantRow) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 2 {
			r := mutantRow{id: f[0], catch: f[1]}
			if f[1] == "TestSimulation" {
				r.schedules = 1000 // the one that catches is among the first few hundred
			}
			table = append(table, r)
		}
	}
	return table
}
