package forstfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/journal"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
	"github.com/forst-go/forst/internal/probe"
)

// Severity says what a finding means.
type Severity string

// The severities.
const (
	Damage Severity = "damage" // something that is needed is missing or wrong
	Leak   Severity = "leak"   // something is there that nobody needs; it costs money, nothing else
	Note   Severity = "note"   // neither, or not known
)

// Finding is one thing that a check of a volume has found.
type Finding struct {
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Key      string   `json:"key,omitempty"`   // of the object
	Paths    []string `json:"paths,omitempty"` // of files that it concerns, at most ten
	Bytes    int64    `json:"bytes,omitempty"`
}

func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s", f.Severity, f.What)
	if f.Key != "" {
		s += " (" + f.Key + ")"
	}
	if len(f.Paths) > 0 {
		s += ": " + strings.Join(f.Paths, ", ")
	}
	return s
}

// FsckOptions change Fsck.
type FsckOptions struct {
	// Options: Name, RetryBudget, Logger, and OpenStore, without which clones and lenders are not looked at.
	Options *Options
	// Verify reads every byte: frames, images and bodies of snapshots are compared with their checksums, data objects with their lengths.
	Verify bool
	// CheckFile, with Verify, is given every file with its bytes, for checks that only an engine can make. It is called for one file after the other.
	CheckFile func(name string, r io.ReaderAt, size int64) error
	// Progress of Verify in bytes, one call at a time.
	Progress func(done, total int64)
}

// FsckReport is what Fsck has found.
type FsckReport struct {
	Volume    string    `json:"volume_id"`
	Epoch     uint64    `json:"epoch"`
	Frame     uint64    `json:"frame"` // the check is of the state after this frame
	Files     int       `json:"files"`
	Dirs      int       `json:"directories"`
	Snapshots int       `json:"snapshots"`
	Bytes     int64     `json:"bytes"`    // of files
	Objects   int       `json:"objects"`  // of the volume in the store
	Stored    int64     `json:"stored"`   // their bytes
	Needed    int64     `json:"needed"`   // bytes of the data objects and bodies that files and snapshots need
	Borrowed  int64     `json:"borrowed"` // bytes of objects of other volumes that they need
	Orphans   int       `json:"orphans"`  // objects that nobody needs and no living writer can be about to need
	Orphaned  int64     `json:"orphaned"` // their bytes
	Pending   int       `json:"pending"`  // objects of the present epoch that nothing names: being written, or about to be deleted
	Requests  int       `json:"requests"` // that wait for the writer
	Read      int64     `json:"read"`     // bytes read by Verify
	Findings  []Finding `json:"findings"`
}

// Damaged reports whether anything that is needed is missing or wrong.
func (r *FsckReport) Damaged() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == Damage })
}

// Fsck checks a volume as it is acknowledged now, without writing and without disturbing a writer: the namespace against itself; that every object that a
// file or a snapshot needs is there with the right length; what is there that nobody needs; and, where Options.OpenStore leads there, that clones, lenders and holds agree. The store stays the
// caller's. An error says that the check could not be made; what it found is in the report. A volume that cannot be opened for reading at all is an error.
func Fsck(ctx context.Context, store driver.Store, o *FsckOptions) (*FsckReport, error) {
	if o == nil {
		o = &FsckOptions{}
	}
	if err := o.Options.Validate(); err != nil {
		return nil, err
	}
	k := &checker{store: store, fo: o, o: o.Options.EnsureDefaults(), r: &FsckReport{Findings: []Finding{}}, sizes: map[string]int64{}}
	err := k.run(driver.WithComponent(ctx, driver.CompOther))
	slices.SortStableFunc(k.r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Key, b.Key), cmp.Compare(a.What, b.What))
	})
	if err != nil {
		return k.r, fmt.Errorf("check volume %s: %w", k.o.named(store), storeErr(err))
	}
	return k.r, nil
}

// checker is one check of one volume.
type checker struct {
	store driver.Store
	fo    *FsckOptions
	o     *Options
	r     *FsckReport

	sizes  map[string]int64 // what a LIST from before the reading showed
	m      *names
	reader *journal.Reader
	need   map[string]needed // own objects by key
}

// needed is an object that files or snapshots need.
type needed struct {
	c    namespace.Container
	size int64 // -1: at least the extents
}

func (k *checker) found(s Severity, key string, size int64, paths []string, format string, args ...any) {
	k.r.Findings = append(k.r.Findings, Finding{s, fmt.Sprintf(format, args...), key, paths, size})
}

func (k *checker) run(ctx context.Context) (err error) {
	// The list comes first: what it misses was made later, and what has gone since is not needed any more.
	for info, err := range k.store.List(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("list the volume: %w", err)
		}
		k.sizes[info.Key] = info.Size
	}
	k.m = &names{state: namespace.New()}
	k.reader, err = journal.OpenReader(ctx, k.store, k.m, &journal.Options{RetryBudget: k.o.RetryBudget, FrameConcurrency: openFrames, Nonce: k.o.Nonce, Logger: k.o.Logger,
		OnEvent: func(e journal.Event) {
			if e.Kind == journal.EventDamagedImage {
				k.found(Damage, e.Key, 0, nil, "image cannot be read, an older one serves: %v", e.Err)
			}
		}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.reader.Close()) }()
	if err := k.m.state.Verify(); err != nil {
		k.found(Damage, "", 0, nil, "the namespace does not fit together: %v", err)
	}
	if err := k.checkNeeded(ctx); err != nil {
		return err
	}
	k.describe()
	k.checkRest()
	if err := k.checkLenders(ctx); err != nil {
		return err
	}
	if err := k.checkHolds(ctx); err != nil {
		return err
	}
	if k.fo.Verify {
		return k.verify(ctx)
	}
	return nil
}

func (k *checker) describe() {
	st := k.m.state
	s := st.Stats()
	r := k.r
	r.Volume, r.Epoch, r.Frame = k.reader.Volume().String(), k.reader.Epoch(), k.reader.Acked()
	r.Files, r.Dirs, r.Bytes, r.Snapshots = s.Files, s.Dirs, s.Bytes, len(st.Snapshots())
	r.Objects = len(k.sizes)
	for _, n := range k.sizes {
		r.Stored += n
	}
	for key, n := range k.need {
		switch {
		case n.c.Kind == namespace.Frame:
		case n.size < 0:
			r.Needed += k.sizes[key]
		default:
			r.Needed += n.size
		}
	}
	for c := range st.Needed() {
		if c.Owner != 0 {
			r.Borrowed += int64(c.CRC)
		}
	}
}

// ownNeeds is what the namespace needs in the volume's own store.
func ownNeeds(st *namespace.State) map[string]needed {
	need := map[string]needed{}
	for c := range st.Needed() {
		switch {
		case c.Owner != 0:
		case c.Kind == namespace.Frame:
			if mutant.On(mutFsckFrames) {
				continue
			}
			need[journal.FrameKey(c.Num)] = needed{c, -1}
		case c.Kind == namespace.Object:
			need[objectKey(c)] = needed{c, int64(c.CRC)}
		case c.Kind == namespace.Body: // of a snapshot that was removed and restored, or moved; its size is nowhere
			need[objectKey(c)] = needed{c, -1}
		}
	}
	for _, s := range st.Snapshots() {
		if s.Committed {
			need[objectKey(s.BodyContainer())] = needed{s.BodyContainer(), s.Body.Size}
		}
	}
	return need
}

// checkNeeded looks for every object that is needed. One that seems to be missing may be younger than the list, or have become unnecessary since the reading.
func (k *checker) checkNeeded(ctx context.Context) error {
	told := map[string]bool{}
	for try := 0; ; try++ {
		k.need = ownNeeds(k.m.state)
		var missing []string
		for key, n := range k.need {
			size, ok := k.sizes[key]
			if !ok {
				info, err := k.store.Stat(ctx, key)
				switch {
				case driver.KindOf(err) == driver.KindNotExist:
					missing = append(missing, key)
					continue
				case err != nil:
					return fmt.Errorf("look for %s: %w", key, err)
				}
				size = info.Size
				k.sizes[key] = size
			}
			if n.size >= 0 && size != n.size && !told[key] && !(mutant.On(mutFsckFirst) && try > 0) {
				told[key] = true
				k.found(Damage, key, size, k.pathsOf(n.c), "object of %d bytes, want %d", size, n.size)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		changed, err := k.reader.Refresh(ctx)
		if err != nil {
			return err
		}
		if changed && try < 5 {
			continue
		}
		for _, key := range missing {
			n := k.need[key]
			if mutant.On(mutFsckMissing) {
				continue
			}
			k.found(Damage, key, 0, k.pathsOf(n.c), "object is missing")
		}
		return nil
	}
}

// pathsOf names files that have bytes in a container, and snapshots that need it.
func (k *checker) pathsOf(c namespace.Container) []string {
	const most = 10
	var paths []string
	inos := map[namespace.Inode]bool{}
	for f := range k.m.state.Files() {
		for _, e := range f.Extents {
			if e.Container == c {
				inos[f.Inode] = true
			}
		}
	}
	for p, e := range k.m.state.Paths() {
		if inos[e.Inode] && len(paths) < most {
			paths = append(paths, p)
		}
	}
	for _, s := range k.m.state.Snapshots() {
		if len(paths) < most && (slices.Contains(s.Containers, c) || s.Committed && s.BodyContainer() == c) {
			paths = append(paths, "snapshot "+s.Name)
		}
	}
	return paths
}

// checkRest looks at everything that is there and is not needed.
func (k *checker) checkRest() {
	epoch := k.reader.Epoch()
	orphan := func(key string, of uint64) {
		if of >= epoch && !mutant.On(mutFsckPending) {
			k.r.Pending++
			return
		}
		k.r.Orphans++
		k.r.Orphaned += k.sizes[key]
		k.found(Leak, key, k.sizes[key], nil, "object that nobody needs")
	}
	var images []uint64
	for key := range k.sizes {
		if n, _, ok := journal.ParseImageKey(key); ok {
			images = append(images, n)
		}
	}
	slices.Sort(images)
	for key, size := range k.sizes {
		if _, ok := k.need[key]; ok || key == journal.RootKey {
			continue
		}
		if of, _, _, ok := journal.ParseDataKey(key); ok {
			orphan(key, of)
			continue
		}
		if of, _, _, ok := journal.ParseSnapshotKey(key); ok {
			orphan(key, of)
			continue
		}
		if n, _, ok := journal.ParseImageKey(key); ok {
			if len(images) > 2 && n < images[len(images)-2] && !mutant.On(mutFsckImages) {
				k.r.Orphans++
				k.r.Orphaned += size
				k.found(Leak, key, size, nil, "image older than the two that count")
			}
			continue
		}
		_, frame := journal.ParseFrameKey(key)
		_, _, hold := journal.ParseHeldKey(key)
		_, borrow := journal.ParseBorrowKey(key)
		switch {
		case frame, hold, borrow: // trimmed by its own rules; looked at elsewhere
		case strings.HasPrefix(key, journal.RequestPrefix):
			k.r.Requests++
		case strings.HasPrefix(key, probe.Folder):
			k.found(Leak, key, size, nil, "left by a probe of the store")
		default:
			k.found(Note, key, size, nil, "object that no forst of this version has put here")
		}
	}
}
