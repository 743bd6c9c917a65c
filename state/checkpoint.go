package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// MaxMeta is the largest user metadata of a snapshot in bytes.
const MaxMeta = 1 << 20

// record commits the snapshot of one backend. It is one object, created if absent and never changed.
type record struct {
	Format  int           `json:"format"`
	ID      uint64        `json:"id"`
	Run     string        `json:"run"`
	Keys    KeyGroups     `json:"keys"`
	Shards  []recordShard `json:"shards"`
	Created time.Time     `json:"created"`
	Bytes   int64         `json:"bytes"`
	Meta    []byte        `json:"meta"`
}

// recordShard is a snapshot of a shard's volume, and the key groups that the backend kept in it.
type recordShard struct {
	Name     string    `json:"name"`
	Snapshot string    `json:"snapshot"`
	Keys     KeyGroups `json:"keys"`
}

const recordFormat = 1

func recordPrefix(id uint64) string { return fmt.Sprintf("checkpoint/%020d/", id) }

func (r *record) key() string {
	run := r.Run
	if run == "" {
		run = "_"
	}
	return fmt.Sprintf("%s%s/%05d-%05d", recordPrefix(r.ID), run, r.Keys.Lo, r.Keys.Hi)
}

func parseRecord(key string, p []byte) (*record, error) {
	var r record
	if err := json.Unmarshal(p, &r); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, key, err)
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("%w: %s has format %d, this program knows %d: use a newer one", ErrIncompatible, key, r.Format, recordFormat)
	}
	bad := r.Keys.validate() != nil || len(r.Shards) == 0 || r.key() != key
	next := r.Keys.Lo
	for _, s := range r.Shards {
		bad = bad || s.Keys.Lo != next || s.Keys.Max != r.Keys.Max || s.Keys.validate() != nil || s.Name == "" || strings.Contains(s.Name, "/")
		next = s.Keys.Hi
	}
	if bad || next != r.Keys.Hi {
		return nil, fmt.Errorf("%w: %s does not fit its name or its key groups", ErrCorrupt, key)
	}
	return &r, nil
}

// putRecord commits. created false without an error: the record of another process is there. An error leaves the outcome unknown.
func putRecord(ctx context.Context, root driver.Store, r *record) (created bool, err error) {
	p, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	key := r.key()
	for try := 0; ; try++ {
		err = root.Put(ctx, key, p, driver.PutOptions{IfAbsent: true})
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil || driver.KindOf(err) == driver.KindInvalid {
			return false, err
		}
		// It may be there all the same, and "exists" may be this very request's own first attempt: read it back.
		got, readErr := driver.ReadAll(ctx, root, key)
		switch {
		case readErr == nil:
			return bytes.Equal(got, p), nil
		case driver.KindOf(readErr) != driver.KindNotExist || try == 3:
			return false, errors.Join(err, readErr)
		}
	}
}

// Checkpoint is what all instances of one run have committed under one number.
type Checkpoint struct {
	ID        uint64
	Run       string
	Keys      int  // number of key groups of the job
	Complete  bool // the instances cover all key groups: it can be restored
	Created   time.Time
	Bytes     int64 // logical size
	Instances []CheckpointInstance
	records   []*record
}

// CheckpointInstance is the part of one backend.
type CheckpointInstance struct {
	Keys KeyGroups
	Meta []byte // what was given to Snapshot
}

// Checkpoints lists the checkpoints below root, in the order of their numbers, complete or not. It reads every record.
func Checkpoints(ctx context.Context, root driver.Store) ([]Checkpoint, error) {
	return checkpoints(ctx, root, "checkpoint/")
}

func checkpoints(ctx context.Context, root driver.Store, prefix string) ([]Checkpoint, error) {
	infos, err := driver.ListAll(ctx, root, prefix, "")
	if err != nil {
		return nil, err
	}
	var out []Checkpoint
	for _, i := range infos {
		p, err := driver.ReadAll(ctx, root, i.Key)
		if driver.KindOf(err) == driver.KindNotExist {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		r, err := parseRecord(i.Key, p)
		if err != nil {
			return nil, err
		}
		if n := len(out) - 1; n < 0 || out[n].ID != r.ID || out[n].Run != r.Run {
			out = append(out, Checkpoint{ID: r.ID, Run: r.Run, Keys: r.Keys.Max})
		}
		c := &out[len(out)-1]
		c.records = append(c.records, r)
		c.Instances = append(c.Instances, CheckpointInstance{r.Keys, r.Meta})
		c.Bytes += r.Bytes
		if r.Created.After(c.Created) {
			c.Created = r.Created
		}
	}
	for i := range out {
		out[i].Complete = out[i].covers()
	}
	return out, nil
}

// covers says whether the records cover all key groups, each once; they are sorted by range, because their names are.
func (c *Checkpoint) covers() bool {
	next := 0
	for _, r := range c.records {
		if (r.Keys.Lo != next || r.Keys.Max != c.Keys) && !mutant.On(mutNoRange) {
			return false
		}
		next = r.Keys.Hi
	}
	return next == c.Keys || mutant.On(mutNoRange)
}

// Latest is the complete checkpoint with the highest number; ErrNoCheckpoint if there is none.
func Latest(ctx context.Context, root driver.Store) (Checkpoint, error) {
	all, err := Checkpoints(ctx, root)
	if err != nil {
		return Checkpoint{}, err
	}
	for _, c := range slices.Backward(all) {
		if c.Complete {
			return c, nil
		}
	}
	return Checkpoint{}, fmt.Errorf("%w: none is complete", ErrNoCheckpoint)
}

// find gives a complete checkpoint by its number and, if several runs have one, run.
func findCheckpoint(ctx context.Context, root driver.Store, id uint64, run string) (Checkpoint, error) {
	all, err := checkpoints(ctx, root, recordPrefix(id))
	if err != nil {
		return Checkpoint{}, err
	}
	all = slices.DeleteFunc(all, func(c Checkpoint) bool { return !c.Complete || run != "" && c.Run != run })
	switch len(all) {
	case 0:
		return Checkpoint{}, fmt.Errorf("%w: %d is not there, or not complete", ErrNoCheckpoint, id)
	case 1:
		return all[0], nil
	}
	return Checkpoint{}, fmt.Errorf("%w: several runs have a checkpoint %d (%q and %q): choose with Options.RestoreRun", ErrNoCheckpoint, id, all[0].Run, all[1].Run)
}
