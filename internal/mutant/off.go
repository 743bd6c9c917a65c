//go:build !forstmutants

// Package mutant plants the known bugs of docs/testing.md's table into a test build, one at a time, so that the
// conformance suites can prove that they find them. Without the build tag forstmutants every switch is the constant
// false and the compiler removes the broken branch.
package mutant

// ID names one mutant: "package/what-is-broken".
type ID string

// On reports whether the mutant is active; never in a normal build.
func On(ID) bool { return false }
