package pebblev2_test

import (
	"context"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
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
	{"mem with faults", faultyHome},
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

// faultyHome is a store whose writes fail, lose their replies, land late or twice. A volume has to cope with all of that by itself: Pebble
// must not notice.
func faultyHome(testing.TB) home {
	b := mem.NewBucket(nil)
	var opened atomic.Uint64
	writes := []fault.Op{fault.Put, fault.Delete}
	const soon = 2 * time.Millisecond
	return home{func(t testing.TB) driver.Store {
		return fault.New(must(b.Open("db"))(t), &fault.Options{
			Seed:      opened.Add(1),
			LateStore: must(b.Open("db"))(t), // what is under way outlives the machine
			Rules: []fault.Rule{
				{Ops: writes, Prob: 0.03, Do: fault.Fail(nil)},
				{Ops: writes, Prob: 0.03, Do: fault.LostReply(nil)},
				{Ops: writes, Prob: 0.03, Do: fault.Late(nil, soon)},
				{Ops: writes, Prob: 0.03, Do: fault.Twice(soon)},
			},
		})
	}}
}
