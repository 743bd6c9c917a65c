package journal

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// log is a Machine whose state is the list of all operations ever applied, one per line of Ops. The last window
// operations are "live": their frames must be readable.
type log struct {
	mu      sync.Mutex
	window  int
	state   logState
	fences  []uint64
	resets  int
	onApply func(f *Frame) // called first, without locks
}

type logState struct {
	Ops  []string
	Refs []FrameRef // of the frame of each operation
}

func (l *log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.fences = logState{}, nil
	l.resets++
}

func (l *log) Restore(body []byte) error {
	var s logState
	if err := json.Unmarshal(body, &s); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.fences = s, nil
	return nil
}

func (l *log) Apply(f *Frame) error {
	if l.onApply != nil {
		l.onApply(f)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for op := range strings.Lines(string(f.Ops)) {
		if op == "poison\n" {
			return fmt.Errorf("cannot apply %q", op)
		}
		l.state.Ops = append(l.state.Ops, strings.TrimSuffix(op, "\n"))
		l.state.Refs = append(l.state.Refs, f.Ref())
	}
	return nil
}

func (l *log) Fence(epoch uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fences = append(l.fences, epoch)
}

func (l *log) Image() ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return json.Marshal(l.state)
}

func (l *log) FirstLive() (uint64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	live := l.live()
	if len(live) == 0 {
		return 0, false
	}
	return slices.MinFunc(live, func(a, b FrameRef) int { return int(a.Seq) - int(b.Seq) }).Seq, true
}

func (l *log) live() []FrameRef {
	return l.state.Refs[max(0, len(l.state.Refs)-l.window):]
}

func (l *log) ops() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.state.Ops)
}

func (l *log) liveRefs() []FrameRef {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.live())
}
