package state

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Kind is the type of a state.
type Kind string

const (
	KindValue       Kind = "value"
	KindList        Kind = "list"
	KindMap         Kind = "map"
	KindReducing    Kind = "reducing"
	KindAggregating Kind = "aggregating"
	KindTimers      Kind = "timers"
)

// Schema says how the records of one epoch of a state were written.
type Schema struct {
	Codec   string `json:"codec"`            // of the value, element or accumulator
	Version uint32 `json:"version"`          // of the value's type, as the descriptor said
	MapKey  string `json:"mapKey,omitempty"` // codec of the keys of a map
}

// schema is the schema record of a database.
type schema struct {
	Format         int           `json:"format"`
	MaxParallelism int           `json:"maxParallelism"`
	States         []stateSchema `json:"states"`
}

type stateSchema struct {
	ID     uint16   `json:"id"`
	Name   string   `json:"name"`
	Kind   Kind     `json:"kind"`
	TTL    bool     `json:"ttl,omitempty"` // told by exports; the TTL itself is the descriptor's
	Epochs []Schema `json:"epochs"`        // epoch n is Epochs[n-1]
}

const schemaFormat = 1

// readSchema reads the schema record; a new database has none.
func (s *database) readSchema(maxParallelism int) (*schema, error) {
	v, err := s.get(schemaKey)
	if err != nil || v == nil {
		return &schema{Format: schemaFormat, MaxParallelism: maxParallelism}, err
	}
	return parseSchema(v, maxParallelism)
}

func parseSchema(v []byte, maxParallelism int) (*schema, error) {
	var sc schema
	if err := json.Unmarshal(v, &sc); err != nil {
		return nil, fmt.Errorf("%w: schema record: %w", ErrCorrupt, err)
	}
	switch {
	case sc.Format != schemaFormat:
		return nil, fmt.Errorf("%w: the schema record has format %d, this program knows %d: use a newer one", ErrIncompatible, sc.Format, schemaFormat)
	case sc.MaxParallelism != maxParallelism:
		return nil, fmt.Errorf("%w: the state has %d key groups, Options.Keys says %d: they are fixed; export and import to change them", ErrIncompatible, sc.MaxParallelism, maxParallelism)
	}
	for i, st := range sc.States {
		if st.ID == 0 || st.Name == "" || len(st.Epochs) == 0 || len(st.Epochs) > maxEpoch ||
			slices.ContainsFunc(sc.States[:i], func(o stateSchema) bool { return o.ID == st.ID || o.Name == st.Name }) {
			return nil, fmt.Errorf("%w: schema record: state %d", ErrCorrupt, i)
		}
	}
	return &sc, nil
}

// declare compares a descriptor with the schema, or adds it under the number next. changed: the record must be written.
func (sc *schema) declare(name string, kind Kind, want Schema, ttl, upgrades bool, next uint16) (st stateSchema, changed bool, err error) {
	i := slices.IndexFunc(sc.States, func(s stateSchema) bool { return s.Name == name })
	if i < 0 {
		if next == 0 {
			return st, false, fmt.Errorf("%w: a database holds at most 65535 states", ErrIncompatible)
		}
		st = stateSchema{ID: next, Name: name, Kind: kind, TTL: ttl, Epochs: []Schema{want}}
		sc.States = append(sc.States, st)
		return st, true, nil
	}
	st = sc.States[i]
	have := st.Epochs[len(st.Epochs)-1]
	refuse := func(format string, args ...any) (stateSchema, bool, error) {
		return st, false, fmt.Errorf("%w: state %q: %s", ErrIncompatible, name, fmt.Sprintf(format, args...))
	}
	switch {
	case st.Kind != kind:
		return refuse("it is a %s, the descriptor says %s: choose another name", st.Kind, kind)
	case have.MapKey != want.MapKey:
		return refuse("its map keys were written by codec %q, the descriptor has %q: their order cannot change in place: declare another name, and bring the entries over", have.MapKey, want.MapKey)
	case have == want && len(st.Epochs) > 1 && !upgrades:
		return refuse("it may hold records of older schemas (%+v), and the descriptor has no Upgrade", st.Epochs[:len(st.Epochs)-1])
	case have == want:
	case !upgrades:
		return refuse("its values were written by codec %q version %d, the descriptor has %q version %d and no Upgrade", have.Codec, have.Version, want.Codec, want.Version)
	case len(st.Epochs) == maxEpoch:
		return refuse("it has had %d schemas, which is all that records can tell apart: declare another name, and bring the records over", maxEpoch)
	default:
		st.Epochs = append(slices.Clone(st.Epochs), want)
		changed = true
	}
	if st.TTL != ttl {
		st.TTL, changed = ttl, true
	}
	sc.States[i] = st
	return st, changed, nil
}

// numberFor is the number that a state gets in the databases that do not know it: that of the others, if it is free everywhere, or one that none has. So
// databases of one backend number their states alike, and Consolidate can join them.
func (b *Backend) numberFor(name string) uint16 {
	number, next := uint16(0), uint16(1)
	for _, s := range b.shards {
		for _, st := range s.schema.States {
			if st.Name == name {
				number = st.ID
			}
			if next != 0 { // which says that there is none left
				next = max(next, st.ID+1)
			}
		}
	}
	taken := func(s *shard) bool {
		return slices.ContainsFunc(s.schema.States, func(st stateSchema) bool { return st.ID == number && st.Name != name })
	}
	if number == 0 || slices.ContainsFunc(b.shards, taken) {
		return next
	}
	return number
}

// joined is one schema for all that several databases hold. Where two of them mean different things by a number, or write a state differently, there is none.
func joined(all []*database) (*schema, error) {
	sc := &schema{Format: schemaFormat, MaxParallelism: all[0].schema.MaxParallelism}
	for _, d := range all {
		for _, st := range d.schema.States {
			i := slices.IndexFunc(sc.States, func(o stateSchema) bool { return o.ID == st.ID || o.Name == st.Name })
			if i < 0 {
				sc.States = append(sc.States, st)
				continue
			}
			have := &sc.States[i]
			if have.ID != st.ID || have.Name != st.Name || have.Kind != st.Kind || !slices.Equal(have.Epochs, st.Epochs) {
				return nil, fmt.Errorf("%w: state %q has number %d and schemas %+v in one database, state %q has %d and %+v in another",
					ErrIncompatible, have.Name, have.ID, have.Epochs, st.Name, st.ID, st.Epochs)
			}
			have.TTL = have.TTL || st.TTL
		}
	}
	return sc, nil
}

// declare declares a state in the shard's database. The record is in the memtable, or in the WAL, before any record of the state is.
func (s *shard) declare(name string, kind Kind, want Schema, ttl, upgrades bool, next uint16) (stateIn, error) {
	st, changed, err := s.schema.declare(name, kind, want, ttl, upgrades, next)
	if err != nil {
		return stateIn{}, err
	}
	if changed {
		v, err := json.Marshal(s.schema)
		if err != nil {
			return stateIn{}, err
		}
		r := &request{}
		r.set(schemaKey, v)
		if err := s.apply(r); err != nil {
			return stateIn{}, err
		}
	}
	return stateIn{id: st.ID, epoch: byte(len(st.Epochs)), epochs: st.Epochs}, nil
}

// stateIn is a state in one database.
type stateIn struct {
	id     uint16
	epoch  byte
	epochs []Schema
}

// checkName: names show in metrics, exports and messages.
func checkName(name string) error {
	if name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("state name %q: 1 to 255 bytes without control characters", name)
	}
	return nil
}
