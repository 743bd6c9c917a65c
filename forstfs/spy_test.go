package forstfs_test

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/namespace"
)

// spy is a store that shows every request to a test, with its bytes, before it is sent and after it was answered.
type spy struct {
	driver.Store
	before  func(op, key string)                // of any request
	put     func(key string, data []byte) error // before a put; an error is the answer
	stored  func(key string, data []byte)       // after a put that succeeded, before the caller learns it
	deletes func(keys []string)                 // before a delete
}

func (s *spy) look(op, key string) {
	if s.before != nil {
		s.before(op, key)
	}
}

func (s *spy) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	s.look("put", key)
	if s.put != nil {
		if err := s.put(key, data); err != nil {
			return err
		}
	}
	err := s.Store.Put(ctx, key, data, o)
	if err == nil && s.stored != nil {
		s.stored(key, data)
	}
	return err
}

func (s *spy) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	s.look("get", key)
	return s.Store.Get(ctx, key, off, n)
}

func (s *spy) Stat(ctx context.Context, key string) (driver.Info, error) {
	s.look("stat", key)
	return s.Store.Stat(ctx, key)
}

func (s *spy) List(ctx context.Context, prefix, after string) seq {
	s.look("list", prefix)
	return s.Store.List(ctx, prefix, after)
}

func (s *spy) Delete(ctx context.Context, keys []string) error {
	s.look("delete", "")
	if s.deletes != nil {
		s.deletes(keys)
	}
	return s.Store.Delete(ctx, keys)
}

// named gives the keys of the data objects and bodies that a frame or an image refers to.
func named(t testing.TB, key string, data []byte) (keys []string) {
	t.Helper()
	add := func(c namespace.Container) {
		if c.Kind != namespace.Frame && c.Owner == 0 {
			keys = append(keys, forstfs.ObjectKey(c))
		}
	}
	if _, ok := journal.ParseFrameKey(key); ok {
		f, err := journal.DecodeFrame(bytes.Clone(data))
		if err != nil {
			t.Errorf("%s: %v", key, err)
			return nil
		}
		err = namespace.DecodeOps(f.Ops, func(op *namespace.Op) error {
			for _, e := range op.Extents {
				add(e.Container)
			}
			for _, p := range op.Packs {
				add(p.New.Container)
			}
			if op.Kind == namespace.SnapCommit {
				add((&namespace.Snapshot{ID: op.Snap.ID, Body: op.Snap.Body}).BodyContainer())
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, _, ok := journal.ParseImageKey(key); ok {
		im, err := journal.DecodeImage(bytes.Clone(data))
		if err != nil {
			t.Errorf("%s: %v", key, err)
			return nil
		}
		if st, err := namespace.Decode(im.Body); err != nil {
			t.Errorf("%s: %v", key, err)
		} else {
			for c := range st.Needed() {
				add(c)
			}
		}
	}
	return keys
}

// recovered is what a process that read the bucket now would know: the namespace after all effective frames.
type recovered struct {
	st *namespace.State
}

func (r *recovered) Reset() { r.st = namespace.New() }
func (r *recovered) Restore(body []byte) (err error) {
	r.st, err = namespace.Decode(body)
	return err
}
func (r *recovered) Apply(f *journal.Frame) error {
	off := f.InlineOffset()
	c := namespace.Container{Kind: namespace.Frame, CRC: f.CRC, Epoch: f.Epoch, Nonce: f.Nonce, Num: f.Seq}
	return namespace.DecodeOps(f.Ops, func(op *namespace.Op) error {
		e := namespace.Extent{Container: c, Off: off, Len: op.Len}
		if op.Kind == namespace.Append {
			off += op.Len
		}
		return r.st.Apply(op, e)
	})
}
func (r *recovered) Fence(uint64)              { r.st.Fence() }
func (r *recovered) Image() ([]byte, error)    { return r.st.Encode(), nil }
func (r *recovered) FirstLive() (uint64, bool) { return r.st.FirstFrame() }

// recover reads the bucket as it is now.
func recoverNow(t testing.TB, b *mem.Bucket) *namespace.State {
	t.Helper()
	s, err := b.Snapshot().Open("vol")
	must(t, err)
	defer s.Close()
	var r recovered
	rd, err := journal.OpenReader(ctx, s, &r, nil)
	must(t, err)
	must(t, rd.Close())
	return r.st
}

// busy does a bit of everything to a volume, so that all ways of storing, naming and deleting bytes occur, from several goroutines,
// and reads all of it back. Errors are told to fail.
func busy(v *forstfs.FS, rounds int, fail func(error)) {
	var wg sync.WaitGroup
	check := func(err error) {
		if err != nil {
			fail(err)
		}
	}
	for w := range 3 {
		wg.Go(func() {
			dir := "/" + string(rune('a'+w))
			check(v.MkdirAll(ctx, dir))
			for i := range rounds {
				var names []string
				for _, ext := range []string{".sst", ".log", ".big"} {
					name := dir + "/" + string(rune('a'+i%7)) + ext
					f, err := v.Create(ctx, name, nil)
					if err != nil {
						fail(err)
						return
					}
					size := map[string]int{".sst": 90_000, ".log": 900, ".big": 40_000}[ext]
					for k := range 3 {
						p := make([]byte, size/3)
						pattern(p, uint64(w*1000+i), int64(k*len(p)))
						_, err := f.Write(p)
						check(err)
						if ext == ".log" {
							check(f.Sync())
						}
					}
					check(f.Close())
					names = append(names, name)
				}
				check(v.Sync(ctx))
				for _, name := range names {
					h, err := v.Open(ctx, name, nil)
					if err != nil {
						fail(err)
						return
					}
					got, err := io.ReadAll(h)
					check(err)
					if !bytes.Equal(got, patternOf(uint64(w*1000+i), len(got))) || len(got) == 0 {
						fail(io.ErrUnexpectedEOF)
					}
					if i%3 == 0 {
						check(v.Rename(ctx, name, name+".moved"))
						name += ".moved"
					}
					if i%3 == 1 {
						check(v.Link(ctx, name, name+".link"))
						check(v.Remove(ctx, name+".link"))
					}
					if i%2 == 0 {
						check(v.Remove(ctx, name))
						got, err := io.ReadAll(io.NewSectionReader(h, 0, 1<<20))
						check(err)
						if !bytes.Equal(got, patternOf(uint64(w*1000+i), len(got))) || len(got) == 0 {
							fail(io.ErrUnexpectedEOF)
						}
					}
					check(h.Close())
				}
				if i%4 == 3 {
					check(v.Checkpoint(ctx))
				}
			}
		})
	}
	wg.Wait()
}
