package fault

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// ErrInjected is in the chain of every error that a rule makes up.
var ErrInjected = errors.New("injected fault")

// Rule says which requests meet which fault. All conditions that are set must hold. Of the rules that fire for a request
// the first one counts, but for Delay, which adds to what follows, and Omit, which is its own kind.
type Rule struct {
	Ops       []Op             // any of these; empty means all
	Prefix    string           // the key (for a list its prefix, for a delete any key) begins with it
	Glob      string           // the key matches it in the sense of path.Match
	Component driver.Component // made by this component

	// Of the requests for which the above holds, counted from 1:
	Nth   int     // only this one
	After int     // not the first After ones
	Every int     // of the rest only each Every-th
	Times int     // fire at most so often
	Prob  float64 // fire with this probability, by the seed; 0 means always

	Do Action
}

// Action is a fault. Use the functions of this package to make one.
type Action struct {
	kind  actionKind
	err   error
	delay time.Duration
	on    <-chan struct{}
	n     int64
}

type actionKind uint8

const (
	actNone actionKind = iota
	actFail
	actLost
	actLate
	actTwice
	actShort
	actTorn
	actFlip
	actHang
	actDelay
	actOmit
)

// Fail answers err and sends nothing. A nil err is a transient one. Other errors than *driver.Error get kind transient.
func Fail(err error) Action { return Action{kind: actFail, err: err} }

// Throttle is Fail with what a store says when it has too much to do (503).
func Throttle() Action {
	return Fail(&driver.Error{Kind: driver.KindTransient, Err: errors.New("503 Slow Down")})
}

// Reset is Fail with a connection that breaks before the store has the request.
func Reset() Action { return Fail(syscall.ECONNRESET) }

// LostReply lets the request happen and answers err.
func LostReply(err error) Action { return Action{kind: actLost, err: err} }

// Late answers err at once; the request happens in the background after d. Only for put, delete and copy.
func Late(err error, d time.Duration) Action { return Action{kind: actLate, err: err, delay: d} }

// LateOn is Late, at the moment when on is closed or gives a value.
func LateOn(err error, on <-chan struct{}) Action { return Action{kind: actLate, err: err, on: on} }

// Twice lets the request happen and succeed, and happen again after d, as a retried one may. Only for put, delete and copy.
func Twice(d time.Duration) Action { return Action{kind: actTwice, delay: d} }

// TwiceOn is Twice, the second time at the moment when on is closed or gives a value.
func TwiceOn(on <-chan struct{}) Action { return Action{kind: actTwice, on: on} }

// ShortRead lets the reader of a get give n bytes and then err.
func ShortRead(n int64, err error) Action {
	if err == nil {
		err = syscall.ECONNRESET
	}
	return Action{kind: actShort, n: n, err: err}
}

// ShortSilent lets the reader of a get give n bytes and then io.EOF: a broken store.
func ShortSilent(n int64) Action { return Action{kind: actShort, n: n} }

// Torn stores only the first n bytes of a put and answers err; a nil err answers success. A broken store.
func Torn(n int64, err error) Action { return Action{kind: actTorn, n: n, err: err} }

// Flip changes one bit of byte n of what a get reads: a broken store.
func Flip(n int64) Action { return Action{kind: actFlip, n: n} }

// Hang answers when the caller's context ends, and sends nothing.
func Hang() Action { return Action{kind: actHang} }

// Delay makes the request slower.
func Delay(d time.Duration) Action { return Action{kind: actDelay, delay: d} }

// Omit drops keys from lists, silently: a broken store. Prefix and Glob of its rule are about the keys in the list; the
// other conditions are about the list request.
func Omit() Action { return Action{kind: actOmit} }

// ruleState is a rule with its counts.
type ruleState struct {
	Rule
	id int

	mu    sync.Mutex
	seen  int
	fired int
	tries map[string]uint64 // per operation and key, for the seeded choice
}

// decide counts the call and reports whether the rule fires for it.
func (r *ruleState) decide(seed uint64, c *Call) bool {
	if !r.matches(c) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen++
	n := r.seen - r.After
	switch {
	case r.Nth > 0 && r.seen != r.Nth, n <= 0, r.Every > 1 && n%r.Every != 0, r.Times > 0 && r.fired >= r.Times:
		return false
	}
	if r.Prob > 0 {
		// The choice hangs on what is asked and how often it was, not on who came first: two runs of a concurrent
		// program choose alike.
		id := string(c.Op) + " " + c.Key
		r.tries[id]++
		if unit(seed, uint64(r.id), id, r.tries[id]) >= r.Prob {
			return false
		}
	}
	r.fired++
	return true
}

func (r *ruleState) matches(c *Call) bool {
	if len(r.Ops) > 0 && !slices.Contains(r.Ops, c.Op) || r.Component != "" && r.Component != c.Component {
		return false
	}
	if r.Do.kind == actOmit {
		return c.Op == List
	}
	if c.Op == Delete {
		return slices.ContainsFunc(c.Keys, r.matchesKey) || r.Prefix == "" && r.Glob == ""
	}
	return r.matchesKey(c.Key)
}

func (r *ruleState) matchesKey(key string) bool {
	if !strings.HasPrefix(key, r.Prefix) {
		return false
	}
	if r.Glob == "" {
		return true
	}
	ok, err := path.Match(r.Glob, key)
	return ok && err == nil
}

// check reports what is wrong with a rule.
func (r *Rule) check() error {
	if _, err := path.Match(r.Glob, ""); err != nil {
		return fmt.Errorf("fault: glob %q: %w", r.Glob, err)
	}
	if r.Do.kind == actNone {
		return errors.New("fault: a rule without an action (Do)")
	}
	if r.Prob < 0 || r.Prob > 1 || r.Nth < 0 || r.After < 0 || r.Every < 0 || r.Times < 0 {
		return fmt.Errorf("fault: numbers of rule out of range: %+v", *r)
	}
	var only []Op
	switch r.Do.kind {
	case actLate, actTwice:
		only = []Op{Put, Delete, Copy}
	case actTorn:
		only = []Op{Put}
	case actShort, actFlip:
		only = []Op{Get}
	}
	if only != nil && (len(r.Ops) == 0 || slices.ContainsFunc(r.Ops, func(o Op) bool { return !slices.Contains(only, o) })) {
		return fmt.Errorf("fault: this action needs Ops from %v", only)
	}
	return nil
}

// failure makes the error that the caller gets.
func (a Action) failure(c *Call) error {
	e := driver.Error{Op: string(c.Op), Path: c.Key, Kind: driver.KindTransient, Err: a.err}
	var de *driver.Error
	if errors.As(a.err, &de) {
		e.Kind, e.Err = de.Kind, de.Err
	}
	if e.Err == nil {
		e.Err = ErrInjected
	} else {
		e.Err = fmt.Errorf("%w: %w", ErrInjected, e.Err)
	}
	return &e
}
