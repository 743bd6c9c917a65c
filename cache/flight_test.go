package cache

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/forst-go/forst/forstfs/driver"
)

func newCache(t testing.TB, o *Options) *Cache {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// gate makes every fetch of s wait for the returned channel.
func gate(s *testSource) chan int64 {
	allow := make(chan int64)
	s.setHook(func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		return &gatedReader{ctx: ctx, r: contentReader{s.num, off, off + n}, allow: allow}, nil
	})
	return allow
}

func wantRanges(t *testing.T, s *testSource, want ...span) {
	t.Helper()
	got := s.takeRanges()
	slices.SortFunc(got, func(a, b span) int { return int(a.lo - b.lo) })
	if !slices.Equal(got, want) {
		t.Fatalf("ranges fetched: %v, want %v", got, want)
	}
}

func TestOneFetchForManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small(64))
		s := &testSource{num: 1, size: 16 * kib}
		allow := gate(s)
		const readers = 50
		errs := make(chan error, readers)
		for i := range int64(readers) {
			go func() { errs <- readCheck(context.Background(), c, s, 0, 1+i*100, Random) }()
			if i == 0 {
				// The first reader alone begins the fetch of block 0; the others want more and join for it.
				synctest.Wait()
			}
		}
		synctest.Wait()
		close(allow)
		for range readers {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		var n int64
		for _, r := range s.takeRanges() {
			n += r.hi - r.lo
		}
		if n != 5*kib {
			t.Errorf("%d bytes fetched, want each of the 5 blocks once", n)
		}
		if j := c.Metrics().Reasons[ReasonRead].Joined; j == 0 {
			t.Error("nobody joined")
		}
	})
}

func TestReadReturnsBeforeTheRestIsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small(64)
		o.FetchSize = 8 * kib
		c := newCache(t, o)
		s := &testSource{num: 1, size: 20 * kib}
		allow := gate(s)
		got := make(chan error, 1)
		go func() { got <- readCheck(context.Background(), c, s, 4*kib+10, 100, Random) }()
		allow <- kib
		if err := <-got; err != nil { // the other seven blocks are not in
			t.Fatal(err)
		}
		wantRanges(t, s, span{4 * kib, 12 * kib})

		// A reader of the rest joins, one of a block before it does not wait.
		go func() { got <- readCheck(context.Background(), c, s, 10*kib, 2*kib, Random) }()
		synctest.Wait()
		wantRanges(t, s)
		close(allow)
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !c.Lookup(s.object().ID, make([]byte, 8*kib), 4*kib) {
			t.Error("the rest of the range was not filled in the background")
		}
	})
}

func TestFetchStopsAtWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small(256)
		o.FetchSize = 64 * kib
		c := newCache(t, o)
		s := &testSource{num: 1, size: 100*kib + 1}
		c.Insert(s.object().ID, s.size, 10*kib, content(1, 10*kib, kib), ReasonWrite)
		if err := readCheck(context.Background(), c, s, 0, 1, Random); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantRanges(t, s, span{0, 10 * kib})
		if err := readCheck(context.Background(), c, s, 90*kib, 1, Random); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wantRanges(t, s, span{90 * kib, s.size})
	})
}

func TestFetchExactlyWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small(32)
		o.FetchSize = 16 * kib
		c := newCache(t, o)
		s := &testSource{num: 1, size: 1000 * kib}
		for i := range int64(10) {
			if err := readCheck(context.Background(), c, s, i*64*kib, 1, Random); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		got := s.takeRanges()
		if first := got[0]; first.hi-first.lo != 16*kib {
			t.Errorf("with room: fetched %v, want 16 KiB", first)
		}
		for _, r := range got[2:] {
			if r.hi-r.lo != kib {
				t.Errorf("in a full cache: fetched %v, want the block only", r)
			}
		}
	})
}

func TestTailComesInOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small(64)
		o.TailSize = 8 * kib
		c := newCache(t, o)
		s := &testSource{num: 1, size: 30*kib + 53}
		if err := readCheck(context.Background(), c, s, s.size-53, 53, Tail); err != nil {
			t.Fatal(err)
		}
		for off := s.size - 7*kib; off < s.size-100; off += 100 {
			if err := readCheck(context.Background(), c, s, off, 100, Random); err != nil {
				t.Fatal(err)
			}
		}
		wantRanges(t, s, span{23 * kib, s.size})
		tiny := &testSource{num: 2, size: 100}
		if err := readCheck(context.Background(), c, tiny, 50, 50, Tail); err != nil {
			t.Fatal(err)
		}
		wantRanges(t, tiny, span{0, 100})
	})
}

func TestSequentialKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small(256))
		s := &testSource{num: 1, size: 128 * kib}
		ctx := context.Background()
		c.Insert(s.object().ID, s.size, 20*kib, content(1, 20*kib, 4*kib), ReasonWrite)   // a small gap
		c.Insert(s.object().ID, s.size, 60*kib, content(1, 60*kib, 30*kib), ReasonWrite)  // a large one
		c.Insert(s.object().ID, s.size, 127*kib, content(1, 127*kib, 1*kib), ReasonWrite) // the end
		used := c.Metrics().Used
		if err := readCheck(ctx, c, s, 10, s.size-10, Sequential); err != nil {
			t.Fatal(err)
		}
		wantRanges(t, s, span{10, 60 * kib}, span{90 * kib, 127 * kib})
		if got := c.Metrics().Used; got != used {
			t.Errorf("a sequential read keeps %d bytes", got-used)
		}

		// It joins what is under way, and reads around it.
		two := &testSource{num: 2, size: 30 * kib}
		allow := gate(two)
		c.Prefetch(ctx, two.object(), 10*kib, 4*kib)
		synctest.Wait()
		two.setHook(nil)
		got := make(chan error, 1)
		go func() { got <- readCheck(ctx, c, two, 0, two.size, Sequential) }()
		synctest.Wait()
		close(allow)
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		wantRanges(t, two, span{0, 10 * kib}, span{10 * kib, 14 * kib}, span{14 * kib, 30 * kib})
	})
}

// A reader whose context ends leaves at once, and the others get their bytes.
func TestCancelHarmsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small(64))
		s := &testSource{num: 1, size: 16 * kib}
		allow := gate(s)
		first, cancel := context.WithCancel(context.Background())
		type result struct {
			err error
			p   []byte
		}
		gone := make(chan result, 1)
		go func() {
			p := make([]byte, 8*kib)
			_, err := c.ReadAt(first, s.object(), p, 0, Random, ReasonRead)
			gone <- result{err, p}
		}()
		synctest.Wait()
		stays := make(chan error, 1)
		go func() { stays <- readCheck(context.Background(), c, s, 2*kib, 4*kib, Random) }()
		synctest.Wait()
		cancel()
		r := <-gone
		if !errors.Is(r.err, context.Canceled) {
			t.Fatalf("the cancelled read: %v", r.err)
		}
		clear(r.p) // ours again: a write by the flight would show as a race, and here
		close(allow)
		if err := <-stays; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, b := range r.p {
			if b != 0 {
				t.Fatal("the buffer of a cancelled read was written to")
			}
		}
		wantRanges(t, s, span{0, 8 * kib})
		if m := c.Metrics(); m.Abandoned != 0 {
			t.Error("the fetch was abandoned although somebody waited")
		}
	})
}

// A fetch that everybody has left goes on while the budget for background fetches lasts, then is cancelled; a later
// reader never gets the error of the cancel.
func TestAbandonedFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small(64)
		o.Background = 2
		c := newCache(t, o)
		allow := make(chan int64)
		var sources []*testSource
		for i := range uint64(5) {
			s := &testSource{num: i, size: 2 * kib}
			s.hook = func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
				return &gatedReader{ctx: ctx, r: contentReader{i, off, off + n}, allow: allow}, nil
			}
			sources = append(sources, s)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- readCheck(ctx, c, s, 0, s.size, Random) }()
			synctest.Wait()
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if m := c.Metrics(); m.Abandoned != 3 {
			t.Errorf("%d fetches abandoned, want 3 of 5", m.Abandoned)
		}
		close(allow)
		synctest.Wait()
		for _, s := range sources {
			if err := readCheck(context.Background(), c, s, 0, s.size, Random); err != nil {
				t.Error(err)
			}
		}
		if n := c.background.Load(); n != 0 {
			t.Errorf("%d background fetches are still counted", n)
		}
	})
}

func TestDeadlineOfTheReaderNotOfTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, small(64))
		s := &testSource{num: 1, size: kib}
		type mark struct{}
		s.hook = func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
			if _, ok := ctx.Deadline(); ok {
				t.Error("the fetch has the deadline of one reader")
			}
			if ctx.Value(mark{}) != 1 {
				t.Error("the fetch has lost the values of its context")
			}
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), mark{}, 1), 1<<40)
		defer cancel()
		if err := readCheck(ctx, c, s, 0, kib, Random); err != nil {
			t.Error(err)
		}
	})
}

// The error of a fetch that a read only joined, or of a part that it did not want, is not its error.
func TestErrorsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		o := small(64)
		o.FetchSize = 8 * kib
		c := newCache(t, o)
		s := &testSource{num: 1, size: 8 * kib}
		fail := make(chan struct{})
		s.hook = func(_ context.Context, off, n int64) (io.ReadCloser, error) {
			if n == 8*kib { // the widened one breaks after two blocks
				return io.NopCloser(io.MultiReader(&contentReader{1, 0, 2 * kib}, &waitReader{fail, errInjected})), nil
			}
			return nil, nil
		}
		if err := readCheck(ctx, c, s, 0, kib, Random); err != nil {
			t.Fatal(err)
		}
		joined := make(chan error, 1)
		go func() { joined <- readCheck(ctx, c, s, 5*kib, 100, Random) }()
		synctest.Wait()
		close(fail)
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
		wantRanges(t, s, span{0, 8 * kib}, span{5 * kib, 6 * kib})

		// What the source says to this very read is passed on as it is, without a second request.
		bad := &testSource{num: 2, size: 8 * kib}
		want := &driver.Error{Op: "get", Path: "x", Kind: driver.KindNotExist}
		bad.hook = func(context.Context, int64, int64) (io.ReadCloser, error) { return nil, want }
		for _, h := range []Hint{Sequential, Random} {
			c2 := newCache(t, small(64))
			bad.gets.Store(0)
			if err := readCheck(ctx, c2, bad, 0, kib, h); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, error(want)) {
				t.Errorf("got %v, want %v", err, want)
			}
			if n := bad.gets.Load(); n != 1 {
				t.Errorf("hint %d: %d GETs, want 1", h, n)
			}
			if m := c2.Metrics(); m.Objects != 0 || m.Used != 0 {
				t.Errorf("a failed read leaves %d objects, %d bytes", m.Objects, m.Used)
			}
		}
	})
}

type waitReader struct {
	until <-chan struct{}
	err   error
}

func (w *waitReader) Read([]byte) (int, error) {
	<-w.until
	return 0, w.err
}

// A store that ignores ranges is found out, whatever the way of reading.
func TestTooMuchIsCorrupt(t *testing.T) {
	for _, h := range []Hint{Random, Sequential, Tail} {
		c := newCache(t, small(64))
		s := &testSource{num: 1, size: 4 * kib}
		s.hook = func(_ context.Context, off, n int64) (io.ReadCloser, error) {
			return io.NopCloser(&contentReader{1, 0, s.size}), nil
		}
		if err := readCheck(context.Background(), c, s, kib, 2*kib, h); driver.KindOf(err) != driver.KindCorrupt {
			t.Errorf("hint %d: %v", h, err)
		}
	}
}

func TestPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small(64)
		o.Background = 2
		c := newCache(t, o)
		ctx, cancel := context.WithCancel(context.Background())
		s := &testSource{num: 1, size: 40 * kib}
		c.Insert(s.object().ID, s.size, 4*kib, content(1, 4*kib, kib), ReasonWrite)
		allow := gate(s)
		c.Prefetch(ctx, s.object(), 100, 8*kib)
		cancel() // the fetches go on
		c.Prefetch(ctx, s.object(), 0, -1)
		synctest.Wait()
		wantRanges(t, s, span{0, 4 * kib}, span{5 * kib, 9 * kib})
		if m := c.Metrics(); m.Refused != 1 {
			t.Errorf("%d refused, want 1", m.Refused)
		}
		got := make(chan error, 1)
		go func() { got <- readCheck(context.Background(), c, s, 0, 9*kib, Random) }()
		synctest.Wait()
		wantRanges(t, s)
		close(allow)
		if err := <-got; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.Prefetch(context.Background(), s.object(), 0, -1)
		synctest.Wait()
		wantRanges(t, s, span{9 * kib, 40 * kib})
		for _, off := range []int64{-1, 40 * kib, 41 * kib} {
			c.Prefetch(context.Background(), s.object(), off, -1)
		}
		synctest.Wait()
		wantRanges(t, s)
	})
}

func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(small(64))
		if err != nil {
			t.Fatal(err)
		}
		s := &testSource{num: 1, size: 40 * kib}
		gate(s)
		errs := make(chan error, 3)
		for _, h := range []Hint{Random, Sequential, Tail} {
			go func() { errs <- readCheck(context.Background(), c, s, int64(h)*4*kib, kib, h) }()
		}
		c.Prefetch(context.Background(), s.object(), 30*kib, -1)
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := <-errs; !errors.Is(err, ErrClosed) || !errors.Is(err, fs.ErrClosed) {
				t.Errorf("a read that Close interrupts: %v", err)
			}
		}
		for _, h := range []Hint{Random, Sequential, Tail} {
			if err := readCheck(context.Background(), c, s, 0, kib, h); !errors.Is(err, ErrClosed) {
				t.Errorf("a read after Close: %v", err)
			}
		}
		c.Insert(s.object().ID, s.size, 0, content(1, 0, kib), ReasonWrite)
		c.Prefetch(context.Background(), s.object(), 0, -1)
		if c.Lookup(s.object().ID, make([]byte, 1), 0) {
			t.Error("a hit after Close")
		}
		c.Drop(s.object().ID)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
