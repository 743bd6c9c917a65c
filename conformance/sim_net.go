package conformance

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/mem"
)

// simNet is the network between processes and the bucket. A request lands late, twice, or much later than its sender has given up; a reply is late
// or lost; a process may be stopped or dead. What happens to a request depends on the seed, the process, the key and the attempt only, so that
// a seed gives the same world each time, as far as the order of goroutines that run at the same instant goes.
type simNet struct {
	seed   uint64
	rough  int // 0 nothing goes wrong, up to 3
	bucket *mem.Bucket
	clock  *clock
	wg     sync.WaitGroup // requests that may still land
	end    chan struct{}  // closed when the world ends: nothing waits any more

	mu    sync.Mutex
	calm  bool
	stats map[string]int
}

// simProc is a process as the network sees it.
type simProc struct {
	net  *simNet
	id   uint64
	dead chan struct{} // closed when it has crashed

	mu       sync.Mutex
	attempts map[string]int
	until    time.Time // it is stopped until then
}

func (n *simNet) proc(id uint64) *simProc {
	return &simProc{net: n, id: id, dead: make(chan struct{}), attempts: map[string]int{}}
}

func (n *simNet) note(what string) {
	n.mu.Lock()
	n.stats[what]++
	n.mu.Unlock()
}

// store is the process's handle on the volume's root.
func (p *simProc) store() driver.Store { return p.storeAt(simSource) }

func (p *simProc) storeAt(root string) driver.Store {
	s, err := p.net.bucket.Open(root)
	if err != nil {
		panic(err)
	}
	fates := root + "/"
	if root == simSource {
		fates = ""
	}
	return &simStore{p: p, to: s, fates: fates}
}

// crash ends the process: nothing it does reaches the bucket any more, but for what is under way.
func (p *simProc) crash() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.dead:
	default:
		close(p.dead)
	}
}

// stop stops the process at its requests and replies for a while, as SIGSTOP does.
func (p *simProc) stop(d time.Duration) {
	p.mu.Lock()
	p.until = time.Now().Add(d)
	p.mu.Unlock()
}

// fate is a generator for one attempt at one request.
func (p *simProc) fate(what, key string) *rand.Rand {
	p.mu.Lock()
	name := what + key
	p.attempts[name]++
	attempt := p.attempts[name]
	p.mu.Unlock()
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	return rand.New(rand.NewPCG(p.net.seed*1_000_003+p.id, h.Sum64()+uint64(attempt)))
}

// pause waits, in this process: false if it is dead, and then only at the end of the world.
func (p *simProc) pause(ctx context.Context, d time.Duration) (alive bool, err error) {
	p.mu.Lock()
	if left := time.Until(p.until); left > d {
		d = left
	}
	p.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.net.end:
	case <-p.dead:
	}
	select {
	case <-p.dead:
		<-p.net.end
		return false, nil
	default:
		return true, err
	}
}

var errGone = errors.New("the process is dead")

func simError(op, key string, kind driver.Kind, err error) error {
	return &driver.Error{Op: op, Path: "sim:" + key, Kind: kind, Err: err}
}

func millis(r *rand.Rand, least, most int) time.Duration {
	return time.Duration(least)*time.Millisecond + time.Duration(r.Int64N(int64(most-least)*int64(time.Millisecond)+1))
}

// request sends one request. land is called where it lands, maybe more than once, maybe after the sender has given up.
func (p *simProc) request(ctx context.Context, what, key string, changes bool, land func() error) error {
	r := p.fate(what, key)
	if alive, err := p.pause(ctx, 0); !alive {
		return simError(what, key, driver.KindClosed, errGone)
	} else if err != nil {
		return simError(what, key, driver.KindOther, err)
	}
	out, back := millis(r, 1, 20), millis(r, 1, 20)
	rough := p.net.rough
	p.net.mu.Lock()
	if p.net.calm {
		rough = 0
	}
	p.net.mu.Unlock()
	dice := r.IntN(1000)
	bad := func(perMille int) bool {
		dice -= perMille * rough
		return dice < 0
	}
	var fail error
	again := time.Duration(0)
	switch {
	case rough == 0:
	case bad(8): // never arrives
		p.net.note("lost request")
		out = -1
		fail = simError(what, key, driver.KindTransient, errInjected)
	case bad(10): // arrives, and the reply is lost
		p.net.note("lost reply")
		fail = simError(what, key, driver.KindTransient, errInjected)
	case bad(8): // the sender gives up first
		p.net.note("late")
		fail = simError(what, key, driver.KindTransient, errInjected)
		out = back + millis(r, 10, 3000)
	case bad(4):
		p.net.note("very late")
		fail = simError(what, key, driver.KindTransient, errInjected)
		out = back + millis(r, 1000, 600_000)
	case bad(6):
		p.net.note("twice")
		again = millis(r, 1, 100_000)
	case bad(5): // the client's own second attempt meets its first
		p.net.note("echo")
		if what == "create" {
			fail = simError(what, key, driver.KindExist, nil)
		}
	case bad(6): // slow, one way or the other
		p.net.note("slow")
		out, back = millis(r, 1, 30_000), millis(r, 1, 30_000)
	case bad(2): // success is learnt long after
		p.net.note("learnt late")
		back = millis(r, 1000, 200_000)
	}
	reply := make(chan error, 1)
	if out >= 0 {
		p.net.wg.Go(func() {
			if !p.net.sleep(out) {
				reply <- simError(what, key, driver.KindClosed, errGone)
				return
			}
			reply <- land()
			if again > 0 && changes && p.net.sleep(again) {
				_ = land()
			}
		})
	}
	if fail != nil && driver.KindOf(fail) == driver.KindTransient {
		if alive, err := p.pause(ctx, back); !alive {
			return simError(what, key, driver.KindClosed, errGone)
		} else if err != nil {
			return simError(what, key, driver.KindOther, err)
		}
		return fail
	}
	var err error
	select {
	case err = <-reply:
	case <-ctx.Done():
		return simError(what, key, driver.KindOther, ctx.Err())
	case <-p.dead:
		<-p.net.end
		return simError(what, key, driver.KindClosed, errGone)
	}
	if alive, cerr := p.pause(ctx, back); !alive {
		return simError(what, key, driver.KindClosed, errGone)
	} else if cerr != nil {
		return simError(what, key, driver.KindOther, cerr)
	}
	if fail != nil {
		return fail
	}
	return err
}

// sleep waits on the network's side; false when the world has ended.
func (n *simNet) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.end:
		return false
	}
}

// simStore is a driver.Store over the network.
type simStore struct {
	p     *simProc
	to    *mem.Store
	fates string // before the keys, where fates are drawn
}

// fate names a request where its fate is drawn. Names of holds and requests are random, whatever the seed.
func (s *simStore) fate(key string) string {
	for _, random := range []string{"hold/", "request/"} {
		if strings.HasPrefix(key, random) {
			key = random
		}
	}
	return s.fates + key
}

var simBackground = context.Background()

func (s *simStore) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	data = append([]byte(nil), data...)
	what := "put"
	if o.IfAbsent {
		what = "create"
	}
	return s.p.request(ctx, what, s.fate(key), true, func() error { return s.to.Put(simBackground, key, data, o) })
}

func (s *simStore) Delete(ctx context.Context, keys []string) error {
	keys = append([]string(nil), keys...)
	name := ""
	if len(keys) > 0 {
		name = keys[0]
	}
	return s.p.request(ctx, "delete", s.fate(name), true, func() error { return s.to.Delete(simBackground, keys) })
}

func (s *simStore) Stat(ctx context.Context, key string) (i driver.Info, err error) {
	var got driver.Info
	err = s.p.request(ctx, "stat", s.fate(key), false, func() (err error) {
		got, err = s.to.Stat(simBackground, key)
		return err
	})
	if err != nil {
		return driver.Info{}, err
	}
	return got, nil
}

func (s *simStore) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	type result struct{ r io.ReadCloser }
	got := make(chan result, 2)
	err := s.p.request(ctx, "get", s.fate(key), false, func() error {
		r, err := s.to.Get(simBackground, key, off, n)
		if err == nil {
			got <- result{r}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return (<-got).r, nil
}

func (s *simStore) List(ctx context.Context, prefix, after string) iter.Seq2[driver.Info, error] {
	return func(yield func(driver.Info, error) bool) {
		got := make(chan []driver.Info, 2)
		err := s.p.request(ctx, "list", s.fate(prefix+after), false, func() error {
			all, err := driver.ListAll(simBackground, s.to, prefix, after)
			if err == nil {
				got <- all
			}
			return err
		})
		if err != nil {
			yield(driver.Info{}, err)
			return
		}
		for _, i := range <-got {
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (s *simStore) Capabilities() driver.Capabilities {
	c := s.to.Capabilities()
	c.Name = "sim"
	return c
}

func (s *simStore) Close() error { return nil } // what is under way lands all the same
