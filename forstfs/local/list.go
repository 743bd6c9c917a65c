package local

import (
	"context"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"

	"github.com/forst-go/forst/forstfs/driver"
)

// List walks the directories. Names that begin with a dot, names that no key can have, and what is not a regular file are
// not objects.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		for _, p := range []string{prefix, after} {
			if err := driver.CheckPrefix(p); err != nil {
				yield(driver.Info{}, s.fail("list", p, driver.KindInvalid, err))
				return
			}
		}
		if err := s.begin(ctx, "list", prefix); err != nil {
			yield(driver.Info{}, err)
			return
		}
		s.busy.Done() // not held while the caller's loop body runs, which may close the store
		w := walker{s: s, ctx: ctx, prefix: prefix, after: after, yield: yield}
		w.walk("")
		if w.found == 0 && !w.over {
			if err := s.rootAlive(); err != nil {
				yield(driver.Info{}, s.fail("list", prefix, driver.KindNoStore, err))
			}
		}
	}
}

type walker struct {
	s             *Store
	ctx           context.Context
	prefix, after string
	yield         func(driver.Info, error) bool
	found         int
	over          bool // the caller has enough, or got an error
}

type entry struct {
	key  string // of a directory: with "/" at its end, which is its place in the order of keys
	info fs.FileInfo
}

// walk lists what is below dir, which is empty or ends in "/".
func (w *walker) walk(dir string) {
	entries, err := w.read(dir)
	if err != nil {
		w.over = true
		w.yield(driver.Info{}, err)
		return
	}
	for _, e := range entries {
		if e.info == nil {
			w.walk(e.key)
		} else {
			w.found++
			w.over = !w.yield(driver.Info{Key: e.key, Size: e.info.Size(), ModTime: e.info.ModTime()}, nil)
		}
		if w.over {
			return
		}
	}
}

// read gives the entries of dir that matter, in the order of keys.
func (w *walker) read(dir string) ([]entry, error) {
	s := w.s
	if err := s.begin(w.ctx, "list", w.prefix); err != nil {
		return nil, err
	}
	defer s.busy.Done()
	path := "."
	if dir != "" {
		path = strings.TrimSuffix(dir, "/")
	}
	sub, err := s.root.OpenRoot(path) // so that each Lstat is one call
	if missing(err) && dir != "" {
		return nil, nil // deleted meanwhile
	}
	if err != nil {
		return nil, s.fail("list", w.prefix, w.kind(err), err)
	}
	defer sub.Close()
	f, err := sub.Open(".")
	if err != nil {
		return nil, s.fail("list", w.prefix, w.kind(err), err)
	}
	found, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return nil, s.fail("list", w.prefix, w.kind(err), err)
	}
	var entries []entry
	files := false
	for _, e := range found {
		key := dir + e.Name()
		switch {
		case driver.CheckKey(key) != nil: // a dot name, or not made by forst
		case e.IsDir():
			if w.wantsDir(key + "/") {
				entries = append(entries, entry{key: key + "/"})
			}
		case e.Type().IsRegular() && strings.HasPrefix(key, w.prefix) && key > w.after:
			fi, err := w.stat(sub, e.Name(), key)
			if missing(err) {
				continue
			}
			if err != nil {
				return nil, s.fail("list", key, kindOf(err), err)
			}
			files = true
			entries = append(entries, entry{key, fi})
		}
	}
	if files && !s.opt.ReadOnly {
		if err := s.disk.settleDir(s.root, path); err != nil {
			return nil, s.fail("list", w.prefix, kindOf(err), err)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

// stat describes a file when its Put, if one is under way, is durable.
func (w *walker) stat(sub *os.Root, name, key string) (fs.FileInfo, error) {
	if !w.s.opt.ReadOnly {
		w.s.disk.await(key)
	}
	return sub.Lstat(name)
}

// wantsDir reports whether a directory, given with its "/", may hold a wanted key.
func (w *walker) wantsDir(dir string) bool {
	if !strings.HasPrefix(dir, w.prefix) && !strings.HasPrefix(w.prefix, dir) {
		return false
	}
	return strings.HasPrefix(w.after, dir) || w.after < dir
}

// kind classifies an error of reading a directory; one that is not there is the root.
func (w *walker) kind(err error) driver.Kind {
	if missing(err) {
		return driver.KindNoStore
	}
	return kindOf(err)
}
