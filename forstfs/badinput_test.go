package forstfs_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/journal"
)

// careless ignores IfAbsent, as some stores do.
type careless struct{ driver.Store }

func (c careless) Put(ctx context.Context, key string, data []byte, _ driver.PutOptions) error {
	return c.Store.Put(ctx, key, data, driver.PutOptions{})
}

// What bad input gets: a distinct error that names the volume and says what to do; nothing is written and nothing deleted.
func TestBadInput(t *testing.T) {
	const name = "test://bucket/vol"
	// volume makes a volume of some frames and two images; spoil changes objects of it.
	volume := func(t *testing.T, b *mem.Bucket) {
		v := mount(t, b, nil)
		for i := range 8 {
			write(t, v, string(rune('a'+i)), content(500, uint64(i)), true)
			if i == 3 || i == 5 {
				must(t, v.Checkpoint(ctx))
			}
		}
		must(t, v.Close())
	}
	keys := func(t *testing.T, b *mem.Bucket, prefix string) (keys []string) {
		all, err := driver.ListAll(ctx, store(t, b), prefix, "")
		must(t, err)
		for _, i := range all {
			keys = append(keys, i.Key)
		}
		return keys
	}
	flip := func(t *testing.T, b *mem.Bucket, key string, at int) {
		s := store(t, b)
		data, err := driver.ReadAll(ctx, s, key)
		must(t, err)
		data[(at+len(data))%len(data)] ^= 1
		must(t, s.Put(ctx, key, data, driver.PutOptions{}))
	}
	frames := func(t *testing.T, b *mem.Bucket) (frames []string) {
		for _, k := range keys(t, b, journal.JournalPrefix) {
			data, err := driver.ReadAll(ctx, store(t, b), k)
			must(t, err)
			if f, err := journal.DecodeFrame(data); err == nil && f.Kind == journal.FrameData {
				frames = append(frames, k)
			}
		}
		return frames
	}
	modes := map[string]forstfs.CreateMode{"MustExist": forstfs.MustExist, "CreateIfMissing": forstfs.CreateIfMissing, "CreateNew": forstfs.CreateNew}
	for _, tt := range []struct {
		name   string
		make   func(*testing.T, *mem.Bucket)
		wrap   func(driver.Store) driver.Store
		modes  string // in which the error is this one; also read-only, if it says so
		want   error
		remedy []string // words of which the error has at least one
	}{
		{name: "empty prefix", modes: "MustExist read-only", want: forstfs.ErrNoVolume, remedy: []string{"check the URL"}},
		{name: "something else there", modes: "MustExist CreateIfMissing CreateNew read-only", want: forstfs.ErrForeign, remedy: []string{"check the URL", "another prefix", "empty prefix"},
			make: func(t *testing.T, b *mem.Bucket) {
				must(t, store(t, b).Put(ctx, "photos/cat", []byte("x"), driver.PutOptions{}))
			}},
		{name: "volume exists", modes: "CreateNew", want: forstfs.ErrExists, remedy: []string{"another prefix"}, make: volume},
		{name: "damaged root", modes: "MustExist CreateIfMissing CreateNew read-only", want: forstfs.ErrDamaged, remedy: []string{"restore"},
			make: func(t *testing.T, b *mem.Bucket) { volume(t, b); flip(t, b, journal.RootKey, 20) }},
		{name: "root is no root", modes: "MustExist CreateIfMissing CreateNew read-only", want: forstfs.ErrDamaged, remedy: []string{"restore"},
			make: func(t *testing.T, b *mem.Bucket) {
				must(t, store(t, b).Put(ctx, journal.RootKey, []byte("my volume"), driver.PutOptions{}))
			}},
		{name: "newer feature", modes: "MustExist CreateIfMissing read-only", want: forstfs.ErrFormat, remedy: []string{"upgrade", "newer"},
			make: func(t *testing.T, b *mem.Bucket) {
				_, err := journal.CreateRoot(ctx, store(t, b), journal.RootOptions{Features: []string{"r:telepathy"}})
				must(t, err)
			}},
		{name: "newer feature for writers", modes: "MustExist CreateIfMissing", want: forstfs.ErrFormat, remedy: []string{"upgrade", "newer"},
			make: func(t *testing.T, b *mem.Bucket) {
				_, err := journal.CreateRoot(ctx, store(t, b), journal.RootOptions{Features: []string{"w:telepathy"}})
				must(t, err)
			}},
		{name: "corrupt frame in the middle", modes: "MustExist CreateIfMissing read-only", want: forstfs.ErrDamaged, remedy: []string{"restore"},
			make: func(t *testing.T, b *mem.Bucket) { volume(t, b); fs := frames(t, b); flip(t, b, fs[len(fs)-1], 100) }},
		{name: "gap with frames behind it", modes: "MustExist CreateIfMissing read-only", want: forstfs.ErrDamaged, remedy: []string{"restore"},
			make: func(t *testing.T, b *mem.Bucket) {
				v := mount(t, b, nil)
				for i := range 12 {
					write(t, v, string(rune('a'+i)), content(500, uint64(i)), true)
				}
				must(t, v.Close())
				must(t, store(t, b).Delete(ctx, frames(t, b)[3:4]))
			}},
		{name: "both images damaged", modes: "MustExist CreateIfMissing read-only", want: forstfs.ErrDamaged, remedy: []string{"restore"},
			make: func(t *testing.T, b *mem.Bucket) {
				volume(t, b)
				for _, k := range keys(t, b, journal.ImagePrefix) {
					flip(t, b, k, -10)
				}
			}},
		{name: "dropped", modes: "MustExist CreateIfMissing read-only", want: forstfs.ErrDropped, remedy: []string{"choose another"},
			make: func(t *testing.T, b *mem.Bucket) {
				volume(t, b)
				v := mount(t, b, nil)
				must(t, v.Drop(ctx))
				must(t, v.Close())
			}},
		{name: "a store that ignores if-absent", modes: "CreateIfMissing CreateNew", want: forstfs.ErrUnsafeStore, remedy: []string{"use a store"},
			wrap: func(s driver.Store) driver.Store { return careless{s} }},
		{name: "missing bucket", modes: "MustExist CreateIfMissing CreateNew read-only", want: anyKind(driver.KindNoStore), remedy: []string{"check the URL"},
			wrap: func(s driver.Store) driver.Store {
				return fault.New(s, &fault.Options{Rules: []fault.Rule{{Do: fault.Fail(&driver.Error{Kind: driver.KindNoStore, Err: errors.New("the bucket does not exist")})}}})
			}},
		{name: "wrong credentials", modes: "MustExist CreateIfMissing CreateNew read-only", want: fs.ErrPermission, remedy: []string{"check the credentials"},
			wrap: func(s driver.Store) driver.Store {
				return fault.New(s, &fault.Options{Rules: []fault.Rule{{Do: fault.Fail(&driver.Error{Kind: driver.KindPermission, Err: errors.New("access denied")})}}})
			}},
		{name: "credentials that only read", modes: "CreateIfMissing CreateNew", want: fs.ErrPermission, remedy: []string{"check the credentials"},
			wrap: func(s driver.Store) driver.Store {
				return fault.New(s, &fault.Options{Rules: []fault.Rule{{Ops: []fault.Op{fault.Put}, Do: fault.Fail(&driver.Error{Kind: driver.KindPermission})}}})
			}},
		{name: "credentials that only read, a volume", modes: "MustExist CreateIfMissing", want: fs.ErrPermission, remedy: []string{"check the credentials"}, make: volume,
			wrap: func(s driver.Store) driver.Store {
				return fault.New(s, &fault.Options{Rules: []fault.Rule{{Ops: []fault.Op{fault.Put}, Do: fault.Fail(&driver.Error{Kind: driver.KindPermission})}}})
			}},
		{name: "a store that does not answer", modes: "MustExist CreateIfMissing CreateNew read-only", want: anyKind(driver.KindTransient), remedy: []string{"try again"}, make: volume,
			wrap: func(s driver.Store) driver.Store {
				return fault.New(s, &fault.Options{Rules: []fault.Rule{{Do: fault.Fail(nil)}}})
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for mode := range strings.FieldsSeq(tt.modes) {
					b := bucket()
					if tt.make != nil {
						tt.make(t, b)
					}
					before := b.Snapshot()
					s := store(t, b)
					if tt.wrap != nil {
						s = tt.wrap(s)
					}
					o := small()
					o.Name, o.RetryBudget = name, time.Second
					var v *forstfs.FS
					var err error
					if mode == "read-only" {
						v, err = forstfs.OpenReadOnly(ctx, s, o)
					} else {
						o.Create = modes[mode]
						v, err = forstfs.Open(ctx, s, o)
					}
					if err == nil {
						_ = v.Close()
						t.Errorf("%s: it opens", mode)
						continue
					}
					if k, ok := tt.want.(wantKind); ok && driver.KindOf(err) != driver.Kind(k) || !ok && !errors.Is(err, tt.want) {
						t.Errorf("%s: %v, want %v", mode, err, tt.want)
					}
					for _, other := range []error{forstfs.ErrNoVolume, forstfs.ErrForeign, forstfs.ErrExists, forstfs.ErrDamaged, forstfs.ErrFormat, forstfs.ErrDropped, forstfs.ErrUnsafeStore, forstfs.ErrBusy, forstfs.ErrFenced} {
						if other != tt.want && errors.Is(err, other) {
							t.Errorf("%s: the error is %v, too: %v", mode, other, err)
						}
					}
					said := false
					for _, w := range tt.remedy {
						said = said || strings.Contains(err.Error(), w)
					}
					if !said || !strings.Contains(err.Error(), name) {
						t.Errorf("%s: the error does not name the volume or a remedy (one of %q): %v", mode, tt.remedy, err)
					}
					if !b.Equal(before) {
						t.Errorf("%s: the store has changed: %q, before %d objects", mode, keys(t, b, ""), before.Len())
					}
					if err := s.Put(ctx, "x", nil, driver.PutOptions{}); driver.KindOf(err) != driver.KindClosed {
						t.Errorf("%s: the store is still open: %v", mode, err)
					}
				}
			})
		})
	}
}

// wantKind stands for any error of a kind.
type wantKind driver.Kind

func (k wantKind) Error() string { return driver.Kind(k).String() }

func anyKind(k driver.Kind) error { return wantKind(k) }

// A store that fails at any one request of an Open, or from any one on: an error, never a hang, never something that looks like a missing volume, and
// the next Open is fine. Whatever was there is there.
func TestOpenFailsAtEveryRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, times := range []int{1, 0} { // once, for ever
			for i := 0; ; i++ {
				b := bucket()
				v := mount(t, b, nil)
				write(t, v, "a", content(500, 1), true)
				must(t, v.Checkpoint(ctx))
				write(t, v, "b.sst", content(50_000, 2), true)
				must(t, v.Close())
				o := small()
				o.RetryBudget = time.Second
				tr := &fault.Trace{}
				s := fault.New(store(t, b), &fault.Options{Trace: tr, Rules: []fault.Rule{{After: i, Times: times, Do: fault.Fail(nil)}}})
				v, err := forstfs.Open(ctx, s, o)
				if err != nil {
					if driver.KindOf(err) != driver.KindTransient || errors.Is(err, forstfs.ErrNoVolume) || errors.Is(err, fs.ErrNotExist) {
						t.Errorf("request %d fails: %v", i, err)
					}
				} else {
					_ = v.Close()
				}
				w := mount(t, b, nil)
				same(t, w, "a", content(500, 1))
				same(t, w, "b.sst", content(50_000, 2))
				must(t, w.Close())
				if tr.Len() <= i {
					break
				}
				if i > 200 {
					t.Fatal("it never passes")
				}
			}
		}
	})
}
