package forstfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// crosses reports whether a rename or link would leave a file on the wrong side: then it is copied. FS.mu is held.
func (v *FS) crosses(from, to string) (ino namespace.Inode, toLocal, yes bool) {
	e, ok := v.live.Lookup(from)
	if !ok || e.Dir || from == to {
		return 0, false, false
	}
	f, _ := v.live.File(e.Inode)
	if v.home == nil && f.Kind != namespace.Local {
		return 0, false, false
	}
	if mutant.On(mutLinkAliases) {
		return 0, false, false
	}
	toLocal = v.placedLocally(to, Classify(to), siteByTable)
	return e.Inode, toLocal, toLocal != (f.Kind == namespace.Local)
}

// move gives a file that lives on one side a name that belongs on the other. The copy is complete and durable on its side before one entry of the
// journal gives it the new name and, for a rename, takes the old one away: a crash finds either the old state or the new one.
func (v *FS) move(ctx context.Context, kind namespace.OpKind, from, to string, ino namespace.Inode, toLocal bool) error {
	v.mu.Lock()
	f, ok := v.live.File(ino)
	if !ok {
		v.mu.Unlock()
		return fs.ErrNotExist
	}
	if n := v.nodes[ino]; n != nil && n.writers > 0 {
		v.mu.Unlock()
		return errors.New("the file is open for writing and its new name belongs on another disk: close it first")
	}
	if err := v.live.Check(&namespace.Op{Kind: kind, Path: from, Path2: to}); err != nil {
		v.mu.Unlock()
		return err
	}
	if _, ok := v.live.Lookup(movesDir); !ok {
		if err := v.issue(&namespace.Op{Kind: namespace.Mkdir, Path: movesDir}); err != nil {
			v.mu.Unlock()
			return err
		}
	}
	src := v.handle(ctx, v.nodeOf(f), from, AccessSequential, false)
	v.moves++
	tmp := fmt.Sprintf("%s/%x-%x", movesDir, uint64(ino), v.moves)
	where := siteVolume
	if toLocal {
		where = siteLocal
	}
	dst, err := v.create(ctx, tmp, tmp, &CreateOptions{Class: Classify(to), Category: "placement", site: where})
	v.mu.Unlock()
	if err != nil {
		return errors.Join(err, src.Close())
	}
	size, err := io.CopyBuffer(writeOnly{dst}, readOnly{src}, make([]byte, 256<<10))
	if err == nil && !mutant.On(mutMoveUnsynced) {
		err = dst.Sync()
	}
	err = errors.Join(err, dst.Close(), src.Close())
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		err = v.place(kind, from, to, tmp, ino, size)
	}
	if err != nil {
		_ = v.issue(&namespace.Op{Kind: namespace.Remove, Path: tmp}) // else the next owner removes it
	}
	return err
}

// place is the last step of move. FS.mu is held.
func (v *FS) place(kind namespace.OpKind, from, to, tmp string, ino namespace.Inode, size int64) error {
	e, ok := v.live.Lookup(from)
	if !ok || e.Inode != ino {
		return fs.ErrNotExist // somebody was faster
	}
	if n := v.nodes[ino]; n != nil && (n.writers > 0 || n.length() != size) {
		return errors.New("the file was written to while it was copied to another disk")
	}
	if err := v.live.Check(&namespace.Op{Kind: kind, Path: from, Path2: to}); err != nil {
		return err
	}
	rename := &namespace.Op{Kind: namespace.Rename, Path: tmp, Path2: to}
	if kind == namespace.Link {
		return v.issue(rename)
	}
	return v.issue(rename, &namespace.Op{Kind: namespace.Remove, Path: from})
}

type writeOnly struct{ f *File }

func (w writeOnly) Write(p []byte) (int, error) { return w.f.Write(p) }

type readOnly struct{ f *File }

func (r readOnly) Read(p []byte) (int, error) { return r.f.Read(p) }
