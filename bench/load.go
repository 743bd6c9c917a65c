// Package bench measures forst beside what its users have today: the same work on the plain local disk, the same store without forst.
// Every figure that counts is a ratio of two measurements taken in turns within one run; README.md has the results and the commands.
package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Load writes n records of 16-byte keys and values of size-16 bytes in random order, in batches that are not synced, and flushes. It returns
// when everything is in tables.
func Load(db *pebble.DB, n, size int, seed uint64) error {
	const batch = 1000
	value := make([]byte, size-16)
	rng := rand.New(rand.NewPCG(seed, 2))
	for i := 0; i < n; {
		b := db.NewBatchWithSize(batch * (size + 8))
		for k := 0; k < batch && i < n; k, i = k+1, i+1 {
			key := Key(rng.Uint64())
			for j := 0; j+8 <= len(value); j += 8 {
				binary.LittleEndian.PutUint64(value[j:], rng.Uint64())
			}
			if err := b.Set(key[:], value, nil); err != nil {
				return err
			}
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return err
		}
	}
	return db.Flush()
}

// Key spreads numbers over the key space.
func Key(n uint64) (k [16]byte) {
	binary.BigEndian.PutUint64(k[:], n*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(k[8:], n)
	return k
}

// Latencies collects durations from many goroutines.
type Latencies struct {
	mu sync.Mutex
	d  []time.Duration
}

// Add takes one.
func (l *Latencies) Add(d time.Duration) {
	l.mu.Lock()
	l.d = append(l.d, d)
	l.mu.Unlock()
}

// Quantile gives the q-quantile; 0 if there is nothing.
func (l *Latencies) Quantile(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.d) == 0 {
		return 0
	}
	s := slices.Clone(l.d)
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// Len is the number of durations.
func (l *Latencies) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.d)
}

// String gives the usual quantiles.
func (l *Latencies) String() string {
	return fmt.Sprintf("n=%d p50=%v p99=%v max=%v", l.Len(), l.Quantile(.5), l.Quantile(.99), l.Quantile(1))
}

// Commit sets one fresh key with Sync and measures it.
func Commit(db *pebble.DB, n uint64, size int, l *Latencies) error {
	key := Key(n)
	value := make([]byte, size)
	start := time.Now()
	if err := db.Set(key[:], value, pebble.Sync); err != nil {
		return err
	}
	l.Add(time.Since(start))
	return nil
}
