package pebblev1

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
)

func TestMain(m *testing.M) {
	if enginetest.AutomountChild(count) {
		return
	}
	os.Exit(m.Run())
}

func TestAutomount(t *testing.T) { enginetest.RunAutomount(t) }

type quiet struct{ pebble.Logger }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// count is a program that lets nobody choose the file system.
func count(dir string) (n int, err error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: quiet{pebble.DefaultLogger}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	v, closer, err := db.Get([]byte("runs"))
	if err == nil {
		n, err = strconv.Atoi(string(v))
		err = errors.Join(err, closer.Close())
	}
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return 0, err
	}
	n++
	return n, db.Set([]byte("runs"), []byte(strconv.Itoa(n)), pebble.NoSync) // closing the database makes it durable
}
