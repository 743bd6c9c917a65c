package fault_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/fault"
)

func TestHooks(t *testing.T) {
	var log []string
	s, honest := world(&fault.Options{
		Before: func(_ context.Context, c fault.Call) error {
			log = append(log, fmt.Sprintf("before %d %s %s", c.Seq, c.Op, c.Key))
			if c.Key == "refused" {
				return errTest
			}
			return nil
		},
		After: func(_ context.Context, c fault.Call, err error) error {
			log = append(log, fmt.Sprintf("after %d %v", c.Seq, err))
			if c.Key == "lost" {
				return errTest
			}
			return err
		},
	})
	if err := put(t.Context(), s, "k"); err != nil {
		t.Error(err)
	}
	if err := put(t.Context(), s, "refused"); !errors.Is(err, errTest) || has(honest, "refused") {
		t.Errorf("%v", err)
	}
	if err := put(t.Context(), s, "lost"); !errors.Is(err, errTest) || !has(honest, "lost") {
		t.Errorf("%v", err)
	}
	want := "before 1 put k; after 1 <nil>; before 2 put refused; after 2 put refused: transient: test; before 3 put lost; after 3 <nil>"
	if got := strings.Join(log, "; "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTrace(t *testing.T) {
	tr := &fault.Trace{Rename: func(key string) string { return strings.ReplaceAll(key, "12ab", "<nonce>") }}
	s, _ := world(&fault.Options{Trace: tr, Rules: []fault.Rule{{Ops: []fault.Op{fault.Get}, Nth: 2, Do: fault.Throttle()}}})
	ctx := driver.WithComponent(t.Context(), driver.CompCommit)
	_ = s.Put(ctx, "journal/1", make([]byte, 100), driver.PutOptions{IfAbsent: true})
	_ = s.Put(ctx, "journal/1", make([]byte, 100), driver.PutOptions{IfAbsent: true})
	ctx = driver.WithComponent(t.Context(), driver.CompRead)
	_ = put(ctx, s, "data/12ab")
	_, _ = driver.ReadAll(ctx, s, "data/12ab")
	_ = driver.ReadFull(ctx, s, "data/12ab", 3, make([]byte, 4))
	_, _ = s.Stat(ctx, "missing")
	_, _ = driver.ListAll(ctx, s, "data/", "data/12ab")
	c, _ := driver.As[driver.Copier](s)
	_ = c.Copy(ctx, "data/12ab", "data/2")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_ = s.Delete(ended, []string{"a", "b"})
	want := `commit put journal/1 100 B if absent
commit put journal/1 100 B if absent: exists
read put data/<nonce> 18 B
read get data/<nonce> 0+
read get data/<nonce> 3+4: transient
read stat missing: not exist
read list data/ after data/<nonce>
read copy data/2 from data/<nonce>
read delete a (2 keys): cancelled
`
	if got := tr.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if tr.Len() != 9 || tr.Count(fault.Put, "journal/") != 2 || tr.Count("", "data/") != 5 || len(tr.Calls()) != 9 {
		t.Errorf("%d, %d, %d", tr.Len(), tr.Count(fault.Put, "journal/"), tr.Count("", "data/"))
	}
	sorted := strings.Split(tr.Sorted(), "\n")
	if !slices.IsSorted(sorted[:9]) {
		t.Errorf("not sorted: %q", sorted)
	}
	if tr.Reset(); tr.String() != "" {
		t.Error("Reset")
	}
	gate := make(chan struct{})
	s, _ = world(&fault.Options{Trace: tr, Before: func(context.Context, fault.Call) error { <-gate; return nil }})
	done := make(chan error)
	go func() { done <- put(context.Background(), s, "k") }()
	for tr.Len() == 0 {
		time.Sleep(time.Millisecond)
	}
	if got := tr.String(); got != "other put k 10 B: under way\n" {
		t.Errorf("%q", got)
	}
	close(gate)
	<-done
}
