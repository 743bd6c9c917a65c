package pebblev1_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble"
	"github.com/cockroachdb/pebble/vfs"

	"github.com/forst-go/forst/engineadapter/internal/enginetest"
	"github.com/forst-go/forst/engineadapter/pebblev1"
	"github.com/forst-go/forst/forstfs"
)

type home = enginetest.Home

var (
	homes   = enginetest.Homes
	memHome = enginetest.MemHome
	nightly = enginetest.Nightly
	openVol = enginetest.OpenVol
)

// start opens the volume of h on a new machine.
func start(t testing.TB, h home, o *forstfs.Options) (*enginetest.Machine, vfs.FS) {
	t.Helper()
	m := enginetest.Start(t, h, o)
	return m, pebblev1.New(m.Vol)
}

func newFS(t testing.TB) vfs.FS {
	t.Helper()
	return pebblev1.New(openVol(t, memHome().Open(t), nil))
}

// options are small ones, so that little data makes flushes, compactions and several levels.
func options(t testing.TB, fs vfs.FS) *pebble.Options {
	cache := pebble.NewCache(1 << 20)
	t.Cleanup(cache.Unref)
	o := pebblev1.Tune(&pebble.Options{
		FS:                    fs,
		Cache:                 cache,
		MemTableSize:          64 << 10,
		L0CompactionThreshold: 2,
		LBaseMaxBytes:         64 << 10,
		Levels:                []pebble.LevelOptions{{BlockSize: 1 << 10, IndexBlockSize: 1 << 10, TargetFileSize: 16 << 10}},
	})
	return o
}

func openDB(t testing.TB, dir string, o *pebble.Options) *pebble.DB {
	t.Helper()
	db, err := pebble.Open(dir, logged(t, o))
	ok(t, err)
	return db
}

// logged makes Pebble report to the test.
func logged(t testing.TB, o *pebble.Options) *pebble.Options {
	o.Logger = testLogger{}
	o.EventListener = &pebble.EventListener{BackgroundError: func(err error) { t.Errorf("background error: %+v", err) }}
	return o
}

type testLogger struct{}

func (testLogger) Infof(string, ...any)              {}
func (testLogger) Errorf(string, ...any)             {}
func (testLogger) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%+v", err)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func equalNames(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}
