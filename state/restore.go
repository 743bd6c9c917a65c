package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// Restore makes a backend with the state of checkpoint id for the key groups of o.Keys, from however many instances it was made. It copies no data: its
// shards are clones that borrow the tables. The checkpoint stays as it is, and can be restored any number of times. The backend's own changes
// are in its own shards; they become durable as after Create.
//
// Errors: ErrNoCheckpoint, ErrIncompatible.
func Restore(ctx context.Context, root driver.Store, id uint64, o *Options) (*Backend, error) {
	b, err := open(ctx, root, o, func(b *Backend) error {
		c, err := findCheckpoint(ctx, root, id, b.o.RestoreRun)
		if err != nil {
			return err
		}
		b.restored = c
		return b.restore(ctx, c)
	})
	if err != nil {
		return nil, fmt.Errorf("restore checkpoint %d: %w", id, err)
	}
	return b, nil
}

// Restored is the checkpoint that the backend was made from, with the metadata of all its instances; the zero value after Create.
func (b *Backend) Restored() Checkpoint { return b.restored }

func (b *Backend) restore(ctx context.Context, c Checkpoint) error {
	if c.Keys != b.o.Keys.Max {
		return fmt.Errorf("%w: the checkpoint has %d key groups, Options.Keys says %d: they are fixed; export and import to change them", ErrIncompatible, c.Keys, b.o.Keys.Max)
	}
	var parts []*part
	for _, r := range c.records {
		for _, s := range r.Shards {
			if keys, some := s.Keys.Meet(b.o.Keys); some {
				parts = append(parts, &part{name: b.newShard(), keys: keys, from: s, number: len(parts)})
			}
		}
	}
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() { p.err = p.clone(ctx, b) })
	}
	wg.Wait()
	return b.addParts(parts)
}

// part is a shard that is being opened.
type part struct {
	name   string
	keys   KeyGroups
	from   recordShard // "" if it is not a clone
	number int
	shard  *shard
	err    error
}

func (b *Backend) addParts(parts []*part) error {
	var errs []error
	for _, p := range parts {
		if p.err != nil {
			errs = append(errs, fmt.Errorf("shard %s: %w", p.name, p.err))
			continue
		}
		b.shards = append(b.shards, p.shard)
		b.bases.add(p.shard.database)
		for g := p.keys.Lo; g < p.keys.Hi; g++ {
			b.route[g-b.o.Keys.Lo] = p.shard
		}
	}
	return errors.Join(errs...)
}

// clone makes the part's shard out of a snapshot of another shard.
func (p *part) clone(ctx context.Context, b *Backend) error {
	src, dst := below(b.root, shardPrefix(p.from.Name)), below(b.root, shardPrefix(p.name))
	vo := b.volumeOptions(p.name, forstfs.MustExist)
	if _, err := forstfs.Clone(ctx, src, p.from.Snapshot, dst, &forstfs.CloneOptions{
		Options: vo, SourceURL: "../" + p.from.Name, CloneURL: "../" + p.name,
	}); err != nil {
		return err
	}
	vol, err := forstfs.Open(ctx, dst, vo)
	if err != nil {
		return err
	}
	if err := dropLogs(ctx, vol); err != nil {
		return errors.Join(err, vol.Close())
	}
	if p.shard, err = openShard(p.number, p.name, p.keys, vol, b.o, b.memory); err != nil {
		return err
	}
	if p.keys == p.from.Keys {
		return nil
	}
	if err := p.shard.cutOff(ctx); err != nil {
		return errors.Join(err, p.shard.close())
	}
	return nil
}

// dropLogs removes the engine's logs: everything up to the snapshot's seal is in tables, and what a log holds is newer.
func dropLogs(ctx context.Context, vol *forstfs.FS) error {
	names, err := vol.List(ctx, dbDir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".log") {
			if err := vol.Remove(ctx, path.Join(dbDir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutOff takes key groups that are not the shard's out of its database: a change of metadata, after which no compaction carries them on. They are never
// asked for in any case.
func (s *shard) cutOff(ctx context.Context) error {
	lower, upper := s.keys.bounds()
	if mutant.On(mutBorder) {
		upper = s.keys.appendGroup(nil, s.keys.Hi-1)
	}
	keep := []pebble.KeyRange{{Start: lower, End: upper}, {Start: []byte{metaKey}, End: []byte{metaKey, 0xff}}}
	return pebblev2.Restrict(ctx, s.db, keep, pebble.DefaultComparer)
}

// siblings opens the stores of other shards: shards record one another's places as "../name".
func siblings(root driver.Store) func(context.Context, string) (driver.Store, error) {
	return func(_ context.Context, location string) (driver.Store, error) {
		name := path.Base(location)
		if strings.Trim(name, ".") == "" || strings.Contains(location, ":") {
			return nil, fmt.Errorf("%q is not the place of a shard", location)
		}
		return below(root, shardPrefix(name)), nil
	}
}

// assignment says which shards a durable backend has. The newest counts.
type assignment struct {
	Format int           `json:"format"`
	Keys   KeyGroups     `json:"keys"`
	Shards []recordShard `json:"shards"`
}

func assignmentPrefix(name string) string { return "backend/" + name + "/" }

// assign makes a durable backend found by Open.
func (b *Backend) assign(ctx context.Context) error {
	if !b.o.Durable || b.o.Name == "" {
		return nil
	}
	a := assignment{Format: recordFormat, Keys: b.o.Keys}
	for _, s := range b.shards {
		a.Shards = append(a.Shards, recordShard{Name: s.name, Keys: s.keys})
	}
	p, err := json.Marshal(a)
	if err != nil {
		return err
	}
	all, err := driver.ListAll(ctx, b.root, assignmentPrefix(b.o.Name), "")
	if err != nil {
		return err
	}
	key := fmt.Sprintf("%s%020d", assignmentPrefix(b.o.Name), len(all)) // none is ever removed
	err = b.root.Put(ctx, key, p, driver.PutOptions{IfAbsent: true})
	if err == nil {
		return nil
	}
	got, readErr := driver.ReadAll(ctx, b.root, key)
	if readErr == nil && string(got) == string(p) {
		return nil // the reply was lost
	}
	return fmt.Errorf("assign shards to backend %q: %w", b.o.Name, errors.Join(err, readErr))
}

// Open opens a durable backend by its name (Options.Name), with everything in it that was acknowledged. It takes the shards over: whoever had them
// open fails with forstfs.ErrFenced. o.Keys must be what they were.
func Open(ctx context.Context, root driver.Store, o *Options) (*Backend, error) {
	return open(ctx, root, o, func(b *Backend) error {
		if !b.o.Durable || b.o.Name == "" {
			return errors.New("open: only a backend with Options.Durable and Options.Name can be opened again; use Restore")
		}
		all, err := driver.ListAll(ctx, root, assignmentPrefix(b.o.Name), "")
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return fmt.Errorf("%w: there is no durable backend %q", ErrNoCheckpoint, b.o.Name)
		}
		p, err := driver.ReadAll(ctx, root, all[len(all)-1].Key)
		if err != nil {
			return err
		}
		var a assignment
		if err := json.Unmarshal(p, &a); err != nil || a.Format != recordFormat {
			return fmt.Errorf("%w: %s", ErrCorrupt, all[len(all)-1].Key)
		}
		if a.Keys != b.o.Keys {
			return fmt.Errorf("%w: backend %q has key groups %v, Options.Keys says %v", ErrIncompatible, b.o.Name, a.Keys, b.o.Keys)
		}
		b.found = true
		for i, s := range a.Shards {
			vol, err := b.openVolume(ctx, s.Name, forstfs.MustExist)
			if err != nil {
				return err
			}
			sh, err := openShard(i, s.Name, s.Keys, vol, b.o, b.memory)
			if err := b.addParts([]*part{{name: s.Name, keys: s.Keys, shard: sh, err: err}}); err != nil {
				return err
			}
		}
		return nil
	})
}
