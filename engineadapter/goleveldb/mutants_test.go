//go:build forstmutants

package goleveldb_test

import (
	"testing"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
)

func TestMutants(t *testing.T) {
	enginetest.Mutants(t, `
goleveldb/current-in-place      TestMetaIsOneStep
goleveldb/current-unsynced      TestMetaIsDurable
goleveldb/directory-not-locked  TestLocks
goleveldb/list-one-type         TestForeignNames
goleveldb/lock-is-shared        TestLocks
goleveldb/sync-dropped          TestSyncIsDurable
goleveldb/unborn-stays          TestUnfinishedCreationIsRepeated
`)
}
