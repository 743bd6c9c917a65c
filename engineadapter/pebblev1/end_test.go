package pebblev1_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble"

	"github.com/forst-go/forst/engineadapter/pebblev1"
	"github.com/forst-go/forst/forstfs"
)

// TestGuarded: whatever a database is doing when its volume is taken over, the program is told before Pebble is, and Pebble does nothing until the program has answered.
func TestGuarded(t *testing.T) {
	for name, do := range map[string]func(db *pebble.DB) error{
		"commit": func(db *pebble.DB) error { return db.Set([]byte("b"), nil, pebble.Sync) },
		"flush":  func(db *pebble.DB) error { return db.Flush() },
		"marker": func(db *pebble.DB) error { return db.RatchetFormatMajorVersion(pebble.FormatNewest) }, // a panic that nobody can catch
	} {
		t.Run(name, func(t *testing.T) {
			h := memHome()
			ended := make(chan error, 1)
			o := options(t, pebblev1.NewGuarded(openVol(t, h.Open(t), nil), func(reason error) {
				ended <- reason
				select {} // os.Exit in a program
			}))
			o.FormatMajorVersion = pebble.FormatMostCompatible
			told := make(chan string, 16)
			o.Logger = stopLogger{testLogger{}, told}
			db := must(pebble.Open("/db", o))(t)
			ok(t, db.Set([]byte("a"), []byte("1"), pebble.Sync))
			db2 := openDB(t, "/db", options(t, pebblev1.New(openVol(t, h.Open(t), nil))))
			go func() { told <- fmt.Sprint(do(db)) }()
			select {
			case reason := <-ended:
				if !errors.Is(reason, forstfs.ErrFenced) {
					t.Errorf("the program was told %v", reason)
				}
			case what := <-told:
				t.Fatalf("Pebble was told first: %s", what)
			}
			sameContents(t, "the new writer", db2, map[string]string{"a": "1"})
			ok(t, db2.Close())
			if len(told) > 0 {
				t.Errorf("Pebble was told, too: %s", <-told)
			}
		})
	}
}

// stopLogger stops the goroutine that Pebble would end the process from.
type stopLogger struct {
	testLogger
	fatal chan string
}

func (l stopLogger) Fatalf(format string, args ...any) {
	l.fatal <- fmt.Sprintf(format, args...)
	runtime.Goexit()
}
