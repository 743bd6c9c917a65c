package meter_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
	"github.com/forst-go/forst/forstfs/mem"
	"github.com/forst-go/forst/internal/meter"
)

func TestConformance(t *testing.T) {
	conformance.RunStore(t, conformance.Maker{Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
		b := mem.NewBucket(nil)
		return func(context.Context) (driver.Store, error) {
			s, err := b.Open("vol")
			return meter.New(s), err
		}
	}})
}

const golden = `op      component      calls  requests      keys     bytes in    bytes out  misses  errors cancelled
copy    snapshot           1         1         0            0            0       0       0         0
delete  gc                 2         3      2501            0            0       0       0         0
get     read               4         4         0          130            0       1       2         0
list    open               2         4      2501            0            0       0       0         0
put     commit             3         3         0            0          300       1       0         1
put     flush           2501      2501         0            0            0       0       0         0
stat    other              2         2         0            0            0       1       0         0
total                   2515      2518      5002          130          300       3       2         1
`

func TestCounts(t *testing.T) {
	ctx := t.Context()
	as := func(c driver.Component) context.Context { return driver.WithComponent(ctx, c) }
	s := meter.New(fault.New(mem.New(nil), &fault.Options{Rules: []fault.Rule{
		{Ops: []fault.Op{fault.Get}, Nth: 3, Do: fault.ShortRead(30, nil)},
		{Ops: []fault.Op{fault.Get}, Nth: 4, Do: fault.Throttle()},
	}}))
	defer s.Close()
	_ = s.Put(as(driver.CompCommit), "k", make([]byte, 100), driver.PutOptions{IfAbsent: true})
	_ = s.Put(as(driver.CompCommit), "k", make([]byte, 100), driver.PutOptions{IfAbsent: true})
	ended, cancel := context.WithCancel(as(driver.CompCommit))
	cancel()
	_ = s.Put(ended, "k", make([]byte, 100), driver.PutOptions{})
	for range 2 {
		_, _ = driver.ReadAll(as(driver.CompRead), s, "k")
		_, _ = s.Get(as(driver.CompRead), "missing", 0, -1)
	}
	before := s.Snapshot()
	_, _ = s.Stat(ctx, "k")
	_, _ = s.Stat(ctx, "missing")
	keys := []string{}
	for i := range 2501 {
		keys = append(keys, fmt.Sprintf("x/%d", i))
		_ = s.Put(as(driver.CompFlush), keys[i], nil, driver.PutOptions{})
	}
	if _, err := driver.ListAll(as(driver.CompOpen), s, "x/", ""); err != nil {
		t.Error(err)
	}
	if _, err := driver.ListAll(as(driver.CompOpen), s, "none", ""); err != nil {
		t.Error(err)
	}
	_ = s.Delete(as(driver.CompGC), keys)
	_ = s.Delete(as(driver.CompGC), nil)
	c, ok := driver.As[driver.Copier](s)
	if !ok {
		t.Fatal("the Copier is hidden")
	}
	_ = c.Copy(as(driver.CompSnapshot), "k", "copy")
	snap := s.Snapshot()
	// A get of 100 bytes, a missing one, one that breaks after 30 and one that is refused.
	if got := snap.String(); got != golden {
		t.Errorf("got\n%s\nwant\n%s", got, golden)
	}
	diff := snap.Sub(before)
	if got := diff.Sum("", driver.CompRead); got.Calls != 0 || diff.Sum("stat", "").Calls != 2 || diff.Sum("put", driver.CompFlush).Calls != 2501 {
		t.Errorf("since then:\n%s", diff)
	}
	if got := snap.Sum("put", ""); got.Calls != 2504 || got.Out != 300 {
		t.Errorf("puts: %+v", got)
	}
}

func TestManyGoroutines(t *testing.T) {
	s := meter.New(mem.New(nil))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 200 {
				ctx := driver.WithComponent(t.Context(), driver.Component(fmt.Sprintf("c%d", k%5)))
				if err := s.Put(ctx, fmt.Sprintf("k/%d", i), make([]byte, 10), driver.PutOptions{}); err != nil {
					t.Error(err)
				}
				_ = s.Snapshot().String()
			}
		})
	}
	wg.Wait()
	if got := s.Snapshot().Sum("", ""); got.Calls != 1600 || got.Out != 16000 || got.Requests != 1600 {
		t.Errorf("%+v", got)
	}
}

type noCopy struct{ driver.Store }

func TestUnwrap(t *testing.T) {
	if _, ok := driver.As[driver.Copier](meter.New(noCopy{mem.New(nil)})); ok {
		t.Error("a Copier where the wrapped store has none")
	}
	inner := mem.New(nil)
	if got, ok := driver.As[*mem.Store](meter.New(inner)); !ok || got != inner {
		t.Error("the wrapped store is not found")
	}
}
