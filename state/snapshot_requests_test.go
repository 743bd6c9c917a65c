package state

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
)

// traced records the PUTs of a store.
type traced struct {
	driver.Store
	mu   sync.Mutex
	puts []putSpan
}

type putSpan struct {
	what       string
	begin, end time.Time
}

func (s *traced) Put(ctx context.Context, key string, p []byte, o driver.PutOptions) error {
	begin := time.Now()
	err := s.Store.Put(ctx, key, p, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts = append(s.puts, putSpan{kindOf(key), begin, time.Now()})
	return err
}

// kindOf is the part of a key that says what an object is.
func kindOf(key string) string {
	parts := strings.Split(key, "/")
	if parts[0] == "shard" {
		return parts[2]
	}
	return parts[0]
}

func (s *traced) take() []putSpan {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.puts
	s.puts = nil
	return out
}

// chain lists the PUTs before the record that waited for one another, from the last to the first: each had ended before the next began.
func chain(puts []putSpan) (kinds []string) {
	at := slices.IndexFunc(puts, func(p putSpan) bool { return p.what == "checkpoint" })
	for at >= 0 {
		kinds = append(kinds, puts[at].what)
		before := -1 // the one that ended last
		for i, p := range puts {
			if !p.end.After(puts[at].begin) && (before < 0 || p.end.After(puts[before].end)) {
				before = i
			}
		}
		at = before
	}
	slices.Reverse(kinds)
	return kinds
}

// A snapshot's requests, in the order in which they wait for one another. The flush: the table, its place in the journal, the change of the
// MANIFEST. Then four round trips to the commit: the volume's snapshot begins, its body, it is committed, the record. Nothing else comes between them: no
// compaction begins until the snapshot is captured, though many are due here.
func TestSnapshotRequests(t *testing.T) {
	root := &traced{Store: fault.New(mem.New(nil), &fault.Options{Latency: fault.FixedLatency(20*time.Millisecond, time.Millisecond, 1e9)})}
	o := small()
	o.Engine = func(o *pebble.Options) { o.L0CompactionThreshold = 1 }
	o.Volume.FlushDelay = -1 // removals of tables travel with the next frame, not with one of their own
	b := create(t, root, o)
	v := must(NewValue(b, ValueDescriptor[[]byte]{Name: "v", Codec: Bytes}))(t)
	for id := range uint64(6) {
		for i := range int64(200) {
			ok(t, v.Put(ctx, IntKey(i), make([]byte, 1000)))
		}
		until(t, "compactions have ended", func() bool {
			m := b.shards[0].db.Metrics()
			return m.Compact.NumInProgress == 0 && m.Levels[0].TablesCount == 0 && m.Table.ZombieCount+m.Table.ObsoleteCount == 0
		})
		root.take()
		s := must(b.Snapshot(ctx, id, nil))(t)
		must(s.Wait(ctx))(t)
		equal(t, fmt.Sprintf("requests of snapshot %d", id), strings.Join(chain(root.take()), " "), "data journal journal journal snapshot journal checkpoint")
	}
	if n := b.shards[0].db.Metrics().Compact.Count; n < 3 {
		t.Fatalf("%d compactions: they did not go on", n)
	}
}
