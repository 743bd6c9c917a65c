package conformance_test

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs"
)

func TestFSPlaced(t *testing.T) {
	for _, p := range []struct {
		name string
		conformance.Placed
	}{
		{"LocalWAL", conformance.Placed{Placement: forstfs.PlaceLocalWAL}},
		{"LocalWAL that follows", conformance.Placed{Placement: forstfs.PlaceLocalWAL, MaxLag: time.Second}},
		{"ForSt", conformance.Placed{Placement: forstfs.PlaceForSt}},
		{"all classes but tables", conformance.Placed{Placement: forstfs.PlaceForSt | forstfs.PlaceLocally(forstfs.ClassOther)}},
	} {
		t.Run(p.name, func(t *testing.T) { conformance.RunPlaced(t, memMaker(), p.Placed) })
	}
}

// placements are the presets, and a table that puts most things on the disk.
var placements = []struct {
	name string
	conformance.Placed
}{
	{"LocalWAL", conformance.Placed{Placement: forstfs.PlaceLocalWAL}},
	{"LocalWAL that follows", conformance.Placed{Placement: forstfs.PlaceLocalWAL, MaxLag: 100 * time.Millisecond}},
	{"ForSt", conformance.Placed{Placement: forstfs.PlaceForSt}},
	{"all classes but tables", conformance.Placed{Placement: forstfs.PlaceForSt | forstfs.PlaceLocally(forstfs.ClassOther)}},
}

func TestPlacementMem(t *testing.T) {
	for _, p := range placements {
		t.Run(p.name, func(t *testing.T) { conformance.RunPlacement(t, memMaker(), p.Placed) })
	}
}

// TestPlacementLocal and TestPlacementS3 run all of it at night; by day a sample of the moments, with two placements and one.
func TestPlacementLocal(t *testing.T) { placementElsewhere(t, localMaker(), 1, 2) }

func TestPlacementS3(t *testing.T) {
	t.Parallel()
	placementElsewhere(t, s3Maker(t), 1)
}

func placementElsewhere(t *testing.T, m conformance.Maker, byDay ...int) {
	for i, p := range placements {
		if slices.Contains(byDay, i) || os.Getenv("FORST_NIGHTLY") != "" {
			t.Run(p.name, func(t *testing.T) { conformance.RunPlacement(t, m, p.Placed) })
		}
	}
}
