package pebblev2_test

import (
	"context"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/mem"
)

// home is a place where a volume lives: each open gives a fresh Store on the same objects, as another machine would have it.
type home struct {
	name string
	open func(t testing.TB) driver.Store
	// fresh makes another, empty home of the kind.
	fresh func(t testing.TB) home
}

// homes are the stores that the tests of whole databases run on.
func homes(t testing.TB) []home { return []home{memHome(), localHome(t)} }

func memHome() home {
	b := mem.NewBucket(nil)
	return home{
		name:  "mem",
		open:  func(t testing.TB) driver.Store { return must(b.Open("db"))(t) },
		fresh: func(testing.TB) home { return memHome() },
	}
}

func localHome(t testing.TB) home {
	dir := t.TempDir()
	return home{
		name: "local",
		open: func(t testing.TB) driver.Store {
			return must(local.Open(context.Background(), dir, &local.Options{Create: true}))(t)
		},
		fresh: func(t testing.TB) home { return localHome(t) },
	}
}
