package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// Subsume forgets this backend's part of its run's checkpoints with lower numbers than id: call it in each instance when checkpoint id is
// complete. Their records go first, so nobody finds half of one; then what only they needed is deleted. Checkpoints of other runs, that this one was
// restored from for example, are RemoveCheckpoint's and Clean's.
func (b *Backend) Subsume(ctx context.Context, id uint64) error {
	if err := b.snaps.begin(b); err != nil {
		return err
	}
	defer b.snaps.wg.Done()
	all, err := Checkpoints(ctx, b.root)
	if err != nil {
		return err
	}
	return b.subsume(ctx, id, all)
}

// retain is what Options.KeepLast and KeepFor ask for, after a snapshot of this backend was committed. Only complete checkpoints count: while another
// instance is behind, the last ones that can be restored stay.
func (b *Backend) retain(ctx context.Context) error {
	if b.o.KeepLast == 0 && b.o.KeepFor == 0 {
		return nil
	}
	all, err := Checkpoints(ctx, b.root)
	if err != nil {
		return err
	}
	whole := slices.DeleteFunc(slices.Clone(all), func(c Checkpoint) bool {
		return c.Run != b.o.Run || !c.Complete && !mutant.On(mutRetainAll)
	})
	first := len(whole) - max(1, b.o.KeepLast)
	if first < 0 {
		return nil
	}
	for first > 0 && whole[first-1].Created.Add(b.o.KeepFor).After(b.o.Clock()) {
		first--
	}
	return b.subsume(ctx, whole[first].ID, all) // with what is older and was never completed
}

func (b *Backend) subsume(ctx context.Context, id uint64, all []Checkpoint) error {
	b.bases.removing.Lock()
	defer b.bases.removing.Unlock()
	var errs []error
	for _, c := range all {
		for _, r := range c.records {
			if c.ID >= id || c.Run != b.o.Run || r.Keys != b.o.Keys {
				continue
			}
			if err := b.root.Delete(ctx, []string{r.key()}); err != nil {
				errs = append(errs, err)
				continue
			}
			for _, rs := range r.Shards {
				vol := b.bases.volume(rs.Name)
				if vol == nil {
					continue // of a backend of the same run that died: see Clean
				}
				if err := removeUnheld(ctx, vol, rs.Snapshot); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}
	return errors.Join(append(errs, b.bases.reapLocked(ctx))...)
}

// removeUnheld removes a snapshot that no clone borrows from. One that is borrowed from has to stay as it is: a doomed one could not be lent to the clones of
// its clones, and they could not be restored any more.
func removeUnheld(ctx context.Context, v *forstfs.FS, id string) error {
	all, err := v.SnapshotSizes(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.ID == id && s.Holds == 0 && !s.Doomed {
			if err := v.RemoveSnapshot(ctx, id); err != nil && !errors.Is(err, forstfs.ErrNoSnapshot) {
				return err
			}
		}
	}
	return nil
}

// RemoveCheckpoint forgets a checkpoint of a run, whoever made it. Backends that were restored from it keep what they borrow. Clean frees the bytes.
func RemoveCheckpoint(ctx context.Context, root driver.Store, id uint64, run string) error {
	all, err := checkpoints(ctx, root, recordPrefix(id))
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(c Checkpoint) bool { return c.Run == run })
	if i < 0 {
		return fmt.Errorf("%w: %d of run %q", ErrNoCheckpoint, id, run)
	}
	var keys []string
	for _, r := range all[i].records {
		keys = append(keys, r.key())
	}
	return root.Delete(ctx, keys)
}

// Cleaned is what Clean did.
type Cleaned struct {
	Dropped   []string // shards that nobody needed
	Kept      []string // shards of dead runs that checkpoints or clones still need
	Snapshots int      // snapshots in them that were removed
}

// Clean frees what dead runs have left behind: shards that neither a checkpoint nor a durable backend names and no clone borrows from, and snapshots in
// the others that no checkpoint names. alive are the runs whose backends may be at work, or about to be; their shards are not touched. A process of a run
// that is not in alive is fenced.
func Clean(ctx context.Context, root driver.Store, alive ...string) (Cleaned, error) {
	var done Cleaned
	named, err := namedShards(ctx, root)
	if err != nil {
		return done, err
	}
	var errs []error
	for after := ""; ; {
		name, err := nextShard(ctx, root, after)
		if err != nil || name == "" {
			return done, errors.Join(append(errs, err)...)
		}
		after = name
		run := name[:max(0, strings.LastIndex(name, "-"))]
		if slices.Contains(alive, run) || named[name]["*"] {
			continue
		}
		if err := done.clean(ctx, root, name, named[name]); err != nil {
			errs = append(errs, fmt.Errorf("shard %s: %w", name, err))
		}
	}
}

// namedShards gives the snapshots that records name, by shard; "*" for shards of durable backends.
func namedShards(ctx context.Context, root driver.Store) (map[string]map[string]bool, error) {
	named := map[string]map[string]bool{}
	add := func(name, snapshot string) {
		if named[name] == nil {
			named[name] = map[string]bool{}
		}
		named[name][snapshot] = true
	}
	all, err := Checkpoints(ctx, root)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		for _, r := range c.records {
			for _, s := range r.Shards {
				add(s.Name, s.Snapshot)
			}
		}
	}
	infos, err := driver.ListAll(ctx, root, "backend/", "")
	if err != nil {
		return nil, err
	}
	for _, i := range infos {
		p, err := driver.ReadAll(ctx, root, i.Key)
		if err != nil {
			return nil, err
		}
		var a assignment
		if err := json.Unmarshal(p, &a); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, i.Key, err)
		}
		for _, s := range a.Shards {
			add(s.Name, "*")
		}
	}
	return named, nil
}

// nextShard is the name of the first shard behind after, "" behind the last: one request for each shard, however many objects it has.
func nextShard(ctx context.Context, root driver.Store, after string) (string, error) {
	from := ""
	if after != "" {
		from = shardPrefix(after) + "zz" // behind all keys of a volume, the last of which is "volume"
	}
	for i, err := range root.List(ctx, "shard/", from) {
		if err != nil {
			return "", err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(i.Key, "shard/"), "/")
		return name, nil
	}
	return "", nil
}

func (d *Cleaned) clean(ctx context.Context, root driver.Store, name string, keep map[string]bool) error {
	s := below(root, shardPrefix(name))
	o := &forstfs.Options{Name: "shard " + name, CacheBytes: -1, OpenStore: siblings(root)}
	if _, err := forstfs.CollectHolds(ctx, s, &forstfs.HoldsOptions{Options: o}); err != nil && !errors.Is(err, forstfs.ErrNoVolume) && !errors.Is(err, forstfs.ErrDropped) {
		return err
	}
	v, err := forstfs.Open(ctx, s, o)
	if errors.Is(err, forstfs.ErrDropped) || errors.Is(err, forstfs.ErrNoVolume) {
		return nil // what is left of one that was dropped, or of a clone that was never born
	}
	if err != nil {
		return err
	}
	snaps, err := v.Snapshots(ctx)
	if err != nil {
		return errors.Join(err, v.Close())
	}
	for _, sn := range snaps {
		if !keep[sn.ID] {
			if err := removeUnheld(ctx, v, sn.ID); err != nil {
				return errors.Join(err, v.Close())
			}
		}
	}
	left, err := v.Snapshots(ctx)
	if err != nil {
		return errors.Join(err, v.Close())
	}
	d.Snapshots += len(snaps) - len(left)
	if len(left) > 0 {
		d.Kept = append(d.Kept, name)
		return v.Close()
	}
	d.Dropped = append(d.Dropped, name)
	return errors.Join(v.Drop(ctx), v.Close())
}
