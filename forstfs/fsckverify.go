package forstfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// verify reads everything. Frames and images are checked as they are; the rest only if it is needed, because what is not may go at any moment.
func (k *checker) verify(ctx context.Context) error {
	keys := slices.Sorted(maps.Keys(k.sizes))
	var total int64
	keys = slices.DeleteFunc(keys, func(key string) bool {
		_, frame := journal.ParseFrameKey(key)
		_, _, image := journal.ParseImageKey(key)
		_, need := k.need[key]
		keep := frame || image || need
		if keep {
			total += k.sizes[key]
		}
		return !keep
	})
	told := progress{fn: k.fo.Progress, total: total}
	told.add(0)
	var mu sync.Mutex
	if len(keys) > 0 {
		err := parallel(keys, func(key string) error {
			bad, err := k.verifyObject(ctx, key)
			if err != nil {
				return fmt.Errorf("read %s: %w", key, err)
			}
			if bad != nil && !mutant.On(mutVerifyBlind) {
				mu.Lock()
				k.found(Damage, key, k.sizes[key], k.pathsOf(k.need[key].c), "%v", bad)
				mu.Unlock()
			}
			told.add(k.sizes[key])
			return nil
		})
		if err != nil {
			return err
		}
	}
	k.r.Read = told.done
	if k.fo.CheckFile != nil {
		return k.checkFiles(ctx)
	}
	return nil
}

// verifyObject reads one object to its end. bad is what is wrong with it, err that it could not be read.
func (k *checker) verifyObject(ctx context.Context, key string) (bad, err error) {
	n, frame := journal.ParseFrameKey(key)
	_, _, image := journal.ParseImageKey(key)
	need := k.need[key]
	whole := frame || image || need.c.Kind == namespace.Body
	if !whole {
		in, err := k.store.Get(ctx, key, 0, -1)
		if err != nil {
			return k.absent(ctx, key, err)
		}
		got, err := io.Copy(io.Discard, in)
		if err = errors.Join(err, in.Close()); err != nil {
			return k.absent(ctx, key, err)
		}
		if got != need.size {
			return fmt.Errorf("%d bytes could be read, want %d", got, need.size), nil
		}
		return nil, nil
	}
	b, err := driver.ReadAll(ctx, k.store, key)
	if err != nil {
		return k.absent(ctx, key, err)
	}
	switch {
	case frame:
		f, err := journal.DecodeFrame(b)
		switch {
		case err != nil:
			return err, nil
		case f.Seq != n:
			return fmt.Errorf("it is frame %d", f.Seq), nil
		case need.size < 0 && frameContainer(f) != need.c:
			return fmt.Errorf("it is another frame than the one that files refer to"), nil
		}
	case image:
		if _, err := journal.DecodeImage(b); err != nil {
			return err, nil
		}
	default:
		for _, s := range k.m.state.Snapshots() {
			if s.Committed && objectKey(s.BodyContainer()) == key {
				_, _, err := loadBody(ctx, k.store, k.reader.Volume(), &s)
				if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
					return nil, err
				}
				return err, nil
			}
		}
		if _, _, err := journal.DecodeSnapshotBody(b); err != nil { // files or a moved snapshot need its bytes
			return err, nil
		}
	}
	return nil, nil
}

// absent sorts out why an object could not be read: one that is gone by now was trimmed, or is missing and was reported as that.
func (k *checker) absent(ctx context.Context, key string, err error) (bad, _ error) {
	switch driver.KindOf(err) {
	case driver.KindNotExist:
		if _, need := k.need[key]; !need {
			return nil, nil
		}
		if changed, rerr := k.reader.Refresh(ctx); rerr != nil || changed {
			return nil, rerr
		}
		return errors.New("object is missing"), nil
	case driver.KindCorrupt, driver.KindRange:
		return err, nil
	}
	return nil, err
}

// checkFiles gives every file to the caller's check.
func (k *checker) checkFiles(ctx context.Context) error {
	v, err := OpenReadOnly(ctx, keepOpen{k.store}, k.fo.Options)
	if err != nil {
		return err
	}
	for p, e := range k.m.state.Paths() {
		if e.Dir {
			continue
		}
		f, err := v.Open(ctx, p, &OpenOptions{Access: AccessSequential})
		if err != nil {
			continue // removed meanwhile
		}
		info, err := f.Stat()
		if err == nil {
			err = k.fo.CheckFile(p, f, info.Size())
		}
		if err != nil {
			k.found(Damage, "", info.Size(), []string{p}, "%v", err)
		}
		_ = f.Close()
	}
	return v.Close()
}
