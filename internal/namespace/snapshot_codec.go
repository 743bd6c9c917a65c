package namespace

import "math"

// appendSnapshots is the section of snapshots; seen numbers the containers that section 3 has spelt.
func (s *State) appendSnapshots(b []byte, seen map[Container]uint64) []byte {
	b = appendUvarint(b, uint64(len(s.snaps)))
	for _, q := range s.snaps {
		b = appendSnapshotID(b, q.ID)
		var flags byte
		if q.Committed {
			flags |= snapCommitted
		}
		if q.Doomed {
			flags |= snapDoomed
		}
		if q.BodyID != q.ID {
			flags |= snapMoved
		}
		b = append(b, flags)
		b = appendString(b, q.Name)
		b = appendString(b, q.Dir)
		b = appendUvarint(b, uint64(q.Time), uint64(q.Expires), q.Frame, uint64(q.Files), uint64(q.Bytes))
		b = appendString(b, string(q.Meta))
		if q.Committed {
			b = appendBodyRef(b, q.Body)
			if q.BodyID != q.ID {
				b = appendSnapshotID(b, q.BodyID)
			}
		}
		b = appendUvarint(b, uint64(len(q.Containers)))
		for i := range q.Containers {
			b = appendRef(b, &q.Containers[i], seen)
		}
	}
	return b
}

const (
	snapCommitted = 1
	snapDoomed    = 2
	snapMoved     = 4
)

func (r *reader) snapshots(s *State, seen []Container) {
	known := make(map[Container]struct{}, len(seen))
	for _, c := range seen {
		known[c] = struct{}{}
	}
	names := make(map[string]bool)
	for range r.count(minSnapshot) {
		q := &Snapshot{ID: r.snapshotID()}
		flags := r.byte()
		q.Committed, q.Doomed = flags&snapCommitted != 0, flags&snapDoomed != 0
		q.Name, q.Dir = r.string(), r.string()
		q.Time, q.Expires, q.Frame = r.int(), r.int(), r.uvarint()
		files := r.int()
		q.Files, q.Bytes = int(files), r.int()
		q.Meta = r.bytes()
		if q.Committed {
			q.Body = r.bodyRef()
		}
		if q.BodyID = q.ID; flags&snapMoved != 0 {
			q.BodyID = r.snapshotID()
		}
		n := r.count(1)
		switch {
		case r.bad, flags&^(snapCommitted|snapDoomed|snapMoved) != 0, !q.Committed && flags != 0, flags&snapMoved != 0 && q.BodyID == q.ID, q.Name == "", len(q.Name) > MaxSnapshotName,
			!validPath(q.Dir), len(q.Meta) > MaxSnapshotMeta, files > math.MaxInt, names[q.Name] && !q.Doomed, s.snapshot(q.ID) != nil,
			q.Committed && (q.Body.Head == 0 || q.Body.Size < int64(q.Body.Head)):
			r.fail()
			return
		}
		names[q.Name] = names[q.Name] || !q.Doomed
		q.Containers = make([]Container, 0, n)
		for i := range n {
			var c Container
			if ref := r.uvarint(); ref > uint64(len(seen)) {
				r.fail()
			} else if ref > 0 {
				c = seen[ref-1]
			} else {
				c = r.container()
				if _, again := known[c]; again {
					r.fail()
				}
				known[c] = struct{}{}
				seen = append(seen, c)
			}
			if r.bad || s.checkContainer(&c) != nil || c.Kind == Frame && q.Committed || i > 0 && q.Containers[i-1].Compare(c) >= 0 {
				r.fail()
				return
			}
			q.Containers = append(q.Containers, c)
		}
		s.snaps = append(s.snaps, q)
		q.pins(s.pin)
	}
	if len(s.snaps) == 0 {
		r.fail() // a body without snapshots has no such section
	}
}
