package conformance_test

import (
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
