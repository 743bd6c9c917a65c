//go:build forstmutants

package forstfs

import (
	"context"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/namespace"
)

// sweepEarly is mutSweepEarly: an opener that does not own the volume yet deletes what it does not see in any file.
func (v *FS) sweepEarly(ctx context.Context) {
	r, err := OpenReadOnly(ctx, borrowed{v.store}, &Options{CacheBytes: -1})
	if err != nil {
		return
	}
	used := map[objectName]bool{}
	r.machine.mu.Lock()
	for c := range r.machine.acked.Needed() {
		used[nameOf(c)] = true
	}
	r.machine.mu.Unlock()
	var keys []string
	for info, err := range v.store.List(ctx, journal.DataPrefix, "") {
		if err != nil {
			break
		}
		epoch, nonce, num, ok := journal.ParseDataKey(info.Key)
		if ok && !used[objectName{kind: namespace.Object, epoch: epoch, nonce: nonce, num: num}] {
			keys = append(keys, info.Key)
		}
	}
	if len(keys) > 0 {
		_ = v.store.Delete(ctx, keys)
	}
	_ = r.Close()
}

type borrowed struct{ driver.Store }

func (borrowed) Close() error { return nil }

// packUnseen is mutPackUnseen: the pack happens in memory only, so that nothing but the next image names its object.
func (v *FS) packUnseen(op *namespace.Op) {
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.machine.acked.Apply(op, namespace.Extent{})
	_ = v.live.Apply(op, namespace.Extent{})
	v.machine.acked.TakeReleased()
	v.live.TakeReleased()
}
