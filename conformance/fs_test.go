package conformance_test

import (
	"testing"

	"github.com/forst-go/forst/conformance"
)

func TestFSMem(t *testing.T)   { conformance.RunFS(t, memMaker()) }
func TestFSLocal(t *testing.T) { conformance.RunFS(t, localMaker()) }
