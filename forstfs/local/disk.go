package local

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"

	"github.com/forst-go/forst/internal/mutant"
)

// disk is what all handles of this process on one directory share: the lock, and the knowledge of what is durable.
//
// A linked file is visible before its directory is synced. A process that read it there, built on it and lost it in a
// power failure would have broken every promise. So a reader first waits for the Put that is under way (landing), and
// syncs each directory that this process has not yet synced itself (settle): what it returns is durable.
type disk struct {
	id        os.FileInfo
	fileSyncs atomic.Int64
	dirSyncs  atomic.Int64

	// Replaced by tests to count, fail and order.
	syncFile func(f *os.File, dir bool) error

	mu       sync.Mutex
	refs     int
	lockRefs int
	lock     *os.File
	shared   bool // the lock is a shared one (NoGuard)
	dirs     map[string]*dirState
	landings map[string]*landing
}

type dirState struct {
	run sync.Mutex // held while syncing

	// Guarded by disk.mu.
	known   bool   // its entry in its parent is durable
	settled bool   // what was in it when this process came is durable
	started uint64 // number of the last sync that was begun
	synced  uint64 // number of the last sync that succeeded
	broken  error  // a sync failed: nobody knows what is durable until the process starts anew
}

// landing is one or more Puts of one key between becoming visible and becoming durable.
type landing struct {
	n       int
	waiting int // readers
	done    chan struct{}
}

// process is the only global: locks belong to the process, so handles that know nothing of each other must find the
// one it holds.
var process struct {
	mu    sync.Mutex
	disks []*disk
}

// locks says whether a handle takes part in the lock.
func (o *Options) locks() bool { return !o.ReadOnly && !o.Beside }

// share finds or makes the disk of root and takes the lock as o says.
func share(root *os.Root, o Options) (*disk, error) {
	id, err := root.Stat(".")
	if err != nil {
		return nil, err
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	var d *disk
	for _, have := range process.disks {
		if os.SameFile(have.id, id) {
			d = have
		}
	}
	if d == nil {
		d = &disk{id: id, dirs: map[string]*dirState{}, landings: map[string]*landing{}}
		d.syncFile = func(f *os.File, _ bool) error { return f.Sync() }
	}
	if o.locks() {
		if err := d.acquire(root, o.NoGuard); err != nil {
			return nil, err
		}
	}
	if d.refs++; d.refs == 1 {
		process.disks = append(process.disks, d)
	}
	return d, nil
}

// acquire takes the lock or joins the one that the process has; process.mu is held.
func (d *disk) acquire(root *os.Root, noGuard bool) error {
	if d.lockRefs == 0 {
		if err := root.MkdirAll(tempDir, 0o777); err != nil {
			return err
		}
		f, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return err
		}
		clean := func() error { return removeLeftovers(root) }
		if err := takeLock(f, noGuard, clean); err != nil {
			return errors.Join(err, f.Close())
		}
		d.lock, d.shared = f, noGuard
	}
	if d.shared != noGuard {
		return errors.New("this process has the directory open with another setting of guard; use one setting")
	}
	d.lockRefs++
	return nil
}

// removeLeftovers deletes temporary files. The lock is held alone, so none belongs to a living process.
func removeLeftovers(root *os.Root) error {
	f, err := root.Open(tempDir)
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := root.Remove(tempDir + "/" + name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// release gives up what share gave.
func (d *disk) release(o Options) error {
	process.mu.Lock()
	defer process.mu.Unlock()
	var err error
	if o.locks() {
		if d.lockRefs--; d.lockRefs == 0 {
			err = dropLock(d.lock)
			d.lock = nil
			d.mu.Lock()
			clear(d.dirs) // another process may come now: what we know is old
			d.mu.Unlock()
		}
	}
	if d.refs--; d.refs == 0 {
		for i, have := range process.disks {
			if have == d {
				process.disks = append(process.disks[:i:i], process.disks[i+1:]...)
				break
			}
		}
	}
	return err
}

func tempName() string { return tempDir + "/" + rand.Text() }

// state gives the state of a directory; "." is the root. The caller holds d.mu.
func (d *disk) state(dir string) *dirState {
	st := d.dirs[dir]
	if st == nil {
		st = &dirState{}
		d.dirs[dir] = st
	}
	return st
}

// sync makes the entries of dir durable that were there when it was called. Calls that wait for each other share a sync.
func (d *disk) sync(root *os.Root, dir string) error {
	d.mu.Lock()
	st := d.state(dir)
	arrived := st.started
	d.mu.Unlock()

	st.run.Lock()
	defer st.run.Unlock()
	d.mu.Lock()
	if st.broken != nil || st.synced > arrived {
		defer d.mu.Unlock()
		return st.broken
	}
	st.started++
	n := st.started
	d.mu.Unlock()

	f, err := root.Open(dir)
	if err != nil {
		return err // nothing was synced, and nothing is forgotten: not broken
	}
	d.dirSyncs.Add(1)
	if !mutant.On(mutNoDirSync) {
		err = d.syncFile(f, true)
	}
	cerr := f.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		// The kernel reports a lost write once. A second sync that succeeds would prove nothing.
		st.broken = &brokenError{dir, err}
		return st.broken
	}
	st.synced, st.settled = n, true
	return cerr
}

type brokenError struct {
	dir string
	err error
}

func (e *brokenError) Error() string {
	return "syncing directory " + e.dir + " failed, so what is durable is unknown; check the disk and start the process anew: " + e.err.Error()
}

func (e *brokenError) Unwrap() error { return e.err }

// makeDir makes dir below root, and itself and all its parents durable entries.
func (d *disk) makeDir(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	d.mu.Lock()
	known := d.state(dir).known
	d.mu.Unlock()
	if known {
		return nil
	}
	if err := d.makeDir(root, path.Dir(dir)); err != nil {
		return err
	}
	if err := root.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.know(root, dir)
}

// know makes the entries of dir and its parents durable, once.
func (d *disk) know(root *os.Root, dir string) error {
	for ; dir != "."; dir = path.Dir(dir) {
		d.mu.Lock()
		known := d.state(dir).known
		d.mu.Unlock()
		if known {
			return nil
		}
		if err := d.sync(root, path.Dir(dir)); err != nil {
			return err
		}
		d.mu.Lock()
		d.state(dir).known = true
		d.mu.Unlock()
	}
	return nil
}

// forget drops what is known of dir and its parents: one of them was not there.
func (d *disk) forget(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; dir != "."; dir = path.Dir(dir) {
		d.state(dir).known = false
	}
}

// land marks that key is about to become visible.
func (d *disk) land(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.landings[key]
	if l == nil {
		l = &landing{done: make(chan struct{})}
		d.landings[key] = l
	}
	l.n++
}

// landed ends what land began.
func (d *disk) landed(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.landings[key]
	if l.n--; l.n == 0 {
		delete(d.landings, key)
		close(l.done)
	}
}

// settle returns when what a reader may have seen under key is durable.
func (s *Store) settle(key string) error {
	if s.opt.ReadOnly || mutant.On(mutSeenSoon) { // it can neither promise nor lose anything
		return nil
	}
	s.disk.await(key)
	return s.disk.settleDir(s.root, path.Dir(key))
}

func (d *disk) await(key string) {
	d.mu.Lock()
	l := d.landings[key]
	if l != nil {
		l.waiting++
	}
	d.mu.Unlock()
	if l != nil {
		<-l.done
	}
}

func (d *disk) settleDir(root *os.Root, dir string) error {
	d.mu.Lock()
	st := d.state(dir)
	settled, broken := st.settled, st.broken
	d.mu.Unlock()
	if broken != nil || settled {
		return broken
	}
	if err := d.know(root, dir); err != nil {
		return err
	}
	return d.sync(root, dir)
}
