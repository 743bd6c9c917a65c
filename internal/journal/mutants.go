package journal

import "github.com/forst-go/forst/internal/mutant"

// The known ways to get this protocol wrong, planted under the build tag forstmutants. Most are the "as written" and
// "mutant" variants of docs/model; mutants_test.go shows that each one is caught.
const (
	mutFenceTrimmed   mutant.ID = "journal/fence-trimmed"            // trimming does not spare fence runs
	mutVoidTrimmed    mutant.ID = "journal/void-of-run-trimmed"      // trimming spares the first fence of a run only
	mutRunsForgotten  mutant.ID = "journal/image-forgets-runs"       // images do not record fence runs
	mutImageUnacked   mutant.ID = "journal/image-unacked"            // an image claims the frame in flight
	mutRunOfOne       mutant.ID = "journal/run-of-one"               // a new writer settles one number only
	mutNoLastLook     mutant.ID = "journal/no-last-look"             // an opener does not look for a newer image
	mutLookAtFence    mutant.ID = "journal/last-look-above-fence"    // ... only for one above its fence
	mutLookAny        mutant.ID = "journal/last-look-any"            // ... counts images it found damaged
	mutLookSeen       mutant.ID = "journal/last-look-above-seen"     // ... only for one above the newest it saw
	mutSameNonce      mutant.ID = "journal/restart-same-nonce"       // an opener starts again under its old nonce
	mutBusyIgnored    mutant.ID = "journal/foreign-fence-ignored"    // an opener that met another one fences it in turn
	mutRebuild        mutant.ID = "journal/frame-rebuilt"            // a retry carries more, own nonce counts as success
	mutExistLost      mutant.ID = "journal/exist-is-lost"            // KindExist is taken as another's, unread
	mutErrorLost      mutant.ID = "journal/error-is-failure"         // a lost reply fails the journal, unread
	mutForeignIsOwn   mutant.ID = "journal/foreign-is-own"           // KindExist is taken as success, unread
	mutFenceForgotten mutant.ID = "journal/fenced-goes-on"           // a fenced writer tries the next number
	mutAckEarly       mutant.ID = "journal/ack-before-durable"       // waiters are released when the frame is sent
	mutFailedNil      mutant.ID = "journal/nil-after-failure"        // Wait of an acknowledged position after a failure
	mutWaiterCancels  mutant.ID = "journal/waiter-cancels-put"       // a waiter's context ends the frame's PUT
	mutNoVolumeID     mutant.ID = "journal/volume-id-unchecked"      // replay takes frames of other volumes
	mutNoChain        mutant.ID = "journal/predecessor-unchecked"    // replay takes a frame with another predecessor
	mutNoOwner        mutant.ID = "journal/nonce-unchecked"          // replay takes another writer's frame of the epoch
	mutFenceEqual     mutant.ID = "journal/equal-fence-effective"    // replay takes a fence of the epoch in force
	mutCRCVoid        mutant.ID = "journal/damaged-frame-void"       // a frame with a bad checksum is skipped
	mutCRCEnd         mutant.ID = "journal/damaged-frame-ends"       // a frame with a bad checksum ends the journal
	mutGapEnds        mutant.ID = "journal/gap-ends-reader"          // a reader believes a gap
	mutFarFrames      mutant.ID = "journal/far-frames-ignored"       // frames far behind a gap are not taken as damage
	mutNearFrames     mutant.ID = "journal/near-frames-ignored"      // data frames just behind a gap are not taken as damage
	mutKeepOne        mutant.ID = "journal/keep-one-image"           // trimming below the newest image
	mutTrimAnyImage   mutant.ID = "journal/trim-by-any-image"        // trimming by images above the own last frame
	mutTrimOwnImages  mutant.ID = "journal/trim-by-unlisted-images"  // trimming by the own last images, landed or not
	mutTrimLive       mutant.ID = "journal/trim-live-frames"         // trimming ignores FirstLive
	mutDamagedCounts  mutant.ID = "journal/damaged-image-counts"     // a damaged image stays and counts
	mutMissingImage   mutant.ID = "journal/missing-image-damaged"    // an image that is gone counts as damaged
	mutSweepFences    mutant.ID = "journal/sweep-deletes-fences"     // the sweep does not spare fence runs
	mutDropUnmarked   mutant.ID = "journal/drop-without-image"       // a drop deletes before its last image
	mutBehindDrop     mutant.ID = "journal/effective-behind-drop"    // replay goes on behind a dropped fence
	mutFeature        mutant.ID = "journal/unknown-feature-ignored"  // an unknown required feature does not stop Open
	mutRootGone       mutant.ID = "journal/root-error-is-no-volume"  // any error of the root means that there is none
	mutStaleNotExist  mutant.ID = "journal/missing-frame-not-exist"  // a trimmed frame looks like a missing file
	mutIdentity       mutant.ID = "journal/frame-identity-unchecked" // ReadFrame serves whatever has the number
	mutLateApply      mutant.ID = "journal/waiters-before-apply"     // waiters are released before Machine.Apply
	mutCloseDrops     mutant.ID = "journal/close-drops-queue"        // Close forgets what is queued
	mutImageKeyFrozen mutant.ID = "journal/image-name-reused"        // images of one number share a name
	mutThirdImage     mutant.ID = "journal/third-image"              // an opener falls back further than to the second image
	mutGapDamaged     mutant.ID = "journal/gap-is-damage-at-once"    // a gap is taken as damage without a look at the images
	mutSilent         mutant.ID = "journal/damaged-image-silent"     // falling back to the older image tells nobody
	mutGivesUp        mutant.ID = "journal/gives-up-at-once"         // an error that looks permanent fails the journal at once
	mutOtherImage     mutant.ID = "journal/other-volumes-image"      // an image of another volume counts as damage
	mutGapWide        mutant.ID = "journal/gap-one-too-wide"         // a fence run right behind a lost frame hides the loss
	mutGoneIsOwn      mutant.ID = "journal/gone-is-own"              // KindExist and nothing there is taken as success
	mutEarlyCut       mutant.ID = "journal/early-list-cut"           // a listing that was cut off counts as the whole journal
	mutFollowEarly    mutant.ID = "journal/follower-applies-first"   // a follower applies frames before it looks at the images
)
