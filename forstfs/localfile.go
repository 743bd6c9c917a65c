package forstfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/forst-go/forst/internal/localdisk"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// localFile is a file whose bytes are on the local disk. Its name and inode are in the volume; a file without bytes need not exist on the disk.
type localFile struct {
	d   *localDir // nil on a volume that was opened without its local directory
	ino namespace.Inode

	mu    sync.Mutex
	f     localdisk.File
	fresh bool  // made by this handle, its name on the disk is not durable yet
	err   error // a failed fsync: what reached the disk is not known
}

// open gives the descriptor; create makes the file if it is not there. l.mu is held.
func (l *localFile) open(create bool) (localdisk.File, error) {
	switch {
	case l.d == nil:
		return nil, ErrLocalLost
	case l.err != nil:
		return nil, l.err
	case l.f != nil:
		return l.f, nil
	}
	name := localName(filesDir, l.ino)
	f, err := l.d.root.OpenFile(name, os.O_RDWR|os.O_APPEND)
	if errors.Is(err, fs.ErrNotExist) && create {
		f, err = l.d.root.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL)
		l.fresh = err == nil
	}
	if err == nil {
		l.f = f
	}
	return f, err
}

// hold opens the file for a new handle, which goes on reading when the last name is gone. An error comes again with the first read.
func (l *localFile) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.open(false)
}

func (l *localFile) write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := l.open(true)
	if err != nil {
		return 0, storeErr(l.d.failed(err))
	}
	n, err := f.Write(p)
	l.d.mu.Lock()
	l.d.sizes[l.ino] += int64(n)
	l.d.mu.Unlock()
	return n, l.d.failed(err)
}

// readAt is File.ReadAt: nil with a full read, io.EOF with less.
func (l *localFile) readAt(p []byte, off int64) (int, error) {
	l.mu.Lock()
	f, err := l.open(false)
	l.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist): // never written to
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	case err != nil:
		return 0, storeErr(l.d.failed(err))
	}
	n, err := f.ReadAt(p, off)
	if err != nil && err != io.EOF {
		err = l.d.failed(err)
	}
	return n, err
}

// sync makes the bytes durable on the local disk, and that the file is there.
func (l *localFile) sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.err != nil:
		return l.err
	case l.f == nil:
		return nil
	}
	var err error
	if !mutant.On(mutLocalNoFsync) {
		err = l.f.Sync()
	}
	if err == nil && l.fresh && !mutant.On(mutLocalNoName) {
		err = l.d.root.SyncDir(filesDir)
	}
	l.fresh = l.fresh && err != nil
	err = l.d.failed(err)
	l.err = err
	return err
}

func (l *localFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Close() // of a file that was synced, or of one that nobody asked to be
		l.f = nil
	}
}

// writeLocal is Write to a file on the local disk.
func (v *FS) writeLocal(n *node, p []byte) (int, error) {
	k, err := n.loc.write(p)
	n.mu.Lock()
	n.size += int64(k)
	n.base, n.mtim = n.size, v.now()
	n.mu.Unlock()
	return k, err
}

// syncLocal is Sync of a file on the local disk. Of a log it waits for the disk alone, once the name is in the volume; of any other file also for every operation on
// names issued before, as engines write into MANIFESTs and markers what the tables are called.
func (v *FS) syncLocal(ctx context.Context, n *node) error {
	if err := v.Err(); err != nil {
		return err
	}
	if !n.wal {
		if err := v.wait(ctx); err != nil {
			return err
		}
	} else if err := v.waitBorn(ctx, n); err != nil {
		return err
	}
	if err := n.loc.sync(); err != nil {
		return storeErr(err)
	}
	if n.wal {
		v.home.alone.Add(1)
	}
	return v.Err() // of a writer that has been fenced meanwhile nothing counts
}

// watchFence lets a writer whose commits make no frames learn that it was fenced. It puts the record of the local directory into the order once more: the
// frame finds its number taken.
func (v *FS) watchFence() {
	if v.home == nil || !v.o.Placement.Local(ClassWAL) || v.o.MaxLag > 0 || v.o.FenceCheck < 0 || mutant.On(mutFenceUnseen) {
		return
	}
	tick := time.NewTicker(v.o.FenceCheck)
	defer tick.Stop()
	var seen int64
	var acked uint64
	for {
		select {
		case <-v.packer.ctx.Done():
			return
		case <-v.Failed():
			return
		case <-tick.C:
		}
		n, frames := v.home.alone.Load(), v.journal.Acked()
		if n == seen || frames != acked {
			seen, acked = n, frames
			continue
		}
		seen = n
		v.mu.Lock()
		err := v.packer.ctx.Err() // Close stops this before it takes the record away: it must not come back
		if err == nil {
			err = v.issue(v.recordOps()...)
		}
		v.mu.Unlock()
		if err == nil {
			_ = v.wait(v.packer.ctx) // what it finds is the volume's error
		}
		acked = v.journal.Acked()
	}
}

// waitBorn waits until the name of a new file is in the volume, as a local directory holds no names.
func (v *FS) waitBorn(ctx context.Context, n *node) error {
	if n.named.Load() {
		return nil
	}
	if err := v.journal.Wait(ctx, n.born); err != nil {
		return storeErr(err)
	}
	n.named.Store(true)
	return nil
}

// localVictims are the inodes with something on the local disk that may lose their last name by op. FS.mu is held.
func (v *FS) localVictims(op *namespace.Op) []namespace.Inode {
	d := v.home
	if d == nil {
		return nil
	}
	var at string
	switch op.Kind {
	case namespace.Create, namespace.Remove:
		at = op.Path
	case namespace.Rename:
		at = op.Path2
	case namespace.RemoveAll, namespace.Restore:
		var all []namespace.Inode
		for f := range v.live.Files() {
			if f.Kind == namespace.Local || d.hasLog(f.Inode) {
				all = append(all, f.Inode)
			}
		}
		return all
	default:
		return nil
	}
	if e, ok := v.live.Lookup(at); ok && !e.Dir {
		return []namespace.Inode{e.Inode}
	}
	return nil
}

// localGone notes which of them have lost it. FS.mu is held.
func (v *FS) localGone(victims []namespace.Inode) {
	for _, ino := range victims {
		if _, ok := v.live.File(ino); !ok {
			v.home.mu.Lock()
			v.home.dying[ino] = true
			v.home.mu.Unlock()
			if mutant.On(mutReapEarly) {
				_ = v.home.unlink(filesDir, ino)
			}
		}
	}
}

func (d *localDir) hasLog(ino namespace.Inode) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.logs[ino]
}

// reap deletes what the acknowledged namespace no longer needs on the local disk: before that, a crash would bring the name back without its bytes.
func (v *FS) reap(acked *namespace.State) {
	d := v.home
	if d == nil {
		return
	}
	var files, logs []namespace.Inode
	d.mu.Lock()
	for ino := range d.dying {
		if _, ok := acked.File(ino); !ok {
			delete(d.dying, ino)
			delete(d.sizes, ino)
			delete(d.retire, ino)
			files = append(files, ino)
			if d.logs[ino] {
				logs = append(logs, ino)
			}
		}
	}
	for ino, size := range d.retire {
		if f, ok := acked.File(ino); !ok || f.Size >= size {
			delete(d.retire, ino)
			logs = append(logs, ino)
		}
	}
	for _, ino := range logs {
		delete(d.logs, ino)
	}
	d.mu.Unlock()
	if len(files)+len(logs) == 0 {
		return
	}
	v.spawn(func() { // else the next owner does it
		for _, ino := range files {
			_ = d.unlink(filesDir, ino)
		}
		for _, ino := range logs {
			_ = d.unlink(redoDir, ino)
		}
	})
}
