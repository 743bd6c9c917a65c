//go:build forstmutants

package pebbleremote_test

import (
	"testing"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
)

func TestMutants(t *testing.T) {
	enginetest.Mutants(t, `
pebbleremote/every-error-is-not-exist  TestContract/mem
pebbleremote/failed-put-stays          TestGivenUp
pebbleremote/given-up-is-stored        TestGivenUp
pebbleremote/list-short-names          TestContract/mem
pebbleremote/replaced-not-stale        TestReplaced
`)
}
