package conformance

import "testing"

// A put that was under way while another owner's sweep deleted its object may have landed before or after: nothing is known of the key.
func TestChangesAtOnceAreUnknown(t *testing.T) {
	r := &recording{all: []*mutation{
		{start: 1, end: 6, keys: []string{"at once"}},
		{start: 3, end: 4, keys: []string{"at once"}, remove: true},
		{start: 1, end: 2, keys: []string{"after"}},
		{start: 3, end: 4, keys: []string{"after"}, remove: true},
		{start: 1, end: never, keys: []string{"under way"}},
	}}
	last := r.last()
	if last["at once"] != nil || last["under way"] != nil || len(last) != 1 {
		t.Errorf("%v", last)
	}
	if m := last["after"]; m == nil || !m.remove {
		t.Errorf("after: %+v", m)
	}
}
