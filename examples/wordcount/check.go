package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/state"
)

// check restores the last checkpoint into this process and compares it with a count of its own.
func (j *job) check(ctx context.Context, root driver.Store) (err error) {
	last, err := state.Latest(ctx, root)
	if err != nil {
		return err
	}
	b, err := state.Restore(ctx, root, last.ID, &state.Options{Keys: state.AllKeys(keyGroups), Run: "check", RestoreRun: last.Run})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	counts, err := newCounts(b)
	if err != nil {
		return err
	}
	want := map[string]int64{}
	words := int64(0)
	if err := j.source(0, func(_ int, line string) error {
		for _, w := range strings.Fields(line) {
			want[w]++
			words++
		}
		return nil
	}); err != nil {
		return err
	}
	wrong := 0
	for w, n := range want {
		got, _, err := counts.Get(ctx, state.Key(w))
		if err != nil {
			return err
		}
		if got != n {
			wrong++
			fmt.Printf("  %q was counted %d times, not %d\n", w, got, n)
		}
	}
	fmt.Printf("checkpoint %d: %d words, %d different ones, %d counted wrongly\n", last.ID, words, len(want), wrong)
	if wrong > 0 {
		return errors.New("words were lost or counted twice")
	}
	return nil
}
