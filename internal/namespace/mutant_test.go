//go:build forstmutants

package namespace

import (
	"math/rand/v2"
	"testing"

	"github.com/forst-go/forst/internal/mutant"
)

// TestMutants plants each bug and wants the random runs against the model to find it.
func TestMutants(t *testing.T) {
	for _, id := range []mutant.ID{mutPackByFile, mutPackByOffset, mutPackInPlace, mutRenameKeepsLinks, mutLinkIsRename,
		mutRemoveFrees, mutRemoveAllShallow, mutCreateKeepsBytes, mutReleasedStays, mutFirstFrame, mutNextForgotten,
		mutBeginPinsNothing, mutPinsIgnored, mutPinsUnseen, mutFirstFramePins, mutCommitKeepsFrames, mutFenceKeeps, mutMoveDropsBody} {
		t.Run(string(id), func(t *testing.T) {
			defer mutant.Activate(id)()
			for seed := range uint64(100) {
				if err := newRun(seeded{rand.New(rand.NewPCG(seed, 3))}).all(200); err != nil {
					t.Logf("seed %d: %.200s", seed, err.Error())
					return
				}
			}
			t.Error("nobody has noticed")
		})
	}
}
