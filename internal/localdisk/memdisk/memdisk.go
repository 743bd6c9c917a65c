// Package memdisk is a disk in memory that can fail and lose power, for tests.
package memdisk

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/forst-go/forst/internal/localdisk"
)

// Disk is a disk in memory. Hold it through Open: a process has the handles, the disk outlives it.
type Disk struct {
	// Before is called before each operation that changes the disk or makes something durable, not at the same moment as another; its error is the operation's. A write
	// that fails has written half. It must not be changed while the disk is used.
	Before func(op, name string) error

	turn    sync.Mutex // around Before
	mu      sync.Mutex
	dirs    map[string]bool
	names   map[string]*inode
	durable map[string]*inode // names as of the last SyncDir of their directories
	pending []change          // not yet durable, in order
	locked  bool
}

// inode is the content of a file.
type inode struct{ data, synced []byte }

// change is a change of one name or two.
type change struct {
	from, to string // from == "": a new file; to == "": a removal
	ino      *inode
}

func (c change) dir() string {
	if c.to == "" {
		return path.Dir(c.from)
	}
	return path.Dir(c.to)
}

func (c change) apply(names map[string]*inode) {
	switch {
	case c.to == "":
		delete(names, c.from)
	case c.from == "":
		names[c.to] = c.ino
	case names[c.from] == c.ino:
		delete(names, c.from)
		names[c.to] = c.ino
	}
}

// New is an empty disk.
func New() *Disk {
	return &Disk{dirs: map[string]bool{".": true}, names: map[string]*inode{}, durable: map[string]*inode{}}
}

// Open is what localdisk.With takes.
func (d *Disk) Open(string) (localdisk.Disk, error) { return &mount{d: d}, nil }

// Crash is the disk that is found after the power was lost at this moment: all that was synced, and of the rest what luck says: each file has a part of what was written to it since,
// some of it as zeros; of the changes of names some have happened, or all up to one. Nobody has it locked.
func (d *Disk) Crash(r *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := New()
	maps.Copy(n.dirs, d.dirs)
	names := maps.Clone(d.durable)
	switch k := r.IntN(3); k {
	case 0: // a file system with a journal
		for _, c := range d.pending[:r.IntN(len(d.pending)+1)] {
			c.apply(names)
		}
	case 1:
		for _, c := range d.pending {
			if r.IntN(2) == 0 {
				c.apply(names)
			}
		}
	}
	copies := map[*inode]*inode{}
	for _, name := range slices.Sorted(maps.Keys(names)) { // in one order, so that a seed says everything
		i := names[name]
		if copies[i] == nil {
			b := i.left(r)
			copies[i] = &inode{b, slices.Clone(b)}
		}
		n.names[name], n.durable[name] = copies[i], copies[i]
	}
	return n
}

// left is what a file has after the power was lost.
func (i *inode) left(r *rand.Rand) []byte {
	if !bytes.HasPrefix(i.data, i.synced) { // it was truncated
		if r.IntN(2) == 0 {
			return slices.Clone(i.synced)
		}
		return slices.Clone(i.data[:r.IntN(len(i.data)+1)])
	}
	more := slices.Clone(i.data[len(i.synced):])
	more = more[:r.IntN(len(more)+1)]
	if len(more) > 0 && r.IntN(2) == 0 {
		clear(more[r.IntN(len(more)):])
	}
	return append(slices.Clone(i.synced), more...)
}

// Killed is the disk as a process leaves it that is killed: with everything that was written.
func (d *Disk) Killed() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := New()
	maps.Copy(n.dirs, d.dirs)
	for name, i := range d.names {
		c := &inode{slices.Clone(i.data), slices.Clone(i.synced)}
		n.names[name], n.durable[name] = c, c
	}
	return n
}

func (d *Disk) before(op, name string) error {
	if d.Before == nil {
		return nil
	}
	d.turn.Lock()
	defer d.turn.Unlock()
	return d.Before(op, name)
}

func (d *Disk) note(c change) {
	c.apply(d.names)
	d.pending = append(d.pending, c)
}

func pathErr(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

type mount struct{ d *Disk }

func (m *mount) OpenFile(name string, flag int) (localdisk.File, error) {
	d := m.d
	d.mu.Lock()
	i := d.names[name]
	d.mu.Unlock()
	if i == nil && flag&os.O_CREATE == 0 {
		return nil, pathErr("open", name, fs.ErrNotExist)
	}
	if i != nil && flag&os.O_EXCL != 0 {
		return nil, pathErr("open", name, fs.ErrExist)
	}
	if i == nil || flag&os.O_TRUNC != 0 {
		if err := d.before("create", name); err != nil {
			return nil, pathErr("open", name, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if i == nil {
		i = &inode{}
		d.note(change{to: name, ino: i})
	}
	if flag&os.O_TRUNC != 0 {
		i.data = nil
	}
	return &file{d: d, name: name, i: i}, nil
}

func (m *mount) Mkdir(name string) error {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if m.d.dirs[name] {
		return pathErr("mkdir", name, fs.ErrExist)
	}
	m.d.dirs[name] = true
	return nil
}

func (m *mount) Remove(name string) error {
	if err := m.d.before("remove", name); err != nil {
		return pathErr("remove", name, err)
	}
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if m.d.names[name] == nil {
		return pathErr("remove", name, fs.ErrNotExist)
	}
	m.d.note(change{from: name})
	return nil
}

func (m *mount) Rename(from, to string) error {
	if err := m.d.before("rename", from); err != nil {
		return pathErr("rename", from, err)
	}
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	i := m.d.names[from]
	if i == nil {
		return pathErr("rename", from, fs.ErrNotExist)
	}
	m.d.note(change{from: from, to: to, ino: i})
	return nil
}

func (m *mount) ReadDir(name string) ([]fs.DirEntry, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	all := map[string]fs.DirEntry{}
	for dir := range m.d.dirs {
		if dir != "." && path.Dir(dir) == name {
			all[dir] = fs.FileInfoToDirEntry(info{name: path.Base(dir), mode: fs.ModeDir | 0o777})
		}
	}
	for p, i := range m.d.names {
		if path.Dir(p) == name {
			all[p] = fs.FileInfoToDirEntry(info{name: path.Base(p), size: int64(len(i.data)), mode: 0o666})
		}
	}
	var out []fs.DirEntry
	for _, p := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[p])
	}
	return out, nil
}

type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

func (m *mount) SyncDir(name string) error {
	if err := m.d.before("syncdir", name); err != nil {
		return pathErr("sync", name, err)
	}
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	var left []change
	for _, c := range m.d.pending {
		if c.dir() == name {
			c.apply(m.d.durable)
		} else {
			left = append(left, c)
		}
	}
	m.d.pending = left
	return nil
}

func (m *mount) Lock(string) (io.Closer, error) {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if m.d.locked {
		return nil, localdisk.ErrLocked
	}
	m.d.locked = true
	return unlock{m.d}, nil
}

type unlock struct{ d *Disk }

func (u unlock) Close() error {
	u.d.mu.Lock()
	u.d.locked = false
	u.d.mu.Unlock()
	return nil
}

func (m *mount) Close() error { return nil }

type file struct {
	d    *Disk
	name string
	i    *inode
	at   int
}

// Write appends: no file of a local directory is written otherwise.
func (f *file) Write(p []byte) (int, error) {
	err := f.d.before("write", f.name)
	if err != nil {
		p = p[:len(p)/2]
		err = pathErr("write", f.name, err)
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.i.data = append(f.i.data[:len(f.i.data):len(f.i.data)], p...)
	return len(p), err
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, int64(f.at))
	f.at += n
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	return bytes.NewReader(f.i.data).ReadAt(p, off)
}

func (f *file) Sync() error {
	if err := f.d.before("sync", f.name); err != nil {
		return pathErr("sync", f.name, err)
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.i.synced = slices.Clone(f.i.data)
	return nil
}

func (f *file) Close() error { return nil }
