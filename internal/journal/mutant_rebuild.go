//go:build forstmutants

package journal

import (
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// putRebuilt is the first draft of the retry, which mutRebuild brings back: another attempt carries what has been queued
// meanwhile, and a frame with the own nonce counts as success, whatever it holds.
func (j *Journal) putRebuilt(b *batch) func(f *Frame, data []byte) ([]byte, error) {
	return func(f *Frame, data []byte) ([]byte, error) {
		key := FrameKey(f.Seq)
		for {
			err := j.store.Put(j.ctx, key, data, driver.PutOptions{IfAbsent: true})
			if err == nil || j.ctx.Err() != nil {
				return nil, err
			}
			if there, err := driver.ReadAll(j.ctx, j.store, key); err == nil {
				if t, err := DecodeFrame(there); err == nil && t.Nonce == j.nonce {
					return nil, nil
				}
				return there, nil
			}
			j.mu.Lock()
			for _, e := range j.queue {
				f.Ops, f.Inline = append(f.Ops, e.ops...), append(f.Inline, e.inline...)
				j.sent++
			}
			b.last, j.queue, j.queued = j.sent, nil, 0
			j.mu.Unlock()
			data = f.Encode()
			time.Sleep(time.Millisecond)
		}
	}
}
