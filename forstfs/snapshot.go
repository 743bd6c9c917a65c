package forstfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// SnapshotOptions change FS.Snapshot. The zero value and nil are ready to use.
type SnapshotOptions struct {
	// Dir is the directory to keep; "" is the whole volume. Its files keep their paths in the snapshot.
	Dir string
	// Meta is the caller's, at most 1 MiB, stored in one step with the snapshot. Every image of the volume carries it: keep it small.
	Meta []byte
	// ExpireAfter removes the snapshot by itself when it is so old; 0: never. It is looked at when an image is written, and every
	// RequestInterval, by the clock of the writer.
	ExpireAfter time.Duration
}

// SnapshotInfo describes a snapshot.
type SnapshotInfo struct {
	ID      string // never used again, unlike the name
	Name    string
	Dir     string // "/" for the whole volume
	Created time.Time
	Frame   uint64 // of the journal: what was acknowledged by then is in it
	Files   int
	Bytes   int64 // sum of the sizes of the files
	Meta    []byte
	Expires time.Time // zero: never
	Doomed  bool      // its removal has begun; it goes when no clone needs it

	// Only SnapshotSizes fills these in.
	Holds     int   // clones that need it
	Exclusive int64 // bytes of objects that only this snapshot needs: what its removal frees
	Shared    int64 // bytes of its other objects
}

// maxInlineBody is how many bytes in frames a snapshot takes into its body; if there are more, they are packed first, so that the next snapshot
// finds them in data objects.
const maxInlineBody = 1 << 20

func snapshotInfo(s *namespace.Snapshot) SnapshotInfo {
	return SnapshotInfo{ID: s.ID.String(), Name: s.Name, Dir: s.Dir, Created: unixTime(s.Time), Frame: s.Frame, Files: s.Files, Bytes: s.Bytes,
		Meta: slices.Clone(s.Meta), Expires: unixTime(s.Expires), Doomed: s.Doomed}
}

// checkSnapshotName keeps names apart from ids, from paths, and from what a URL or a shell understands in its own way.
func checkSnapshotName(name string) error {
	bad := func(why string) error {
		return fmt.Errorf("snapshot name %q %s: %w", name, why, fs.ErrInvalid)
	}
	switch {
	case name == "":
		return bad("is empty")
	case len(name) > namespace.MaxSnapshotName:
		return bad(fmt.Sprintf("has %d bytes, at most %d are allowed", len(name), namespace.MaxSnapshotName))
	case !utf8.ValidString(name):
		return bad("is no UTF-8")
	case name[0] == '-' || name[0] == '.':
		return bad("begins with a dash or a dot")
	case strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || strings.ContainsRune(`/\@?#&*"'`, r)
	}):
		return bad(`has a space, a control character or one of / \ @ ? # & * " '`)
	}
	if _, ok := parseSnapshotID(name); ok {
		return bad("looks like the id of a snapshot")
	}
	return nil
}

func parseSnapshotID(s string) (namespace.SnapshotID, bool) {
	epoch, nonce, num, ok := journal.ParseSnapshotKey(journal.SnapshotPrefix + s)
	return namespace.SnapshotID{Epoch: epoch, Nonce: nonce, Num: num}, ok
}

// taking is a snapshot that this process has begun: the names as they were, taken in the moment when the frame was acknowledged. What is made of them is made when the
// machine is free again.
type taking struct {
	frame uint64
	names *namespace.Frozen
}

// begun takes the names for a snapshot of this process. m.mu is held; the operation has been applied.
func (m *machine) begun(op *namespace.Op, frame uint64) error {
	t := m.taking[op.Snap.ID]
	if t == nil {
		return nil
	}
	if _, ok := m.acked.Snapshot(op.Snap.ID); !ok {
		return nil // the name was taken, or the directory is gone
	}
	var err error
	t.frame = frame
	t.names, err = m.acked.Freeze(op.Path)
	return err
}

// Snapshot keeps the volume, or a directory of it, as it is after every operation issued before: names, and the bytes that Sync, Close, Rename or Link
// have put into the order. nil means: committed and durable; anybody can read, clone or restore it, whatever becomes of this process. It moves no
// bytes of data objects, and takes three round trips, or four when much was written inline since the last image; one more if its frames are not in the cache. Snapshots may be taken in parallel with
// each other and with all else.
//
// Errors: ErrSnapshotExists, fs.ErrNotExist or ErrNotDir for Dir, fs.ErrInvalid for a name that is not legal, those of FS.Sync. After an error that says
// nothing about the name it may exist or not: see Snapshots. When ctx ends, what was begun is undone in the background.
func (v *FS) Snapshot(ctx context.Context, name string, o *SnapshotOptions) (SnapshotInfo, error) {
	info, err := v.snapshot(driver.WithComponent(ctx, driver.CompSnapshot), name, o)
	if err == nil {
		return info, nil
	}
	if p := (*fs.PathError)(nil); !errors.As(err, &p) { // which is about SnapshotOptions.Dir
		err = storeErr(err)
	}
	return info, fmt.Errorf("snapshot %q: %w", name, err)
}

func (v *FS) snapshot(ctx context.Context, name string, o *SnapshotOptions) (SnapshotInfo, error) {
	if o == nil {
		o = &SnapshotOptions{}
	}
	var none SnapshotInfo
	if err := v.writable(); err != nil {
		return none, err
	}
	if err := checkSnapshotName(name); err != nil {
		return none, err
	}
	dir, err := namespace.Clean(o.Dir)
	switch {
	case err != nil:
		return none, err
	case len(o.Meta) > namespace.MaxSnapshotMeta:
		return none, fmt.Errorf("%d bytes of Meta, at most %d are allowed: %w", len(o.Meta), namespace.MaxSnapshotMeta, fs.ErrInvalid)
	case o.ExpireAfter < 0:
		return none, fmt.Errorf("ExpireAfter %v: %w", o.ExpireAfter, fs.ErrInvalid)
	}
	if err := v.nameFree(name); err != nil {
		return none, err
	}
	packs, err := v.packForSnapshot(ctx)
	if err != nil {
		return none, err
	}
	s := &namespace.Snapshot{ID: namespace.SnapshotID{Epoch: v.journal.Epoch(), Nonce: v.journal.Nonce(), Num: v.counter.Add(1)},
		Name: name, Dir: dir, Time: v.now(), Meta: slices.Clone(o.Meta)}
	s.BodyID = s.ID
	if o.ExpireAfter > 0 {
		s.Expires = s.Time + int64(o.ExpireAfter)
	}
	t, err := v.beginSnapshot(ctx, s)
	if len(packs) > 0 {
		v.spawn(func() { _ = v.packed(v.bg, packs) })
	}
	if err != nil {
		return none, err
	}
	s.Frame = t.frame
	return v.finishSnapshot(ctx, s, t)
}

// nameFree refuses a name that is taken, without a request; the journal has the last word.
func (v *FS) nameFree(name string) error {
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	if s, ok := v.machine.acked.SnapshotNamed(name); ok && !s.Doomed {
		if !s.Committed {
			return fmt.Errorf("%w: it is being taken at this moment", ErrSnapshotExists)
		}
		return fmt.Errorf("%w, of %s", ErrSnapshotExists, unixTime(s.Time).UTC().Format(time.RFC3339))
	}
	return nil
}

// beginSnapshot puts the begin into the order, behind everything issued so far, and waits for it.
func (v *FS) beginSnapshot(ctx context.Context, s *namespace.Snapshot) (*taking, error) {
	m := v.machine
	t := &taking{}
	m.mu.Lock()
	m.taking[s.ID] = t
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.taking, s.ID)
		m.mu.Unlock()
	}()
	op := namespace.Op{Kind: namespace.SnapBegin, Path: s.Dir, Time: s.Time, Snap: &namespace.SnapOp{ID: s.ID, Name: s.Name, Expires: s.Expires, Meta: s.Meta}}
	v.mu.Lock()
	err := v.writable()
	if err == nil && v.dropping {
		err = ErrDropped
	}
	if e, ok := v.live.Lookup(s.Dir); err == nil && (!ok || !e.Dir) {
		err = ErrNotDir
		if !ok {
			err = fs.ErrNotExist
		}
		err = &fs.PathError{Op: "snapshot", Path: s.Dir, Err: err}
	}
	if err == nil {
		err = v.wholeBelow(s.Dir, "only a checkpoint of the engine that owns them copies them into the volume")
	}
	var pos uint64
	if err == nil {
		pos = v.journal.Enqueue(op.AppendTo(nil), nil)
	}
	v.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := v.journal.Wait(ctx, pos); err != nil {
		if !mutant.On(mutSnapStays) {
			v.undoSnapshot(s, nil)
		}
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.names == nil {
		return nil, ErrSnapshotExists // another one was first
	}
	return t, nil
}

// finishSnapshot writes the body and commits.
func (v *FS) finishSnapshot(ctx context.Context, s *namespace.Snapshot, t *taking) (SnapshotInfo, error) {
	none := SnapshotInfo{}
	body, err := buildBody(v.id, s, t.names.State(), func(ps []piece) error { return v.readPieces(ctx, ps) })
	if err != nil {
		v.undoSnapshot(s, nil)
		return none, err
	}
	data, crc := body.Encode()
	ref := namespace.BodyRef{Head: uint32(body.Head()), CRC: crc, Size: int64(len(data))}
	commit := namespace.Op{Kind: namespace.SnapCommit, Snap: &namespace.SnapOp{ID: s.ID, Body: ref}}
	if mutant.On(mutSnapCommitEarly) {
		v.enqueue(&commit)
		_ = v.wait(ctx)
	}
	put := make(chan error, 1)
	if !v.spawn(func() { put <- v.putObject(driver.WithComponent(v.bg, driver.CompSnapshot), body.Key(), data) }) {
		return none, ErrClosed
	}
	select {
	case err = <-put:
	case <-ctx.Done():
		v.undoSnapshot(s, put)
		return none, ctx.Err()
	}
	if err != nil {
		v.undoSnapshot(s, nil)
		return none, fmt.Errorf("put %s: %w", body.Key(), err)
	}
	if mutant.On(mutSnapNoCommit) {
		return snapshotInfo(s), nil
	}
	v.mu.Lock()
	if v.dropping { // whoever drops the volume has looked for snapshots already
		v.mu.Unlock()
		v.undoSnapshot(s, nil)
		return none, ErrDropped
	}
	pos := v.journal.Enqueue(commit.AppendTo(nil), nil)
	v.mu.Unlock()
	if err := v.journal.Wait(ctx, pos); err != nil {
		return none, err
	}
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	now, ok := v.machine.acked.Snapshot(s.ID)
	if !ok { // removed by its name in the moment when it was committed
		return none, ErrNoSnapshot
	}
	return snapshotInfo(&now), nil
}

// enqueue puts operations that concern no names into the order, as one entry.
func (v *FS) enqueue(ops ...*namespace.Op) uint64 {
	var entry []byte
	for _, op := range ops {
		entry = op.AppendTo(entry)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.journal.Enqueue(entry, nil)
}

// undoSnapshot takes back what was begun and not committed, in the background; put, if not nil, says when its body has been put. What
// it does not come to, the next owner's fence and sweep do.
func (v *FS) undoSnapshot(s *namespace.Snapshot, put <-chan error) {
	v.spawn(func() {
		if put != nil && !mutant.On(mutSnapUndoEarly) {
			<-put
		}
		if v.journal.Wait(v.bg, v.enqueue(&namespace.Op{Kind: namespace.SnapRemove, Snap: &namespace.SnapOp{ID: s.ID}})) == nil {
			v.gc.add(s.BodyContainer())
		}
	})
}

// Snapshots lists the snapshots that are committed, oldest first: from the acknowledged namespace, without a request.
func (v *FS) Snapshots(ctx context.Context) ([]SnapshotInfo, error) {
	all, err := v.committed()
	if err != nil {
		return nil, err
	}
	out := make([]SnapshotInfo, len(all))
	for i := range all {
		out[i] = snapshotInfo(&all[i])
	}
	return out, nil
}

func (v *FS) committed() ([]namespace.Snapshot, error) {
	if err := v.usable(); err != nil {
		return nil, err
	}
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	return slices.DeleteFunc(v.machine.acked.Snapshots(), func(s namespace.Snapshot) bool { return !s.Committed && !mutant.On(mutSnapPending) }), nil
}

// find gives the snapshot of a name or an id, whatever its state but unfinished.
func (v *FS) find(name string) (namespace.Snapshot, error) {
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	return committedIn(v.machine.acked, name)
}

func committedIn(st *namespace.State, name string) (namespace.Snapshot, error) {
	s, ok := st.SnapshotNamed(name)
	if id, is := parseSnapshotID(name); is {
		s, ok = st.Snapshot(id)
	}
	if !ok || !s.Committed && !mutant.On(mutSnapPending) {
		return s, fmt.Errorf("%w: %q", ErrNoSnapshot, name)
	}
	return s, nil
}

// findReadable is find for one whose removal has not begun.
func (v *FS) findReadable(name string) (namespace.Snapshot, error) {
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	return readableIn(v.machine.acked, name)
}

func readableIn(st *namespace.State, name string) (namespace.Snapshot, error) {
	s, err := committedIn(st, name)
	if err == nil && s.Doomed && !mutant.On(mutLookName) {
		err = fmt.Errorf("%w: %q", ErrSnapshotDoomed, name)
	}
	return s, err
}

// SnapshotSizes is Snapshots with the holds and sizes: one LIST.
func (v *FS) SnapshotSizes(ctx context.Context) ([]SnapshotInfo, error) {
	all, err := v.committed()
	if err != nil {
		return nil, err
	}
	holds, err := v.holds(driver.WithComponent(ctx, driver.CompSnapshot), "")
	if err != nil {
		return nil, fmt.Errorf("list the holds: %w", storeErr(err))
	}
	v.machine.mu.Lock()
	defer v.machine.mu.Unlock()
	st := v.machine.acked
	out := make([]SnapshotInfo, len(all))
	for i := range all {
		s := &all[i]
		out[i] = snapshotInfo(s)
		out[i].Holds = holds[s.ID.String()]
		add := func(c namespace.Container, size int64) {
			if c.Owner == 0 && st.Use(c).Refs == 0 && st.Pinned(c) <= 1 {
				out[i].Exclusive += size
			} else {
				out[i].Shared += size
			}
		}
		for _, c := range s.Containers {
			add(c, int64(c.CRC))
		}
		add(s.BodyContainer(), s.Body.Size)
	}
	return out, nil
}

// holds counts the holds of each snapshot, or of one.
func (v *FS) holds(ctx context.Context, id string) (map[string]int, error) {
	n := map[string]int{}
	prefix := journal.HoldPrefix
	if id != "" {
		prefix += id + "/"
	}
	for info, err := range v.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		rest := strings.TrimPrefix(info.Key, journal.HoldPrefix)
		of, _, _ := strings.Cut(rest, "/")
		n[of]++
	}
	return n, nil
}

// ListSnapshots lists the snapshots of a volume from outside, with their sizes. It never writes. The store stays the caller's.
func ListSnapshots(ctx context.Context, store driver.Store, o *Options) ([]SnapshotInfo, error) {
	v, err := OpenReadOnly(ctx, keepOpen{store}, o)
	if err != nil {
		return nil, err
	}
	out, err := v.SnapshotSizes(ctx)
	return out, errors.Join(err, v.Close())
}

// keepOpen is a store that an FS does not close.
type keepOpen struct{ driver.Store }

func (keepOpen) Close() error { return nil }

// Unwrap lets optional interfaces be found.
func (k keepOpen) Unwrap() driver.Store { return k.Store }

// OpenSnapshot opens a snapshot, by name or id, for reading: the volume as it was. It takes four round trips, writes nothing, and disturbs no writer. When the
// snapshot is removed meanwhile, reads return ErrStale. The FS owns the store.
func OpenSnapshot(ctx context.Context, store driver.Store, snapshot string, o *Options) (*FS, error) {
	var d Options
	if o != nil {
		d = *o
	}
	d.Snapshot = cmp.Or(snapshot, d.Snapshot)
	if d.Snapshot == "" {
		return nil, errors.Join(fmt.Errorf("%w: no name was given", ErrNoSnapshot), store.Close())
	}
	return OpenReadOnly(ctx, store, &d)
}

// showSnapshot makes a read-only volume that has been read show a snapshot of it.
func (v *FS) showSnapshot(ctx context.Context, name string) error {
	for attempt := 0; ; attempt++ {
		s, err := v.findReadable(name)
		if err != nil {
			return err
		}
		body, st, err := loadBody(ctx, v.store, v.id, &s)
		if err == nil {
			v.keepBody(&s, body)
			v.machine.mu.Lock()
			v.mu.Lock()
			v.live, v.frozen = st, true
			v.mu.Unlock()
			v.machine.mu.Unlock()
			return nil
		}
		if !errors.Is(err, ErrStale) || attempt > 1 {
			return err
		}
		if _, rerr := v.reader.Refresh(ctx); rerr != nil { // it may have been removed a moment ago
			return errors.Join(err, rerr)
		}
	}
}
