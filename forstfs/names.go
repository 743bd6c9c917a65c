package forstfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// issue checks operations on names, applies them to the live namespace and puts them into the order, as one entry: no crash finds a part of them. Of
// several, only the first may be illegal. FS.mu is held.
func (v *FS) issue(ops ...*namespace.Op) error {
	if err := v.writable(); err != nil {
		return err
	}
	var entry []byte
	for _, op := range ops {
		if err := v.live.Check(op); err != nil {
			return err
		}
		local := v.localVictims(op)
		if err := v.applyLive(op, namespace.Extent{}); err != nil {
			return err
		}
		v.localGone(local)
		if mutant.On(mutReuseTwoSteps) && len(entry) > 0 {
			v.journal.Enqueue(entry, nil)
			entry = nil
		}
		entry = op.AppendTo(entry)
	}
	if gone := v.live.TakeReleased(); mutant.On(mutDeleteIssued) {
		for _, c := range gone {
			v.gc.add(c)
		}
	}
	v.journal.Enqueue(entry, nil)
	return nil
}

func (v *FS) writable() error {
	if v.readOnly {
		return ErrReadOnly
	}
	return v.Err()
}

func (v *FS) now() int64 { return v.o.Clock().UnixNano() }

// Create makes a new, empty file and opens it for writing and reading. An existing file of that name is replaced at once; its other
// names and open handles keep the old one. The parent must exist.
func (v *FS) Create(ctx context.Context, name string, o *CreateOptions) (*File, error) {
	p, err := clean(name)
	if err != nil {
		return nil, pathErr("create", name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.create(ctx, name, p, o)
}

// create makes a file, after the operations that belong to the same step, which must be legal. FS.mu is held.
func (v *FS) create(ctx context.Context, name, p string, o *CreateOptions, before ...*namespace.Op) (*File, error) {
	if o == nil {
		o = &CreateOptions{}
	}
	class := o.Class
	if class == ClassAuto {
		class = Classify(p)
	}
	op := &namespace.Op{Kind: namespace.Create, Path: p, Time: v.now()}
	switch {
	case v.placedLocally(p, class, o.site):
		op.File = namespace.Local
	case class.Bulk():
		op.File = namespace.Bulk
	}
	if err := v.writable(); err != nil {
		return nil, pathErr("create", name, err)
	}
	op.Inode = v.live.NextInode()
	if err := v.live.Check(op); err != nil {
		return nil, pathErr("create", name, err)
	}
	op.Inode = v.live.AllocInode()
	if err := v.issue(append(before, op)...); err != nil {
		return nil, pathErr("create", name, err)
	}
	file, _ := v.live.File(op.Inode)
	n := v.nodeOf(file)
	n.category = o.Category
	n.wal, n.born = class == ClassWAL, v.journal.Position()
	if op.File == namespace.Small && o.site == siteByTable && v.follows(p, class) {
		n.redo = v.home.redo(op.Inode)
	}
	return v.handle(ctx, n, p, AccessDefault, true), nil
}

// Open opens a file for reading; a directory opens too, for Stat and Sync.
func (v *FS) Open(ctx context.Context, name string, o *OpenOptions) (*File, error) {
	if o == nil {
		o = &OpenOptions{}
	}
	p, err := clean(name)
	if err != nil {
		return nil, pathErr("open", name, err)
	}
	if err := v.fresh(ctx); err != nil {
		return nil, pathErr("open", name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return nil, pathErr("open", name, err)
	}
	e, ok := v.live.Lookup(p)
	if !ok {
		return nil, pathErr("open", name, fs.ErrNotExist)
	}
	if e.Dir {
		n := &node{}
		n.cond.L = &n.mu
		f := &File{v: v, n: n, name: p, ctx: ctx, dir: true}
		f.ahead.f = f
		n.refs = 2 // never released: no namespace entry belongs to it
		return f, nil
	}
	file, _ := v.live.File(e.Inode)
	return v.handle(ctx, v.nodeOf(file), p, o.Access, false), nil
}

// handle opens a node. FS.mu is held.
func (v *FS) handle(ctx context.Context, n *node, p string, a Access, writing bool) *File {
	n.refs++
	if writing {
		n.writers++
	}
	if n.loc != nil {
		n.loc.hold()
	}
	f := &File{v: v, n: n, name: p, ctx: context.WithoutCancel(ctx), writing: writing}
	f.ahead.f = f
	f.access.Store(uint32(a))
	f.compaction = a == AccessSequential && n.bulk && !n.hinted.Swap(false)
	return f
}

// settle brings the bytes of a small file into the order, before one of its names changes.
func (v *FS) settle(p string) error {
	v.mu.Lock()
	e, ok := v.live.Lookup(p)
	var n *node
	if ok && !e.Dir && !v.readOnly {
		n = v.nodes[e.Inode]
	}
	v.mu.Unlock()
	if n == nil || n.bulk || mutant.On(mutSettle) {
		return nil
	}
	_, err := v.flush(n, closeInline)
	return err
}

// Rename moves a file or a directory; a file of the new name is replaced in the same moment.
func (v *FS) Rename(ctx context.Context, oldname, newname string) error {
	return v.twoNames(ctx, "rename", namespace.Rename, oldname, newname)
}

// Link gives a file one more name; the new name must be free.
func (v *FS) Link(ctx context.Context, oldname, newname string) error {
	return v.twoNames(ctx, "link", namespace.Link, oldname, newname)
}

func (v *FS) twoNames(ctx context.Context, what string, kind namespace.OpKind, oldname, newname string) error {
	from, err := clean(oldname)
	if err != nil {
		return pathErr(what, oldname, err)
	}
	to, err := clean(newname)
	if err != nil {
		return pathErr(what, newname, err)
	}
	if err := v.settle(from); err != nil {
		return pathErr(what, oldname, err)
	}
	v.mu.Lock()
	if ino, toLocal, yes := v.crosses(from, to); yes && v.writable() == nil {
		v.mu.Unlock()
		return pathErr(what, oldname, v.move(ctx, kind, from, to, ino, toLocal))
	}
	defer v.mu.Unlock()
	name := oldname
	err = v.issue(&namespace.Op{Kind: kind, Path: from, Path2: to})
	if errors.Is(err, fs.ErrExist) {
		name = newname
	}
	return pathErr(what, name, err)
}

// Remove removes a name of a file, or an empty directory. Open handles go on reading. The objects of a file that has lost its last
// name and its last handle are deleted in the background, after the removal is durable.
func (v *FS) Remove(ctx context.Context, name string) error {
	return v.oneName("remove", namespace.Remove, name)
}

// RemoveAll removes a subtree in one step; a missing one is success.
func (v *FS) RemoveAll(ctx context.Context, name string) error {
	return v.oneName("removeall", namespace.RemoveAll, name)
}

// MkdirAll makes a directory and its missing parents.
func (v *FS) MkdirAll(ctx context.Context, name string) error {
	return v.oneName("mkdir", namespace.Mkdir, name)
}

func (v *FS) oneName(what string, kind namespace.OpKind, name string) error {
	p, err := clean(name)
	if err != nil {
		return pathErr(what, name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	e, there := v.live.Lookup(p)
	if kind == namespace.Mkdir && there && e.Dir || kind == namespace.RemoveAll && !there {
		return pathErr(what, name, v.writable())
	}
	return pathErr(what, name, v.issue(&namespace.Op{Kind: kind, Path: p}))
}

// ReuseForWrite removes oldname and creates newname, in one step of the order: logs cannot be recycled in place on a store of
// immutable objects.
func (v *FS) ReuseForWrite(ctx context.Context, oldname, newname string, o *CreateOptions) (*File, error) {
	from, err := clean(oldname)
	if err != nil {
		return nil, pathErr("reuse", oldname, err)
	}
	to, err := clean(newname)
	if err != nil {
		return nil, pathErr("reuse", newname, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.writable(); err != nil {
		return nil, pathErr("reuse", oldname, err)
	}
	e, ok := v.live.Lookup(from)
	switch {
	case !ok:
		return nil, pathErr("reuse", oldname, fs.ErrNotExist)
	case e.Dir:
		return nil, pathErr("reuse", oldname, ErrIsDir)
	}
	// create refuses before anything is removed: an error leaves the old file as it was.
	if from == to {
		return v.create(ctx, newname, to, o)
	}
	return v.create(ctx, newname, to, o, &namespace.Op{Kind: namespace.Remove, Path: from})
}

// List gives the base names in a directory, sorted.
func (v *FS) List(ctx context.Context, dir string) ([]string, error) {
	p, err := clean(dir)
	if err != nil {
		return nil, pathErr("list", dir, err)
	}
	if err := v.fresh(ctx); err != nil {
		return nil, pathErr("list", dir, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return nil, pathErr("list", dir, err)
	}
	names, err := v.live.ReadDir(p)
	if err != nil {
		return nil, pathErr("list", dir, err)
	}
	names = shown(p, names)
	if mutant.On(mutLocalUnlisted) {
		names = v.unlisted(names)
	}
	out := make([]string, len(names))
	for i := range names {
		out[i] = names[i].Base
	}
	return out, nil
}

// ReadDir describes what is in a directory, sorted by name.
func (v *FS) ReadDir(ctx context.Context, dir string) ([]FileInfo, error) {
	p, err := clean(dir)
	if err != nil {
		return nil, pathErr("readdir", dir, err)
	}
	if err := v.fresh(ctx); err != nil {
		return nil, pathErr("readdir", dir, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return nil, pathErr("readdir", dir, err)
	}
	names, err := v.live.ReadDir(p)
	if err != nil {
		return nil, pathErr("readdir", dir, err)
	}
	names = shown(p, names)
	out := make([]FileInfo, len(names))
	for i := range names {
		out[i] = v.info(names[i].Base, names[i].Entry)
	}
	return out, nil
}

// Stat describes a file or directory. The size of a file that is being written is what was written so far.
func (v *FS) Stat(ctx context.Context, name string) (FileInfo, error) {
	p, err := clean(name)
	if err != nil { // a name that cannot exist
		return FileInfo{}, pathErr("stat", name, fs.ErrNotExist)
	}
	if err := v.fresh(ctx); err != nil {
		return FileInfo{}, pathErr("stat", name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return FileInfo{}, pathErr("stat", name, err)
	}
	e, ok := v.live.Lookup(p)
	if !ok {
		return FileInfo{}, pathErr("stat", name, fs.ErrNotExist)
	}
	return v.info(path.Base(p), e), nil
}

// info describes an entry. FS.mu is held.
func (v *FS) info(base string, e namespace.Entry) FileInfo {
	if e.Dir {
		return FileInfo{name: base, mode: fs.ModeDir | 0o755, time: unixTime(e.Time)}
	}
	i := FileInfo{name: base, mode: 0o644, inode: uint64(e.Inode), class: Classify(base)}
	f, _ := v.live.File(e.Inode)
	i.size, i.time = f.Size, unixTime(f.Time)
	if i.local = f.Kind == namespace.Local; i.local && v.home != nil {
		i.size = v.home.size(e.Inode)
	}
	if n := v.nodes[e.Inode]; n != nil {
		n.mu.Lock()
		if !mutant.On(mutStatAcked) {
			i.size = n.size
		}
		i.time = unixTime(n.mtim)
		n.mu.Unlock()
	}
	return i
}

func unixTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// Walk visits every file and directory in order of their paths.
func (v *FS) Walk(ctx context.Context, fn func(path string, info FileInfo) error) error {
	type found struct {
		path string
		info FileInfo
	}
	var all []found
	if err := v.fresh(ctx); err != nil {
		return err
	}
	v.mu.Lock()
	err := v.usable()
	if err == nil {
		for p, e := range v.live.Paths() {
			if !reserved(p) {
				all = append(all, found{p, v.info(path.Base(p), e)})
			}
		}
	}
	v.mu.Unlock()
	if err != nil {
		return err
	}
	for _, f := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(f.path, f.info); err != nil {
			return err
		}
	}
	return nil
}

// Lock takes a name for this process, until the Closer is closed; no file is made. It excludes other
// holders of this *FS only; across processes a later Open fences (see the package comment).
func (v *FS) Lock(ctx context.Context, name string) (io.Closer, error) {
	p, err := clean(name)
	if err != nil {
		return nil, pathErr("lock", name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return nil, pathErr("lock", name, err)
	}
	if e, ok := v.live.Lookup(path.Dir(p)); !ok || !e.Dir {
		return nil, pathErr("lock", name, fs.ErrNotExist)
	}
	if v.locks[p] && !mutant.On(mutLockShared) {
		return nil, pathErr("lock", name, errors.New("held by this process already"))
	}
	v.locks[p] = true
	return &lock{v: v, p: p}, nil
}

type lock struct {
	v *FS
	p string
}

func (l *lock) Close() error {
	l.v.mu.Lock()
	defer l.v.mu.Unlock()
	if !l.v.locks[l.p] {
		return pathErr("unlock", l.p, fs.ErrClosed)
	}
	delete(l.v.locks, l.p)
	return nil
}
