package state

import (
	"context"
	"fmt"
	"sync/atomic"
)

// request is one step on one key: reads, then run, then writes. What is read and written is one step for all other requests on the key.
type request struct {
	core  *core
	ctx   context.Context
	here  bool   // may run in the goroutine that issues it
	order uint64 // hash of the key: requests of equal order run one after the other
	cut   int    // the newest cut when it was issued
	shard *shard
	stats *counters

	gets [][]byte  // keys to read
	vals [][]byte  // what was read; nil: not there
	one  [2][]byte // room for one of each
	scan *scan     // or one page to read

	job work

	ops      []op
	first    [1]op // room for one
	opBytes  int
	err      error
	pending  atomic.Int32 // reads that are not there yet
	failedIO atomic.Pointer[error]
	next     *request // of the same key
}

// work is what a request is for.
type work interface {
	// run is called once, after the reads, with no other request of the key running. It may call set, merge, remove and removeRange of
	// r. It must not touch what anybody else touches.
	run(r *request) error
	// done is called once, after the writes or with the first error.
	done(err error)
}

// scan is one page: up to limit pairs of [lower, upper).
type scan struct {
	lower, upper []byte
	limit        int
	skip         func(val []byte) bool // what the page leaves out
	keys, vals   [][]byte
	more         bool // the range goes on behind the page
}

type opKind uint8

const (
	opSet opKind = iota
	opMerge
	opRemove
	opRemoveRange
)

type op struct {
	kind       opKind
	key, value []byte // of a range: begin and end
}

func (r *request) add(o op) {
	if r.ops == nil {
		r.ops = r.first[:0]
	}
	r.ops = append(r.ops, o)
	r.opBytes += len(o.key) + len(o.value)
}

func (r *request) set(key, value []byte)         { r.add(op{opSet, key, value}) }
func (r *request) merge(key, value []byte)       { r.add(op{opMerge, key, value}) }
func (r *request) remove(key []byte)             { r.add(op{kind: opRemove, key: key}) }
func (r *request) removeRange(begin, end []byte) { r.add(op{opRemoveRange, begin, end}) }
func (r *request) reads() int                    { return len(r.gets) + btoi(r.scan != nil) }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// step calls run. A panic of a user's function is an error of this request only.
func (r *request) step() {
	if r.err != nil {
		return
	}
	if p := r.failedIO.Load(); p != nil {
		r.err = *p
		return
	}
	if r.err = r.ctx.Err(); r.err != nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("a function given to package state panicked: %v", p)
		}
		if r.err != nil {
			r.ops = nil
		}
	}()
	r.err = r.job.run(r)
}
