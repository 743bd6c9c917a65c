package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/meter"
)

// scratch is a new prefix in a user's store, in which each case gets roots of its own. Stores that it opens pass through a gate:
// after stop nothing changes the store any more, whatever a case is still about to do.
type scratch struct {
	url   url.URL
	local string // the directory that is the prefix, or ""
	temp  string // of this machine, for cases that need files
	plant string
	roots atomic.Int64
	tally tally

	mu       sync.RWMutex // changes hold it for reading
	stopped  bool
	stopping context.Context // ends when stop is called
	cancel   context.CancelFunc
}

// newScratch finds a new prefix and checks that the store can be reached, written, listed and deleted from, so that a wrong URL or
// missing permission is one clear error and not a hundred failed cases.
func newScratch(ctx context.Context, c *conformanceConfig) (_ *scratch, err error) {
	// The store itself is opened first, so that a wrong URL is reported as the user wrote it.
	whole, err := openStore(ctx, withoutTrace(c.Store))
	if err != nil {
		return nil, err
	}
	if err := whole.Close(); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.Store)
	if err != nil {
		return nil, &usageError{err}
	}
	id := make([]byte, 6)
	rand.Read(id)
	u.Path = path.Join("/", u.Path, "forst-conformance-"+hex.EncodeToString(id))
	s := &scratch{url: *u, plant: c.Plant}
	s.stopping, s.cancel = context.WithCancel(context.Background())
	if u.Scheme == "file" {
		s.local = filepath.FromSlash(u.Path)
		if err := os.Mkdir(s.local, 0o700); err != nil {
			return nil, err
		}
	}
	if s.temp, err = os.MkdirTemp("", "forst-conformance-"); err == nil {
		err = s.touch(ctx)
	}
	if err != nil {
		// Where nothing could be written, nothing need be said about deleting it.
		if rerr := s.remove(context.WithoutCancel(ctx)); rerr != nil && driver.KindOf(rerr) != driver.KindOf(err) {
			err = errors.Join(err, rerr)
		}
		return nil, err
	}
	return s, nil
}

// withoutTrace opens a local directory so that nothing is left in it, unless it is to be created.
func withoutTrace(raw string) string {
	if u, err := url.Parse(raw); err == nil && u.Query().Has("create") {
		return raw
	}
	return readOnlyURL(raw)
}

// touch makes one object, and lists and deletes it.
func (s *scratch) touch(ctx context.Context) error {
	st, err := openStore(ctx, s.root("touch"))
	if err != nil {
		return err
	}
	return errors.Join(s.touchOn(ctx, st), st.Close())
}

func (s *scratch) touchOn(ctx context.Context, st driver.Store) error {
	if err := st.Put(ctx, "here", []byte("forst conformance"), driver.PutOptions{}); err != nil {
		return err
	}
	if _, err := driver.ListAll(ctx, st, "", ""); err != nil {
		return err
	}
	return st.Delete(ctx, []string{"here"})
}

func (s *scratch) String() string { return display(s.url.String()) }

// root is the URL of a directory in the scratch prefix; a local one is made. On S3 and HDFS an attempt of a request has a minute unless the URL says
// otherwise: on a slow store the second attempt of a race's winner would make it a loser, which the contract allows but a case that counts
// winners cannot know.
func (s *scratch) root(name string) string {
	u := s.url
	u.Path = path.Join(u.Path, name)
	q := u.Query()
	switch u.Scheme {
	case "file":
		q.Set("create", "1")
	case "s3", "hdfs":
		if !q.Has("attempt_timeout") && !q.Has("retry_timeout") {
			q.Set("attempt_timeout", "1m")
			q.Set("retry_timeout", "2m")
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// maker gives each case roots that are removed with it.
func (s *scratch) maker() conformance.Maker {
	return conformance.Maker{
		Secrets: secrets(),
		Fresh: func(tb conformance.TB) func(context.Context) (driver.Store, error) {
			root := s.root(fmt.Sprintf("root-%d", s.roots.Add(1)))
			tb.Cleanup(func() {
				if s.stopping.Err() != nil || s.local != "" {
					return // it goes with all others
				}
				ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), removeTimeout)
				defer cancel()
				if err := deleteAll(ctx, root); err != nil {
					tb.Errorf("removing what the case has left: %v", err)
				}
			})
			world := newPlantWorld(s.plant)
			return func(ctx context.Context) (driver.Store, error) { return s.open(ctx, root, world) }
		},
	}
}

func (s *scratch) open(ctx context.Context, root string, w *plantWorld) (driver.Store, error) {
	if s.stopping.Err() != nil {
		return nil, errStopped
	}
	m, err := openMetered(ctx, root)
	if err != nil {
		return nil, err
	}
	return &gated{Store: w.wrap(m), s: s, m: m}, nil
}

func (s *scratch) tempDir() string {
	dir, err := os.MkdirTemp(s.temp, "case-")
	if err != nil {
		return s.temp
	}
	return dir
}

// used is what the closed handles have asked of the store.
func (s *scratch) used() usage { return s.tally.usage() }

// stop cancels the changes under way, waits until they have returned, and lets no other begin.
func (s *scratch) stop() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// remove deletes the prefix. A request that was cancelled may still land: the list is read until it is empty.
func (s *scratch) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	s.stop()
	err := os.RemoveAll(s.temp)
	if s.local != "" {
		err = errors.Join(err, os.RemoveAll(s.local))
	} else {
		err = errors.Join(err, s.empty(ctx))
	}
	if err != nil {
		return fmt.Errorf("could not remove %s, delete it yourself: %w", s, err)
	}
	return nil
}

func (s *scratch) empty(ctx context.Context) error {
	st, err := openStore(ctx, s.url.String())
	if err != nil {
		return err
	}
	left := -1
	for range 3 {
		infos, lerr := driver.ListAll(ctx, st, "", "")
		if lerr != nil {
			return errors.Join(lerr, st.Close())
		}
		if left = len(infos); left == 0 {
			break
		}
		keys := make([]string, left)
		for i, info := range infos {
			keys[i] = info.Key
		}
		if derr := st.Delete(ctx, keys); derr != nil {
			return errors.Join(derr, st.Close())
		}
	}
	if left > 0 {
		err = fmt.Errorf("%d objects come back after their deletion", left)
	}
	return errors.Join(err, st.Close())
}

// gated is a handle on a root.
type gated struct {
	driver.Store
	s    *scratch
	m    *meter.Store
	once sync.Once
}

// Format prints what is behind the gate: the suite looks for secrets there.
func (g *gated) Format(f fmt.State, verb rune) { fmt.Fprintf(f, fmt.FormatString(f, verb), g.Store) }

// change runs a request that changes the store, cancelled by stop.
func (g *gated) change(ctx context.Context, op string, do func(context.Context) error) error {
	g.s.mu.RLock()
	defer g.s.mu.RUnlock()
	if g.s.stopped {
		return g.refuse(op)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.s.stopping, cancel)()
	return do(ctx)
}

// refuse is an error that nobody repeats.
func (g *gated) refuse(op string) error {
	return &driver.Error{Op: op, Kind: driver.KindPermission, Err: errStopped}
}

func (g *gated) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	return g.change(ctx, "put", func(ctx context.Context) error { return g.Store.Put(ctx, key, data, o) })
}

func (g *gated) Delete(ctx context.Context, keys []string) error {
	return g.change(ctx, "delete", func(ctx context.Context) error { return g.Store.Delete(ctx, keys) })
}

func (g *gated) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if g.s.stopping.Err() != nil {
		return nil, g.refuse("get")
	}
	return g.Store.Get(ctx, key, off, n)
}

func (g *gated) Stat(ctx context.Context, key string) (driver.Info, error) {
	if g.s.stopping.Err() != nil {
		return driver.Info{}, g.refuse("stat")
	}
	return g.Store.Stat(ctx, key)
}

func (g *gated) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	if g.s.stopping.Err() != nil {
		return func(yield func(driver.Info, error) bool) { yield(driver.Info{}, g.refuse("list")) }
	}
	return g.Store.List(ctx, prefix, after)
}

func (g *gated) Close() error {
	err := g.Store.Close()
	g.once.Do(func() { g.s.tally.add(usageOf(g.m)) })
	return err
}
