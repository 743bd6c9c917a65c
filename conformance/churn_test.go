package conformance_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/forst-go/forst/conformance"
)

// TestChurn makes checkpoints, clones and drops with processes that die at random. FORST_NIGHTLY=1: a thousand of them, with files so large that what is not data is
// less than a hundredth of what is stored. FORST_CHURN_SEED chooses a seed.
func TestChurn(t *testing.T) {
	seeds, goal, size := []uint64{2, 3, 4}, 60, 6000
	if os.Getenv("FORST_NIGHTLY") != "" {
		seeds, goal, size = []uint64{1}, 1000, 1<<20
	}
	if s, err := strconv.ParseUint(os.Getenv("FORST_CHURN_SEED"), 10, 64); err == nil {
		seeds = []uint64{s}
	}
	for _, seed := range seeds {
		conformance.Churn(t, memMaker(), seed, goal, size)
	}
}

// TestChurnLocal, TestChurnS3 and TestChurnHDFS make fewer of them, on real stores.
func TestChurnLocal(t *testing.T) { churnElsewhere(t, localMaker(), 30, 300) }

func TestChurnS3(t *testing.T) {
	t.Parallel()
	churnElsewhere(t, s3Maker(t), 15, 150)
}

func TestChurnHDFS(t *testing.T) {
	t.Parallel()
	churnElsewhere(t, hdfsMaker(t), 6, 60)
}

func churnElsewhere(t *testing.T, m conformance.Maker, goal, nightly int) {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("FORST_CHURN_SEED"), 10, 64); err == nil {
		seed = s
	}
	if os.Getenv("FORST_NIGHTLY") != "" {
		goal = nightly
	}
	conformance.Churn(t, m, seed, goal, 6000) // says the seed
}
