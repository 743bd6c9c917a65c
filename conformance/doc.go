// Package conformance checks that a store keeps the contract that forst rests on. It is a product of its own: the author
// of a driver calls RunStore from a test, and a user with an unknown store can run the same cases without a test binary's
// help, because a case needs only a TB.
//
// Each case is named for the promise that it checks. There is no list of cases to skip: where stores may differ, they say
// so in driver.Capabilities. That the cases find real faults is checked by a table of broken stores, each of which must be
// caught by the case that the table names.
package conformance
