//go:build forstmutants

package pebblev2_test

import (
	"testing"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
)

func TestMutants(t *testing.T) {
	enginetest.Mutants(t, `
enginefs/border-by-prefix           TestMount/Border
enginefs/copy-unsynced              TestMount/Copies
enginefs/dir-sync-dropped           TestContract/DurableWhenItSaysSo
enginefs/end-not-told               TestGuarded/commit
enginefs/eof-with-full-read         TestContract/ReadAtEOF
enginefs/link-across-moves          TestMount/Copies
enginefs/link-across-replaces       TestMount/Copies
enginefs/logs-are-bulk              TestContract/DurableWhenItSaysSo
enginefs/mount-hides-a-database     TestMount/Shadow
enginefs/no-guard                   TestDatabaseWithoutMarkerIsRefused
enginefs/no-volume-is-no-file       TestMount/Func
enginefs/preallocate-writes         TestContract/Unsupported
enginefs/reuse-keeps-bytes          TestContract/ReuseForWrite
enginefs/sync-data-dropped          TestContract/DurableWhenItSaysSo
enginefs/sync-to-claims-all         TestContract/Unsupported
enginefs/unlock-unsynced            TestMount/Func
enginefs/wal-dir-on-the-disk        TestMount/Border
`)
}
