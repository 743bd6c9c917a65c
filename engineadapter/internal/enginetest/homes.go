package enginetest

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

// Home is a place where a volume lives: each open gives a fresh Store on the same objects, as another machine would have it.
type Home struct {
	Open func(t testing.TB) driver.Store
}

// Homes are the kinds of stores that the tests of whole databases run on; each call of New makes an empty one.
var Homes = []struct {
	Name string
	New  func(t testing.TB) Home
}{
	{"mem", func(testing.TB) Home { return MemHome() }},
	{"mem with faults", faultyHome},
	{"local", func(t testing.TB) Home {
		dir := t.TempDir()
		return Home{func(t testing.TB) driver.Store {
			return must(local.Open(context.Background(), dir, &local.Options{Create: true}))(t)
		}}
	}},
	{"s3", func(t testing.TB) Home {
		u := must(url.Parse(testenv.S3(t).URL(t)))(t)
		return Home{func(t testing.TB) driver.Store { return must(s3.OpenURL(context.Background(), u))(t) }}
	}},
}

// MemHome is a store in memory.
func MemHome() Home {
	b := mem.NewBucket(nil)
	return Home{func(t testing.TB) driver.Store { return must(b.Open("db"))(t) }}
}

// faultyHome is a store whose writes fail, lose their replies, land late or twice. A volume has to cope with all of that by itself: Pebble
// must not notice.
func faultyHome(testing.TB) Home {
	b := mem.NewBucket(nil)
	var opened atomic.Uint64
	writes := []fault.Op{fault.Put, fault.Delete}
	const soon = 2 * time.Millisecond
	return Home{func(t testing.TB) driver.Store {
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
