package forstfs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// record says which local directory a volume is written with; it is the name of an empty file, see docs/format.md.
type record struct {
	vol, dir [16]byte
	epoch    uint64
	maxLag   time.Duration
}

func (r record) name() string {
	return fmt.Sprintf("%s/%x-%x-%016x-%016x", recordDir, r.vol, r.dir, r.epoch, uint64(r.maxLag))
}

func parseRecord(base string) (r record, ok bool) {
	parts := strings.Split(base, "-")
	if len(parts) != 4 || len(parts[0]) != 32 || len(parts[1]) != 32 {
		return r, false
	}
	_, err1 := hex.Decode(r.vol[:], []byte(parts[0]))
	_, err2 := hex.Decode(r.dir[:], []byte(parts[1]))
	epoch, err3 := strconv.ParseUint(parts[2], 16, 64)
	maxLag, err4 := strconv.ParseInt(parts[3], 16, 64)
	r.epoch, r.maxLag = epoch, time.Duration(maxLag)
	return r, errors.Join(err1, err2, err3, err4) == nil && path.Join(recordDir, base) == r.name()
}

// recordOf is the record of a volume in its namespace, if there is one.
func recordOf(st *namespace.State, vol [16]byte) (rec record, has bool, err error) {
	names, _ := st.ReadDir(recordDir)
	for _, n := range names {
		r, ok := parseRecord(n.Base)
		if !ok {
			return rec, false, fmt.Errorf("%w: the record %q of a local directory", ErrFormat, n.Base)
		}
		if r.vol == vol && (!has || r.epoch > rec.epoch) {
			rec, has = r, true
		}
	}
	return rec, has, nil
}

// localPaths are the names of the files whose bytes are on a local disk.
func localPaths(st *namespace.State) []string {
	local := map[namespace.Inode]bool{}
	for f := range st.Files() {
		if f.Kind == namespace.Local {
			local[f.Inode] = true
		}
	}
	if len(local) == 0 {
		return nil
	}
	var out []string
	for p, e := range st.Paths() {
		if !e.Dir && local[e.Inode] && !reserved(p) {
			out = append(out, p)
		}
	}
	return out
}

// admitLocal says whether the volume may be opened with the local directory that was given, or without one. Nothing was written yet, so a wrong one
// disturbs nobody.
func (v *FS) admitLocal(vol [16]byte, epoch uint64) error {
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	st, d := v.machine.acked, v.home
	rec, has, err := recordOf(st, vol)
	if err != nil {
		return err
	}
	lost := localPaths(st)
	switch {
	case d == nil || d.isNew:
		if v.o.AcceptLoss || mutant.On(mutLostOpens) || len(lost) == 0 && (!has || v.readOnly) {
			return nil
		}
		return v.lostError(st, rec, has, lost)
	case d.vol != vol:
		return fmt.Errorf("%w: %s belongs to volume %x, this is %x", ErrLocalDir, d.path, d.vol, vol)
	case d.epoch > epoch:
		return fmt.Errorf("%w: %s was used in epoch %d, and the volume has only come to epoch %d: it was put back to an earlier state; use an empty directory with Options.AcceptLoss", ErrLocalDir, d.path, d.epoch, epoch)
	case has && d.id != rec.dir:
		return fmt.Errorf("%w: the volume was last written together with directory %x, %s is %x", ErrLocalDir, rec.dir, d.path, d.id)
	case has && d.epoch < rec.epoch:
		return fmt.Errorf("%w: %s is as of epoch %d, the volume was written together with it in epoch %d: it is an older copy", ErrLocalDir, d.path, d.epoch, rec.epoch)
	case !has && len(lost) > 0 && !v.o.AcceptLoss:
		return v.lostError(st, rec, has, lost)
	}
	return nil
}

// lostError says what is missing and what can be done.
func (v *FS) lostError(st *namespace.State, rec record, has bool, lost []string) error {
	var what []string
	if n := len(lost); n > 0 {
		more := ""
		if n > 8 {
			more = fmt.Sprintf(" and %d more", n-8)
		}
		what = append(what, fmt.Sprintf("%d files are on that disk alone: %s%s", n, strings.Join(lost[:min(n, 8)], ", "), more))
	}
	if has && rec.maxLag > 0 {
		what = append(what, fmt.Sprintf("of its logs, what was acknowledged in the last %v before its writer stopped may be missing", rec.maxLag))
	}
	if len(what) == 0 {
		what = append(what, "its writer did not close it")
	}
	restore := "it has no snapshot to go back to"
	for _, s := range st.Snapshots() { // the last one is the newest
		if s.Committed && !s.Doomed {
			restore = fmt.Sprintf("clone or restore a snapshot (the newest is %q of %s, taken %s)", s.Name, s.Dir, unixTime(s.Time).UTC().Format(time.RFC3339))
		}
	}
	return fmt.Errorf("%w (id %x): %s; give that directory as Options.LocalDir; or %s; or go on without what is lost by Options.AcceptLoss", ErrLocalLost, rec.dir, strings.Join(what, "; "), restore)
}

// adopt joins a volume that this process owns and its local directory: what is not needed goes, what was lost is let go, what is only in redo logs comes in. It costs a
// round trip if there is anything to do.
func (v *FS) adopt(ctx context.Context) error {
	if err := v.adoptNames(); err != nil {
		return err
	}
	if v.home != nil && v.home.hasWork() {
		if err := v.redoAll(ctx); err != nil {
			return fmt.Errorf("local directory %s: %w", v.home.path, err)
		}
	}
	if err := v.wait(ctx); err != nil {
		return err
	}
	if v.home == nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.home.keepOnly(func(ino namespace.Inode) bool {
		f, ok := v.live.File(ino)
		return ok && f.Kind == namespace.Local
	}, func(namespace.Inode) bool { return false })
}

func (d *localDir) hasWork() bool { return len(d.logs) > 0 }

// adoptNames puts the names in order, as one entry of the journal.
func (v *FS) adoptNames() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	d := v.home
	rec, has, err := recordOf(v.live, v.id)
	if err != nil {
		return err
	}
	var ops []*namespace.Op
	mine := d != nil && !d.isNew && has && d.id == rec.dir && d.vol == v.id
	if !mine {
		for _, p := range localPaths(v.live) {
			v.o.Logger.Warn("a file was only on a local disk and is given up, as Options.AcceptLoss says", "volume", v.o.Name, "file", p)
			ops = append(ops, &namespace.Op{Kind: namespace.Remove, Path: p})
		}
		if has {
			v.o.Logger.Warn("the volume goes on without its local directory, as Options.AcceptLoss says", "volume", v.o.Name, "directory", fmt.Sprintf("%x", rec.dir), "lost at most", rec.maxLag)
		}
		if d != nil { // what an earlier life left there is nobody's
			if err := d.keepOnly(none, none); err != nil {
				return err
			}
		}
	}
	if _, ok := v.live.Lookup(movesDir); ok {
		ops = append(ops, &namespace.Op{Kind: namespace.RemoveAll, Path: movesDir})
	}
	v.recorded = d != nil && (v.o.Placement != PlaceDurable || mine)
	if v.recorded {
		if err := d.claim(v.id, v.journal.Epoch()); err != nil {
			return err
		}
	}
	ops = append(ops, v.recordOps()...)
	if len(ops) == 0 {
		return nil
	}
	return v.issue(ops...)
}

// recordOps puts the right record, or none, in the place of what is there. FS.mu is held.
func (v *FS) recordOps() []*namespace.Op {
	var ops []*namespace.Op
	if _, ok := v.live.Lookup(recordDir); ok {
		ops = append(ops, &namespace.Op{Kind: namespace.RemoveAll, Path: recordDir})
	} else if !v.recorded {
		return nil
	}
	if v.recorded {
		ops = append(ops, &namespace.Op{Kind: namespace.Mkdir, Path: recordDir},
			&namespace.Op{Kind: namespace.Create, Path: record{v.id, v.home.id, v.home.epoch, v.o.MaxLag}.name(), Inode: v.live.AllocInode(), Time: v.now()})
	}
	return ops
}

// wholeBelow refuses what cannot be done with files whose bytes are not in the volume. FS.mu is held.
func (v *FS) wholeBelow(dir, why string) error {
	for _, p := range localPaths(v.live) {
		if dir == "/" || strings.HasPrefix(p, dir+"/") {
			return fmt.Errorf("%w: %s, for one; %s", ErrLocalLost, p, why)
		}
	}
	return nil
}

func none(namespace.Inode) bool { return false }

// leave is the last entry of a Close: a volume with no local file needs no local directory any more, once everything that is in the order is durable.
func (v *FS) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.home == nil || v.Err() != nil || len(localPaths(v.live)) > 0 {
		return
	}
	if _, ok := v.live.Lookup(recordDir); ok {
		_ = v.issue(&namespace.Op{Kind: namespace.RemoveAll, Path: recordDir}) // an error shows in what Close does next
	}
}
