package journal

import (
	"math"

	"github.com/forst-go/forst/internal/mutant"
)

// verdict is what replay makes of a frame.
type verdict uint8

const (
	void verdict = iota
	effectiveData
	effectiveFence
	effectiveDropped
)

// cursor is what replay knows after some frames. It is the whole rule of which frames count; docs/protocol.md, Replay.
type cursor struct {
	volume  VolumeID
	k       int // length of a fence run
	epoch   uint64
	nonce   uint64 // of the writer in force
	last    FrameRef
	next    uint64 // the number that comes next; at least 1
	dropped bool
	runs    []Run // ascending; runs that overlap or touch are one
}

func newCursor(r Root) cursor { return cursor{volume: r.Volume, k: r.Run, next: 1} }

// cursorAt is the cursor after the image.
func cursorAt(r Root, im *Image) cursor {
	return cursor{volume: r.Volume, k: r.Run, epoch: im.Epoch, nonce: im.Writer, last: im.Last, next: im.Seq + 1,
		dropped: im.Dropped, runs: append([]Run(nil), im.Runs...)}
}

// step takes the frame of number c.next.
func (c *cursor) step(f *Frame) verdict {
	v := c.judge(f)
	switch v {
	case effectiveFence:
		c.epoch, c.nonce = f.Epoch, f.Nonce
		c.addRun(f.Seq)
	case effectiveDropped:
		c.dropped = true
		c.addRun(f.Seq)
	}
	if v != void {
		c.last = f.Ref()
	}
	c.next++
	return v
}

func (c *cursor) judge(f *Frame) verdict {
	if c.dropped && !mutant.On(mutBehindDrop) {
		return void
	}
	if f.Volume != c.volume && !mutant.On(mutNoVolumeID) {
		return void // a late frame of another volume
	}
	if f.Kind == FrameFence {
		if f.Epoch > c.epoch || f.Epoch == c.epoch && mutant.On(mutFenceEqual) {
			return effectiveFence
		}
		return void
	}
	if f.Epoch != c.epoch {
		return void
	}
	if f.Nonce != c.nonce && !mutant.On(mutNoOwner) {
		return void
	}
	if f.Prev != c.last && !mutant.On(mutNoChain) {
		return void
	}
	if f.Kind == FrameDropped {
		return effectiveDropped
	}
	return effectiveData
}

func (c *cursor) addRun(first uint64) {
	last := first + uint64(c.k) - 1
	if mutant.On(mutVoidTrimmed) {
		last = first
	}
	if n := len(c.runs); n > 0 && first <= c.runs[n-1].Last+1 {
		c.runs[n-1].Last = max(c.runs[n-1].Last, last)
		return
	}
	c.runs = append(c.runs, Run{first, last})
}

// kept reports whether frame n belongs to a fence run.
func kept(runs []Run, n uint64) bool {
	lo, hi := 0, len(runs)
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); runs[m].Last < n {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo < len(runs) && runs[lo].First <= n
}

// gaps calls f for each number in [from, to) that belongs to no fence run, until f returns false.
func gaps(runs []Run, from, to uint64) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		n := from
		for i := 0; n < to; {
			for i < len(runs) && runs[i].Last < n {
				i++
			}
			if i < len(runs) && runs[i].First <= n {
				n = runs[i].Last + 1
				continue
			}
			end := uint64(math.MaxUint64)
			if i < len(runs) {
				end = runs[i].First
			}
			for ; n < min(to, end); n++ {
				if !yield(n) {
					return
				}
			}
		}
	}
}
