package state

import "github.com/forst-go/forst/internal/mutant"

// The bugs that a test build can plant here; see package mutant. TestMutants says what finds each.
const (
	mutExpired      mutant.ID = "state/expired-returned"                  // records live for ever
	mutTimerOrder   mutant.ID = "state/timers-out-of-order"               // the group with the latest timer is first
	mutBorder       mutant.ID = "state/border-group-cut-off"              // a rescale cuts the last key group of a range off
	mutMergeLoses   mutant.ID = "state/merge-loses-a-namespace"           // the last source of a merge is not in the sum
	mutNoDrain      mutant.ID = "state/snapshot-without-pending"          // a snapshot does not wait for what was issued before it
	mutNewerWrites  mutant.ID = "state/newer-writes-not-held"             // what was issued after a snapshot is written before its end
	mutNoRange      mutant.ID = "state/half-a-checkpoint"                 // a checkpoint without all instances counts as complete
	mutDoneEarly    mutant.ID = "state/done-before-the-write"             // futures end, and the next request runs, before the batch is written
	mutKeyOrder     mutant.ID = "state/no-order-of-a-key"                 // requests on one key run side by side
	mutHereOrder    mutant.ID = "state/caller-overtakes"                  // a blocking call does not look who is before it
	mutMeta         mutant.ID = "state/metadata-forgotten"                // the record is committed without the user's metadata
	mutIterLeak     mutant.ID = "state/iterator-left-open"                // pages do not close their iterators
	mutSweepBlind   mutant.ID = "state/sweep-does-not-ask-again"          // what was written since the look goes, too
	mutWindow       mutant.ID = "state/window-ignored"                    // writers fill memtables between seal and capture
	mutCompactions  mutant.ID = "state/compactions-go-on"                 // compactions begin while a snapshot is captured
	mutCloseEarly   mutant.ID = "state/close-leaves-snapshots"            // Close does not wait for snapshots
	mutRetainAll    mutant.ID = "state/retention-counts-halves"           // retention counts checkpoints that are not complete
	mutMirror       mutant.ID = "state/consolidation-loses-updates"       // what is written while records are copied is not in the new database
	mutMirrorClear  mutant.ID = "state/consolidation-loses-a-clear"       // range deletions are not
	mutCopyUnlocked mutant.ID = "state/consolidation-copies-old-values"   // a record is written between the reading and the writing of its copy
	mutDropNamed    mutant.ID = "state/consolidation-drops-what-is-named" // old volumes go while checkpoints name them
)
