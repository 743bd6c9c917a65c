//go:build forstmutants

// Package mutant plants the known bugs of docs/testing.md's table into a test build, one at a time.
package mutant

import "sync/atomic"

// ID names one mutant: "package/what-is-broken".
type ID string

var active atomic.Pointer[ID]

// On reports whether the mutant is active.
func On(id ID) bool {
	p := active.Load()
	return p != nil && *p == id
}

// Activate switches one mutant on for the whole process until the returned function is called. Only one may be active.
func Activate(id ID) (restore func()) {
	if !active.CompareAndSwap(nil, &id) {
		panic("mutant: another one is active")
	}
	return func() { active.Store(nil) }
}
