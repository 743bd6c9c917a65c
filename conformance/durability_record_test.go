package conformance

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

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

// lazyStore holds back the replies to puts.
type lazyStore struct {
	driver.Store
	landed, reply chan struct{}
}

func (s *lazyStore) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	err := s.Store.Put(ctx, key, data, o)
	close(s.landed)
	<-s.reply
	return err
}

// An owner's frame has landed, and its reply is on its way, when the next owner finds it and goes on behind it. No crash leaves what the second one did without
// the first one's frame; a crash before it was found may.
func TestWhatWasSeenHasLanded(t *testing.T) {
	ctx := t.Context()
	b := mem.NewBucket(nil)
	r := &recording{clock: &clock{}}
	open := func() driver.Store {
		s, err := b.Open("")
		must(t, err)
		return s
	}
	for name, look := range map[string]func(s driver.Store, key string) error{
		"get": func(s driver.Store, key string) error {
			_, err := driver.ReadAll(ctx, s, key)
			return err
		},
		"stat": func(s driver.Store, key string) error { return second(s.Stat(ctx, key)) },
		"list": func(s driver.Store, key string) error { return second(driver.ListAll(ctx, s, key, "")) },
		"put": func(s driver.Store, key string) error {
			if err := s.Put(ctx, key, nil, driver.PutOptions{IfAbsent: true}); driver.KindOf(err) != driver.KindExist {
				return fmt.Errorf("a second put: %w", err)
			}
			return nil
		},
	} {
		lazy := &lazyStore{open(), make(chan struct{}), make(chan struct{})}
		over := make(chan error, 1)
		go func() { over <- r.wrap(lazy).Put(ctx, name, []byte("first"), driver.PutOptions{IfAbsent: true}) }()
		<-lazy.landed
		next := r.wrap(open())
		must(t, next.Put(ctx, name+"-before", nil, driver.PutOptions{}))
		must(t, look(next, name))
		must(t, next.Put(ctx, name+"-after", nil, driver.PutOptions{}))
		close(lazy.reply)
		must(t, <-over)
		all := r.ordered()
		for i, m := range all {
			p := pointAt(all, i)
			known := slices.ContainsFunc(p.known, func(x *mutation) bool { return x.keys[0] == name })
			under := slices.ContainsFunc(p.under, func(x *mutation) bool { return x.keys[0] == name })
			switch m.keys[0] {
			case name + "-before":
				if known || !under {
					t.Errorf("%s: before anybody has seen it: known %v, under way %v", name, known, under)
				}
			case name + "-after":
				if !known || under {
					t.Errorf("%s: behind what somebody has seen: known %v, under way %v", name, known, under)
				}
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
