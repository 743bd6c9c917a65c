package mem_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

func put(t *testing.T, s driver.Store, key, data string) {
	t.Helper()
	if err := s.Put(t.Context(), key, []byte(data), driver.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func keysOf(t *testing.T, s driver.Store) string {
	t.Helper()
	infos, err := driver.ListAll(t.Context(), s, "", "")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, i := range infos {
		data, err := driver.ReadAll(t.Context(), s, i.Key)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s=%s ", i.Key, data)
	}
	return strings.TrimSpace(b.String())
}

func TestHandlesShareABucket(t *testing.T) {
	b := mem.NewBucket(&mem.Options{Name: "bkt"})
	vol1, err := b.Open("vol")
	if err != nil {
		t.Fatal(err)
	}
	vol2, _ := b.Open("vol")
	other, _ := b.Open("volume2")
	all, _ := b.Open("")
	put(t, vol1, "a", "1")
	put(t, other, "a", "2")
	if got := keysOf(t, vol2); got != "a=1" {
		t.Errorf("the other handle sees %q", got)
	}
	if got := keysOf(t, all); got != "vol/a=1 volume2/a=2" {
		t.Errorf("the bucket holds %q", got)
	}
	if b.Len() != 2 || b.Name() != "bkt" || vol1.Bucket() != b {
		t.Errorf("Len %d, Name %s", b.Len(), b.Name())
	}
	if _, err := b.Open("bad//prefix"); driver.KindOf(err) != driver.KindInvalid {
		t.Errorf("an illegal prefix: %v", err)
	}
}

func TestRefusesNestedKeys(t *testing.T) {
	s := mem.New(nil)
	put(t, s, "a/b", "x")
	for _, key := range []string{"a", "a/b/c", "a/b/c/d"} {
		err := s.Put(t.Context(), key, nil, driver.PutOptions{})
		if driver.KindOf(err) != driver.KindInvalid || !strings.Contains(err.Error(), "a/b exists") {
			t.Errorf("Put %s: %v", key, err)
		}
	}
	put(t, s, "a/b-", "y") // sorts between a/b and a/b/
	if err := s.Put(t.Context(), "a/b/c", nil, driver.PutOptions{}); driver.KindOf(err) != driver.KindInvalid {
		t.Errorf("%v", err)
	}
	if !s.Capabilities().Volatile {
		t.Error("a store in memory must say that it is volatile")
	}
}

func TestSmallPages(t *testing.T) {
	s := mem.New(&mem.Options{ListPage: 3})
	var want []string
	for i := range 10 {
		key := fmt.Sprintf("k/%02d", i)
		want = append(want, key)
		put(t, s, key, "x")
	}
	for from := range want {
		for _, prefix := range []string{"", "k", "k/"} {
			infos, err := driver.ListAll(t.Context(), s, prefix, want[from])
			if err != nil || len(infos) != len(want)-from-1 {
				t.Errorf("after %s: %d keys, %v", want[from], len(infos), err)
			}
		}
	}
	if err := s.Delete(t.Context(), want[1:]); err != nil { // more than the few that are moved one by one
		t.Fatal(err)
	}
	if got := keysOf(t, s); got != "k/00=x" {
		t.Errorf("left: %q", got)
	}
}

// hang makes a bucket whose changing requests wait in phase p until release is called.
func hang(p mem.Phase) (o *mem.Options, waiting chan mem.Request, release func()) {
	gate := make(chan struct{})
	waiting = make(chan mem.Request, 100)
	return &mem.Options{Hold: func(_ context.Context, at mem.Phase, r mem.Request) error {
		if at == p && r.Keys[0] != "before" {
			waiting <- r
			<-gate
		}
		return nil
	}}, waiting, func() { close(gate) }
}

func TestCrashCloneKeepsWhatIsDurable(t *testing.T) {
	o, waiting, release := hang(mem.Landed)
	s := mem.New(o)
	put(t, s, "before", "1")
	done := make(chan error)
	go func() { done <- s.Put(context.Background(), "landed", []byte("2"), driver.PutOptions{}) }()
	<-waiting
	for seed := range uint64(50) {
		if got := keysOf(t, s.CrashClone(seed)); got != "before=1 landed=2" {
			t.Fatalf("seed %d: %q", seed, got)
		}
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCrashCloneChoosesOfWhatIsUnderWay(t *testing.T) {
	o, waiting, release := hang(mem.Sent)
	s := mem.New(o)
	put(t, s, "before", "1")
	ctx := context.Background()
	done := make(chan error, 5)
	go func() { done <- s.Put(ctx, "x", []byte("2"), driver.PutOptions{}) }()
	go func() { done <- s.Put(ctx, "y", []byte("3"), driver.PutOptions{IfAbsent: true}) }()
	go func() { done <- s.Put(ctx, "y", []byte("4"), driver.PutOptions{IfAbsent: true}) }()
	go func() { done <- s.Delete(ctx, []string{"z", "before"}) }()
	for range 4 {
		<-waiting
	}
	if n := s.Bucket().Pending(); n != 4 {
		t.Errorf("%d requests are under way, want 4", n)
	}
	worlds := map[string]int{}
	for seed := range uint64(400) {
		c := s.CrashClone(seed)
		if !c.Bucket().Equal(s.CrashClone(seed).Bucket()) {
			t.Fatalf("seed %d gives two worlds", seed)
		}
		worlds[keysOf(t, c)]++
	}
	var want []string
	for _, before := range []string{"", "before=1 "} {
		for _, x := range []string{"", "x=2 "} {
			for _, y := range []string{"", "y=3", "y=4"} {
				want = append(want, strings.TrimSpace(before+x+y))
			}
		}
	}
	for _, w := range want {
		if worlds[w] == 0 {
			t.Errorf("no seed of 400 gives %q", w)
		}
		delete(worlds, w)
	}
	for w := range worlds {
		t.Errorf("a world that cannot be: %q", w)
	}
	if got := keysOf(t, s); got != "before=1" {
		t.Errorf("the clone changed the bucket: %q", got)
	}
	release()
	var kinds []driver.Kind
	for range 4 {
		kinds = append(kinds, driver.KindOf(<-done))
	}
	slices.Sort(kinds)
	if want := []driver.Kind{0, 0, 0, driver.KindExist}; !slices.Equal(kinds, want) {
		t.Errorf("the requests ended with %v, want %v", kinds, want)
	}
	if n := s.Bucket().Pending(); n != 0 {
		t.Errorf("%d requests are under way at the end", n)
	}
}

func TestCloneAndOriginalGoApart(t *testing.T) {
	s := mem.New(nil)
	put(t, s, "a", "1")
	c := s.CrashClone(1)
	put(t, s, "a", "2")
	put(t, c, "b", "3")
	if got := keysOf(t, s); got != "a=2" {
		t.Errorf("original: %q", got)
	}
	if got := keysOf(t, c); got != "a=1 b=3" {
		t.Errorf("clone: %q", got)
	}
	if s.Bucket().Equal(c.Bucket()) || !s.Bucket().Equal(s.Bucket().Snapshot()) || !s.Bucket().Equal(s.Bucket()) {
		t.Error("Equal is wrong")
	}
}

func TestAnnouncedRequestsAreUnderWay(t *testing.T) {
	b := mem.NewBucket(nil)
	s, _ := b.Open("vol")
	put(t, s, "old", "1")
	data := []byte("2")
	w1 := s.Announce("new", data, driver.PutOptions{IfAbsent: true})
	w2 := s.AnnounceDelete([]string{"old"})
	seen := map[string]bool{}
	var with *mem.Store
	for seed := range uint64(50) {
		c := s.CrashClone(seed)
		w := keysOf(t, c)
		seen[w] = true
		if w == "new=2" {
			with = c
		}
	}
	for _, w := range []string{"", "old=1", "new=2", "new=2 old=1"} {
		if !seen[w] {
			t.Errorf("no clone is %q", w)
		}
	}
	w1()
	w2()
	data[0] = 'x' // ours again
	if got := keysOf(t, with); got != "new=2" {
		t.Errorf("the clone changes with the sender's bytes: %q", got)
	}
	if got := keysOf(t, s.CrashClone(1)); got != "old=1" || b.Pending() != 0 {
		t.Errorf("after the withdrawal: %q, %d under way", got, b.Pending())
	}
}

func TestHoldMayRefuse(t *testing.T) {
	lost := errors.New("lost")
	phase := mem.Sent
	s := mem.New(&mem.Options{Hold: func(_ context.Context, p mem.Phase, r mem.Request) error {
		if p == phase {
			return lost
		}
		return nil
	}})
	err := s.Put(t.Context(), "a", nil, driver.PutOptions{})
	if !errors.Is(err, lost) || driver.KindOf(err) != driver.KindTransient || keysOf(t, s) != "" {
		t.Errorf("refused when sent: %v, %q", err, keysOf(t, s))
	}
	phase = mem.Landed
	err = s.Put(t.Context(), "a", nil, driver.PutOptions{})
	if !errors.Is(err, lost) || keysOf(t, s) != "a=" {
		t.Errorf("reply lost: %v, %q", err, keysOf(t, s))
	}
	if s.Bucket().Pending() != 0 {
		t.Error("a refused request is still under way")
	}
}

// TestInBubble shows that the store works with virtual time: nothing in it blocks for ever on something outside.
func TestInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New(&mem.Options{Hold: func(ctx context.Context, p mem.Phase, _ mem.Request) error {
			time.Sleep(time.Hour)
			return nil
		}})
		begun := time.Now()
		go func() {
			if err := s.Put(t.Context(), "a", nil, driver.PutOptions{}); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if s.Bucket().Pending() != 1 {
			t.Error("the request is not under way")
		}
		if err := s.Close(); err != nil { // waits for it
			t.Error(err)
		}
		if d := time.Since(begun); d != 2*time.Hour {
			t.Errorf("%v passed", d)
		}
	})
}

func TestOpener(t *testing.T) {
	b := mem.NewBucket(&mem.Options{Name: "demo"})
	var r driver.Registry
	r.Register("mem", b.Opener())
	s, err := r.Open(t.Context(), "mem://demo/some/vol")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", "v")
	if all, _ := b.Open(""); keysOf(t, all) != "some/vol/k=v" {
		t.Errorf("%q", keysOf(t, all))
	}
	for raw, want := range map[string]driver.Kind{
		"mem://other/vol":      driver.KindNoStore,
		"mem://demo/vol?x=1":   driver.KindInvalid,
		"mem://u:pw@demo/vol":  driver.KindInvalid,
		"mem://demo/vol#frag":  driver.KindInvalid,
		"mem://demo/.hidden/a": driver.KindInvalid,
	} {
		s, err := r.Open(t.Context(), raw)
		if driver.KindOf(err) != want || s != nil {
			t.Errorf("%s: %v, %v", raw, s, err)
		}
		if strings.Contains(fmt.Sprint(err), "pw") {
			t.Errorf("the password shows: %v", err)
		}
	}
	u, _ := url.Parse("mem://demo")
	if _, err := b.Opener()(t.Context(), u); err != nil {
		t.Errorf("the whole bucket: %v", err)
	}
}
