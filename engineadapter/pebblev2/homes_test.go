package pebblev2_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/forstfs/s3"
	"github.com/forst-go/forst/internal/testenv"
)

// home is a place where a volume lives: each open gives a fresh Store on the same objects, as another machine would have it.
type home struct {
	open func(t testing.TB) driver.Store
}

// homes are the kinds of stores that the tests of whole databases run on; each call of new makes an empty one.
var homes = []struct {
	name string
	new  func(t testing.TB) home
}{
	{"mem", func(testing.TB) home { return memHome() }},
	{"local", func(t testing.TB) home {
		dir := t.TempDir()
		return home{func(t testing.TB) driver.Store {
			return must(local.Open(context.Background(), dir, &local.Options{Create: true}))(t)
		}}
	}},
	{"s3", func(t testing.TB) home {
		u := must(url.Parse(testenv.S3(t).URL(t)))(t)
		return home{func(t testing.TB) driver.Store { return must(s3.OpenURL(context.Background(), u))(t) }}
	}},
}

func memHome() home {
	b := mem.NewBucket(nil)
	return home{func(t testing.TB) driver.Store { return must(b.Open("db"))(t) }}
}
