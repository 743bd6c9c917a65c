package namespace

import "github.com/forst-go/forst/internal/mutant"

// The bugs that a test build can plant here; see package mutant. The first two are mutants of the checked model as well.
const (
	mutPackByFile        mutant.ID = "namespace/pack-by-file"            // the file gets exactly the extents that the pack collected
	mutPackByOffset      mutant.ID = "namespace/pack-by-offset"          // whatever lies at a collected offset is replaced
	mutPackInPlace       mutant.ID = "namespace/pack-in-place"           // a slice of extents that was handed out changes
	mutRenameKeepsLinks  mutant.ID = "namespace/rename-keeps-links"      // a file replaced by a rename keeps its link and its containers
	mutLinkIsRename      mutant.ID = "namespace/link-is-rename"          // the old name goes
	mutRemoveFrees       mutant.ID = "namespace/remove-frees-linked"     // the containers go although another name exists
	mutRemoveAllShallow  mutant.ID = "namespace/removeall-shallow"       // files in directories below are forgotten, not released
	mutCreateKeepsBytes  mutant.ID = "namespace/create-keeps-bytes"      // a new file over an old one begins with its bytes
	mutReleasedStays     mutant.ID = "namespace/released-still-in-use"   // a container is reported although it is referred to again
	mutFirstFrame        mutant.ID = "namespace/first-frame-of-any"      // frames of other volumes count when the journal is trimmed
	mutBeginPinsNothing  mutant.ID = "namespace/snapshot-pins-nothing"   // a begun snapshot keeps nothing from deletion: the body first, without pins
	mutPinsIgnored       mutant.ID = "namespace/release-ignores-pins"    // what a snapshot needs is reported as released
	mutPinsUnseen        mutant.ID = "namespace/needs-ignores-pins"      // what only a snapshot needs counts as an orphan
	mutFirstFramePins    mutant.ID = "namespace/first-frame-unpinned"    // the journal is trimmed although a begun snapshot needs its frames
	mutCommitKeepsFrames mutant.ID = "namespace/commit-keeps-frames"     // a committed snapshot keeps the journal from being trimmed
	mutFenceKeeps        mutant.ID = "namespace/fence-keeps-pending"     // a snapshot that nobody will commit stays for ever
	mutMoveDropsBody     mutant.ID = "namespace/move-drops-body"         // the body that a moved snapshot had goes, although its bytes are referred to
	mutNextForgotten     mutant.ID = "namespace/next-inode-not-replayed" // a replayed create does not reserve its inode
)
