package mem

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// Bucket holds objects until it is garbage: the part of a store that survives its users. Its methods may be called from
// many goroutines.
type Bucket struct {
	opt Options

	mu      sync.RWMutex
	objects map[string]object
	keys    []string // sorted
	pending map[*Request]struct{}
}

type object struct {
	data []byte // never changed
	time time.Time
}

// refusal is why a request changed nothing.
type refusal struct {
	kind  driver.Kind
	cause error
}

// NewBucket makes an empty bucket.
func NewBucket(o *Options) *Bucket {
	return &Bucket{opt: o.orDefault(), objects: map[string]object{}, pending: map[*Request]struct{}{}}
}

// Open gives a new handle on the objects below prefix, which is empty or a legal key. Keys of the handle are relative to it.
func (b *Bucket) Open(prefix string) (*Store, error) {
	if prefix == "" {
		return b.open(""), nil
	}
	if err := driver.CheckKey(prefix); err != nil {
		return nil, &driver.Error{Op: "open", Path: "mem://" + b.opt.Name + "/" + prefix, Kind: driver.KindInvalid, Err: err}
	}
	return b.open(prefix + "/"), nil
}

func (b *Bucket) open(prefix string) *Store { return &Store{b: b, prefix: prefix} }

// Name is the name in the bucket's URLs.
func (b *Bucket) Name() string { return b.opt.Name }

// Len is the number of objects.
func (b *Bucket) Len() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.keys)
}

// Pending is the number of changing requests under way.
func (b *Bucket) Pending() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.pending)
}

// Snapshot copies the bucket as it is: every object, nothing that is under way.
func (b *Bucket) Snapshot() *Bucket {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.copyLocked()
}

func (b *Bucket) copyLocked() *Bucket {
	c := NewBucket(&b.opt)
	c.keys = slices.Clone(b.keys)
	for k, o := range b.objects {
		c.objects[k] = o // the bytes are never changed, so they are shared
	}
	return c
}

// CrashClone is the world after every user of the bucket has died at this moment: a new Bucket with every object that is
// there, and of the changing requests under way a part that the seed chooses, in an order that it chooses. A delete of
// several keys may land for some of them. The same seed, objects and requests give the same clone, in whatever order the
// requests came. The bucket itself and its users go on undisturbed; the clone has its options except Hold.
func (b *Bucket) CrashClone(seed uint64) *Bucket {
	b.mu.RLock()
	defer b.mu.RUnlock()
	c := b.copyLocked()
	c.opt.Hold = nil
	var parts []Request
	for r := range b.pending {
		for _, key := range r.Keys {
			one := *r
			one.Keys = []string{key}
			one.Data = slices.Clone(r.Data) // an announced request's bytes are its sender's
			parts = append(parts, one)
		}
	}
	slices.SortFunc(parts, compareRequests)
	rng := rand.New(rand.NewPCG(seed, uint64(len(b.keys))))
	rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	for _, r := range parts {
		if rng.IntN(2) == 0 {
			c.apply(r)
		}
	}
	return c
}

func compareRequests(x, y Request) int {
	return cmp.Or(cmp.Compare(x.Op, y.Op), cmp.Compare(x.Keys[0], y.Keys[0]), slices.Compare(x.Data, y.Data),
		cmp.Compare(flag(x.IfAbsent), flag(y.IfAbsent)))
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// announce makes r a request that is under way, until land or withdraw.
func (b *Bucket) announce(r Request) *Request {
	b.mu.Lock()
	b.pending[&r] = struct{}{}
	b.mu.Unlock()
	return &r
}

func (b *Bucket) withdraw(r *Request) {
	b.mu.Lock()
	delete(b.pending, r)
	b.mu.Unlock()
}

// land applies r and ends its being under way in one step, so that a clone sees it exactly once.
func (b *Bucket) land(r *Request) *refusal {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pending, r)
	return b.apply(*r)
}

// apply changes the bucket; the caller holds b.mu.
func (b *Bucket) apply(r Request) *refusal {
	if r.Op == "delete" {
		b.remove(r.Keys)
		return nil
	}
	key := r.Keys[0]
	_, exists := b.objects[key]
	if exists && r.IfAbsent {
		return &refusal{kind: driver.KindExist}
	}
	if !exists {
		if other, ok := b.conflict(key); ok {
			return &refusal{driver.KindInvalid, fmt.Errorf("a key must not be a /-prefix of another: %s exists", other)}
		}
		i, _ := slices.BinarySearch(b.keys, key)
		b.keys = slices.Insert(b.keys, i, key)
	}
	b.objects[key] = object{r.Data, time.Now()}
	return nil
}

// conflict looks for a key that is a "/"-prefix of key, or the other way round.
func (b *Bucket) conflict(key string) (string, bool) {
	for i := 0; i < len(key); i++ {
		if key[i] == '/' {
			if _, ok := b.objects[key[:i]]; ok {
				return key[:i], true
			}
		}
	}
	i, _ := slices.BinarySearch(b.keys, key+"/")
	if i < len(b.keys) && strings.HasPrefix(b.keys[i], key+"/") {
		return b.keys[i], true
	}
	return "", false
}

func (b *Bucket) remove(keys []string) {
	gone := 0
	for _, key := range keys {
		if _, ok := b.objects[key]; ok {
			delete(b.objects, key)
			gone++
		}
	}
	switch {
	case gone == 0:
	case gone < 8:
		for _, key := range keys {
			if i, ok := slices.BinarySearch(b.keys, key); ok {
				b.keys = slices.Delete(b.keys, i, i+1)
			}
		}
	default: // one pass instead of a move of the slice per key
		b.keys = slices.DeleteFunc(b.keys, func(k string) bool { _, ok := b.objects[k]; return !ok })
	}
}

func (b *Bucket) find(key string) (object, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	o, ok := b.objects[key]
	return o, ok
}

// page gives at most one page of what begins with prefix and is greater than from.
func (b *Bucket) page(prefix, from string) []driver.Info {
	b.mu.RLock()
	defer b.mu.RUnlock()
	i, _ := slices.BinarySearch(b.keys, prefix)
	if from >= prefix {
		j, found := slices.BinarySearch(b.keys, from)
		if found {
			j++
		}
		i = max(i, j)
	}
	var page []driver.Info
	for ; i < len(b.keys) && len(page) < b.opt.ListPage && strings.HasPrefix(b.keys[i], prefix); i++ {
		o := b.objects[b.keys[i]]
		page = append(page, driver.Info{Key: b.keys[i], Size: int64(len(o.data)), ModTime: o.time})
	}
	return page
}

// Equal reports whether both buckets hold the same keys with the same bytes.
func (b *Bucket) Equal(other *Bucket) bool {
	if b == other {
		return true
	}
	x, y := b.Snapshot(), other.Snapshot()
	return maps.EqualFunc(x.objects, y.objects, func(o, p object) bool { return bytes.Equal(o.data, p.data) })
}
