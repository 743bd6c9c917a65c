package conformance_test

import (
	"testing"

	"github.com/forst-go/forst/conformance"
)

func TestFSMem(t *testing.T) { conformance.RunFS(t, memMaker()) }

// What waits for disks or servers waits at the same time.
func TestFSLocal(t *testing.T) {
	t.Parallel()
	conformance.RunFS(t, localMaker())
}
