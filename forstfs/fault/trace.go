package fault

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/forst-go/forst/forstfs/driver"
)

// Trace records the requests that pass a Store, in the order in which they come. The zero value is ready; Rename, if set,
// must be set before use. It may be shared by several stores.
type Trace struct {
	// Rename gives what is shown for a key, to take random parts out of golden files.
	Rename func(key string) string

	mu    sync.Mutex
	calls []*traced
}

type traced struct {
	Call
	over bool
	kind string // of the error, empty for success
}

func (t *Trace) begin(c Call) *traced {
	if t == nil {
		return nil
	}
	e := &traced{Call: c}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls = append(t.calls, e)
	return e
}

func (t *Trace) end(e *traced, err error) {
	if e == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e.over = true
	switch {
	case err == nil:
	case driver.IsCanceled(err):
		e.kind = "cancelled"
	default:
		e.kind = driver.KindOf(err).String()
	}
}

// Reset forgets what was recorded.
func (t *Trace) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls = nil
}

// Len is the number of requests recorded.
func (t *Trace) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.calls)
}

// Count is the number of requests of op whose key begins with prefix. An empty op counts all.
func (t *Trace) Count(op Op, prefix string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, e := range t.calls {
		if (op == "" || e.Op == op) && strings.HasPrefix(e.Key, prefix) {
			n++
		}
	}
	return n
}

// Calls copies what was recorded.
func (t *Trace) Calls() []Call {
	t.mu.Lock()
	defer t.mu.Unlock()
	calls := make([]Call, len(t.calls))
	for i, e := range t.calls {
		calls[i] = e.Call
	}
	return calls
}

// String gives one line per request: component, operation, key, what was asked for, and the kind of the error.
func (t *Trace) String() string { return strings.Join(t.lines(), "") }

// Sorted is String with sorted lines, for requests whose order is not fixed.
func (t *Trace) Sorted() string {
	lines := t.lines()
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func (t *Trace) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	show := func(key string) string {
		if t.Rename != nil && key != "" {
			return t.Rename(key)
		}
		return key
	}
	lines := make([]string, len(t.calls))
	for i, e := range t.calls {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s %s", e.Component, e.Op, show(e.Key))
		switch e.Op {
		case Put:
			fmt.Fprintf(&b, " %d B", e.Bytes)
			if e.IfAbsent {
				b.WriteString(" if absent")
			}
		case Get:
			if e.N < 0 {
				fmt.Fprintf(&b, " %d+", e.Off)
			} else {
				fmt.Fprintf(&b, " %d+%d", e.Off, e.N)
			}
		case List:
			if e.After != "" {
				fmt.Fprintf(&b, " after %s", show(e.After))
			}
		case Delete:
			fmt.Fprintf(&b, " (%d keys)", len(e.Keys))
		case Copy:
			fmt.Fprintf(&b, " from %s", show(e.From))
		}
		switch {
		case !e.over:
			b.WriteString(": under way")
		case e.kind != "":
			b.WriteString(": " + e.kind)
		}
		lines[i] = b.String() + "\n"
	}
	return lines
}
