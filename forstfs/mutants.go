package forstfs

import (
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// The bugs that a test build can plant here; see package mutant. conformance.TestMutants says what finds each.
const (
	mutSealEarly       mutant.ID = "forstfs/seal-before-durable"         // a frame names objects that are still on their way
	mutUploadSwallow   mutant.ID = "forstfs/upload-error-swallowed"      // a failed upload counts as done
	mutUploadOnce      mutant.ID = "forstfs/upload-not-retried"          // one lost reply fails a file
	mutDeleteIssued    mutant.ID = "forstfs/delete-when-issued"          // objects go before the removal is acknowledged
	mutSweepOwn        mutant.ID = "forstfs/sweep-own-epoch"             // a sweep takes what this writer is uploading
	mutSweepPins       mutant.ID = "forstfs/sweep-ignores-handles"       // a sweep takes what an open handle reads
	mutPinsIgnored     mutant.ID = "forstfs/delete-ignores-handles"      // what an open handle reads is deleted
	mutPinsForgotten   mutant.ID = "forstfs/deferred-delete-forgotten"   // what a handle kept from deletion stays for ever
	mutDiscardLeaks    mutant.ID = "forstfs/orphan-objects-leak"         // objects of a removed file that no frame named stay
	mutPackLeaks       mutant.ID = "forstfs/unused-pack-leaks"           // the object of a pack that came too late stays
	mutSettle          mutant.ID = "forstfs/rename-without-bytes"        // a name changes before the file's bytes are in the order
	mutCloseBytes      mutant.ID = "forstfs/close-without-bytes"         // the bytes of a closed file are not in the order
	mutSyncBytesOnly   mutant.ID = "forstfs/sync-without-names"          // Sync without new bytes returns at once
	mutSyncNothing     mutant.ID = "forstfs/sync-does-not-wait"          // Sync only queues
	mutDirSyncNothing  mutant.ID = "forstfs/dir-sync-no-op"              // Sync of a directory returns at once
	mutFencedNil       mutant.ID = "forstfs/fenced-sync-nil"             // a fenced writer's Sync returns nil
	mutCloseNil        mutant.ID = "forstfs/close-error-swallowed"       // Close of a volume that failed returns nil
	mutPackEarly       mutant.ID = "forstfs/pack-before-object"          // the pack is in the journal before its object is durable
	mutPackUnseen      mutant.ID = "forstfs/pack-unjournaled"            // a pack is in the image only, not in the journal
	mutSweepEarly      mutant.ID = "forstfs/sweep-before-fence"          // an opener sweeps before it owns the volume
	mutSweepNever      mutant.ID = "forstfs/takeover-without-sweep"      // what an earlier writer left behind stays
	mutPackPlace       mutant.ID = "forstfs/pack-wrong-place"            // packed bytes are looked for where they are not
	mutImageLive       mutant.ID = "forstfs/image-of-issued"             // an image holds what is issued, not what is acknowledged
	mutFirstLivePins   mutant.ID = "forstfs/trim-ignores-handles"        // frames that an open handle reads are trimmed
	mutStaleNotExist   mutant.ID = "forstfs/stale-is-not-exist"          // a missing object looks like a missing file
	mutStaleForGood    mutant.ID = "forstfs/stale-view-not-renewed"      // a read that a pack overtook fails
	mutCacheKey        mutant.ID = "forstfs/cache-key-too-short"         // objects of different epochs share cache blocks
	mutNameReused      mutant.ID = "forstfs/object-name-reused"          // two objects get one name
	mutWriteAliases    mutant.ID = "forstfs/write-keeps-the-buffer"      // Write does not copy
	mutEOFFull         mutant.ID = "forstfs/eof-with-full-read"          // a full read at the end says io.EOF
	mutShortNil        mutant.ID = "forstfs/short-read-without-error"    // a read past the end says nil
	mutUnsyncedHidden  mutant.ID = "forstfs/unsynced-bytes-hidden"       // readers see what is acknowledged only
	mutStatAcked       mutant.ID = "forstfs/stat-size-acknowledged"      // Stat does not count what is not acknowledged
	mutOrphanForgets   mutant.ID = "forstfs/handle-loses-bytes"          // an open file that loses its name loses its acknowledged bytes
	mutReuseTwoSteps   mutant.ID = "forstfs/reuse-in-two-steps"          // a crash finds neither the old nor the new name
	mutSegmentOrder    mutant.ID = "forstfs/inline-before-objects"       // the tail of a log precedes the objects before it
	mutBudgetSleeps    mutant.ID = "forstfs/memory-waits-for-ever"       // a writer that waits for memory does not shed again
	mutBornForeign     mutant.ID = "forstfs/newborn-is-foreign"          // a volume that is being created looks foreign
	mutLockShared      mutant.ID = "forstfs/lock-given-twice"            // a lock excludes nobody
	mutCacheOwner      mutant.ID = "forstfs/cache-key-of-borrower"       // a clone's blocks are cached under its own id, not the owner's
	mutGoneNotExist    mutant.ID = "forstfs/source-gone-is-not-exist"    // a lender that is gone looks like a missing file
	mutSnapInline      mutant.ID = "forstfs/snapshot-inline-forgotten"   // bytes in frames are not in the body
	mutSnapPending     mutant.ID = "forstfs/snapshot-pending-opens"      // what is not committed is listed and opened
	mutNoLook          mutant.ID = "forstfs/cloner-does-not-look"        // a cloner puts its hold and goes on
	mutLookFirst       mutant.ID = "forstfs/cloner-looks-first"          // ... looks before its hold is durable
	mutDetachFilesOnly mutant.ID = "forstfs/detach-files-only"           // a detach leaves what snapshots borrow
	mutMoveBeforeBody  mutant.ID = "forstfs/move-before-body"            // a moved snapshot is named before its body is durable
	mutLookName        mutant.ID = "forstfs/cloner-ignores-doom"         // ... looks whether the snapshot is there, doomed or not
	mutHoldOfFiles     mutant.ID = "forstfs/hold-of-files-only"          // a hold is given back although a snapshot of the clone needs it
	mutHoldOfHandles   mutant.ID = "forstfs/hold-ignores-handles"        // a hold is given back although an open handle needs it
	mutHoldIssued      mutant.ID = "forstfs/hold-given-when-issued"      // a hold is given back before the frame that makes it needless is acknowledged
	mutHoldFirst       mutant.ID = "forstfs/abandoned-without-tomb"      // the hold of a cloner goes without a tombstone
	mutDropHeld        mutant.ID = "forstfs/drop-of-a-lender"            // a volume that clones need is dropped
	mutReaderSize      mutant.ID = "forstfs/reader-size-frozen"          // an open handle of a follower keeps its size
	mutSnapCommitEarly mutant.ID = "forstfs/snapshot-commit-before-body" // a crash leaves half a snapshot
	mutSnapNoCommit    mutant.ID = "forstfs/snapshot-without-commit"     // nil before the commit: the next owner drops the snapshot
	mutSnapNoDoom      mutant.ID = "forstfs/snapshot-not-doomed"         // a removal looks for holds before anybody can see it
	mutSnapHolds       mutant.ID = "forstfs/snapshot-holds-ignored"      // a removal takes what a clone needs
	mutSnapEarlyDelete mutant.ID = "forstfs/snapshot-deleted-early"      // objects go before the removal is acknowledged
	mutSnapSweep       mutant.ID = "forstfs/sweep-takes-bodies"          // the body of a committed snapshot counts as an orphan
	mutSnapSweepLeaks  mutant.ID = "forstfs/sweep-leaves-bodies"         // the body of a snapshot that was not committed stays for ever
	mutRestoreTwoSteps mutant.ID = "forstfs/restore-in-two-steps"        // a crash finds the old files gone and the restored ones not there
	mutPackPins        mutant.ID = "forstfs/unused-pack-ignores-pins"    // the object of a pack that only a snapshot needs is deleted
	mutFsckMissing     mutant.ID = "forstfs/fsck-misses-missing"         // fsck does not report an object that is missing
	mutFsckPending     mutant.ID = "forstfs/fsck-pending-is-orphan"      // fsck calls what a writer is about to name an orphan
	mutFsckFrames      mutant.ID = "forstfs/fsck-ignores-frames"         // ... nor a frame that files have bytes in, below the image
	mutFsckImages      mutant.ID = "forstfs/fsck-ignores-images"         // ... nor an image that should be gone
	mutFsckFirst       mutant.ID = "forstfs/fsck-sizes-once"             // ... nor the wrong size of an object that came while it was looking
	mutFsckHeld        mutant.ID = "forstfs/fsck-held-is-gone"           // ... nor that a clone holds what is gone
	mutFsckKept        mutant.ID = "forstfs/fsck-hold-is-enough"         // ... nor that a hold is for a snapshot that keeps something else
	mutUploadEndless   mutant.ID = "forstfs/upload-without-end"          // an upload that the store never takes is tried for ever
	mutStaleLater      mutant.ID = "forstfs/staleness-counts-later"      // a follower's state counts as young as the end of its refresh
	mutRestoreBeside   mutant.ID = "forstfs/restore-beside-removal"      // a snapshot goes while it is restored
	mutPartsMixed      mutant.ID = "forstfs/parts-out-of-order"          // the parts of a long tail change places
	mutOrphanPins      mutant.ID = "forstfs/late-bytes-unpinned"         // bytes acknowledged after their file has lost its name are not the handle's
	mutPinShared       mutant.ID = "forstfs/first-close-unpins"          // an object that two open files have goes with the first of them
	mutDeleteOnce      mutant.ID = "forstfs/refused-delete-forgotten"    // what the store did not delete at once stays
	mutSnapStays       mutant.ID = "forstfs/given-up-snapshot-stays"     // a snapshot whose caller goes away keeps its name and its frames
	mutSnapUndoEarly   mutant.ID = "forstfs/undone-before-its-body"      // ... is undone before its body has landed
	mutCopiesUnpinned  mutant.ID = "forstfs/detach-copies-unpinned"      // a copy goes with its file before a snapshot refers to it
	mutCopyLetGo       mutant.ID = "forstfs/detach-copy-let-go"          // a copy that was let go with its file goes although a snapshot was moved there
	mutUndoForgets     mutant.ID = "forstfs/failed-clone-leaves-all"     // what was made for a clone that is not born stays
	mutTwoLenders      mutant.ID = "forstfs/holds-in-two-lenders"        // a clone of a clone of a clone holds nothing in the last
	mutAnyRoot         mutant.ID = "forstfs/any-root-is-the-clones"      // the hold of a clone whose place somebody else has counts as alive
	mutFsckHolds       mutant.ID = "forstfs/fsck-ignores-holds"          // fsck does not see that a clone has no hold
	mutLocalNoFsync    mutant.ID = "forstfs/local-sync-no-fsync"         // Sync of a local file leaves its bytes to the system
	mutLocalNoName     mutant.ID = "forstfs/local-name-not-synced"       // ... and that the file is there
	mutRedoNoFsync     mutant.ID = "forstfs/redo-sync-no-fsync"          // Sync of a log that follows leaves its bytes to the system
	mutMaxLag          mutant.ID = "forstfs/max-lag-ignored"             // Sync waits for nothing that is behind
	mutLostOpens       mutant.ID = "forstfs/lost-disk-opens"             // a volume is opened without its local directory
	mutLocalUnlisted   mutant.ID = "forstfs/local-files-unlisted"        // a listing has only what is in the volume
	mutLinkAliases     mutant.ID = "forstfs/link-across-aliases"         // a link across the border is one file with two names
	mutMoveUnsynced    mutant.ID = "forstfs/move-without-sync"           // a file takes its name on the other side before its copy is durable
	mutReapEarly       mutant.ID = "forstfs/local-reaped-early"          // a local file goes before its removal is acknowledged
	mutFenceUnseen     mutant.ID = "forstfs/local-fence-unseen"          // a writer with a local log never looks whether it is fenced
	mutVerifyBlind     mutant.ID = "forstfs/verify-is-blind"             // verify reads and does not compare
)

// unlisted is mutLocalUnlisted.
func (v *FS) unlisted(names []namespace.Name) (left []namespace.Name) {
	for _, n := range names {
		if f, ok := v.live.File(n.Inode); !ok || f.Kind != namespace.Local {
			left = append(left, n)
		}
	}
	return left
}
