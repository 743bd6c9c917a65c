package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Import reads savepoints into a backend in which no state is declared yet. To go from n instances to m, whatever their maximum
// parallelism, each of the m imports what all n exported: keys of other instances are skipped. It returns the number of records
// taken. After an error the backend holds a part: close it and begin with a new one.
func (b *Backend) Import(ctx context.Context, from ...io.Reader) (n int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return 0, ErrClosed
	}
	if len(b.list) > 0 {
		return 0, errors.New("import before any state is declared")
	}
	for i, r := range from {
		im := &importer{b: b, batch: map[*shard]*request{}}
		err := readSavepoint(r, im.head, func(e savepointEntry) error {
			if im.seen++; im.seen%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			return im.entry(e)
		})
		if err == nil {
			err = im.flush()
		}
		n += im.n
		if err != nil {
			return n, fmt.Errorf("savepoint %d: %w", i, err)
		}
	}
	return n, nil
}

type importer struct {
	b       *Backend
	states  []savepointState
	ids     []map[*shard]importedAs
	batch   map[*shard]*request
	n, seen int64
}

// importedAs says what a state of the savepoint is in a database.
type importedAs struct {
	id     uint16
	epochs []byte
}

// head puts the states into the schemas.
func (im *importer) head(h savepointHead) error {
	im.states = h.States
	for _, st := range h.States {
		if err := checkName(st.Name); err != nil {
			return fmt.Errorf("%w: savepoint: %w", ErrCorrupt, err)
		}
		in, number := map[*shard]importedAs{}, im.b.numberFor(st.Name)
		for _, s := range im.b.shards {
			as, err := s.schema.imported(st, number)
			if err != nil {
				return err
			}
			in[s] = as
		}
		im.ids = append(im.ids, in)
	}
	for _, s := range im.b.shards {
		v, err := json.Marshal(s.schema)
		if err != nil {
			return err
		}
		r := &request{}
		r.set(schemaKey, v)
		if err := s.apply(r); err != nil {
			return err
		}
	}
	return nil
}

// imported adds a state of a savepoint.
func (sc *schema) imported(st savepointState, next uint16) (importedAs, error) {
	var as importedAs
	switch st.Kind {
	case KindValue, KindList, KindMap, KindReducing, KindAggregating, KindTimers:
	default:
		return as, fmt.Errorf("%w: savepoint: state %q is of kind %q", ErrIncompatible, st.Name, st.Kind)
	}
	if len(st.Epochs) == 0 || len(st.Epochs) > maxEpoch {
		return as, fmt.Errorf("%w: savepoint: state %q has %d schemas", ErrCorrupt, st.Name, len(st.Epochs))
	}
	i := slices.IndexFunc(sc.States, func(s stateSchema) bool { return s.Name == st.Name })
	if i < 0 {
		if _, _, err := sc.declare(st.Name, st.Kind, st.Epochs[0], st.TTL, false, next); err != nil {
			return as, err
		}
		i = len(sc.States) - 1
	}
	have := &sc.States[i]
	if have.Kind != st.Kind || have.Epochs[0].MapKey != st.Epochs[0].MapKey {
		return as, fmt.Errorf("%w: state %q is a %s in one savepoint and a %s in another", ErrIncompatible, st.Name, have.Kind, st.Kind)
	}
	as.id = have.ID
	for _, ep := range st.Epochs {
		as.epochs = append(as.epochs, byte(indexOrAppend(&have.Epochs, ep)+1))
	}
	if len(have.Epochs) > maxEpoch {
		return as, fmt.Errorf("%w: state %q: more than %d schemas", ErrIncompatible, st.Name, maxEpoch)
	}
	return as, nil
}

func (im *importer) entry(e savepointEntry) error {
	keys := im.b.o.Keys
	group := KeyGroup(e.key, keys.Max)
	if !keys.Contains(group) {
		return nil
	}
	s := im.b.route[group-keys.Lo]
	as, kind, sc := im.ids[e.state][s], im.states[e.state].Kind, Scope{e.key, e.ns}
	r := im.batch[s]
	if r == nil {
		r = &request{}
		im.batch[s] = r
	}
	if kind == KindTimers {
		if len(e.user) != 8 || len(e.record) > 0 {
			return fmt.Errorf("%w: savepoint: a timer", ErrCorrupt)
		}
		r.set(keys.appendTimer(nil, group, as.id, readInt64(e.user), sc), []byte{})
	} else {
		if kind != KindMap && len(e.user) > 0 {
			return fmt.Errorf("%w: savepoint: a %s with a key of a map", ErrCorrupt, kind)
		}
		raw, err := renumber(kind, e.record, as.epochs)
		if err != nil {
			return err
		}
		r.set(append(keys.appendScope(nil, group, as.id, sc), e.user...), raw)
	}
	im.n++
	if r.opBytes >= im.b.o.BatchBytes {
		return im.flush()
	}
	return nil
}

func (im *importer) flush() error {
	for s, r := range im.batch {
		if err := s.apply(r); err != nil {
			return err
		}
	}
	clear(im.batch)
	return nil
}
