package local

import "github.com/forst-go/forst/internal/mutant"

// The bugs that a test build can plant here; see package mutant. mutants_test.go says what finds each.
const (
	mutNoFileSync mutant.ID = "local/bytes-not-synced"    // an object has its name before its bytes are on the disk
	mutNoDirSync  mutant.ID = "local/name-not-synced"     // Put returns before the name is on the disk
	mutReplaces   mutant.ID = "local/create-replaces"     // create-if-absent renames over what came meanwhile
	mutSeenSoon   mutant.ID = "local/seen-before-durable" // what another process left is shown before it is on the disk
)
