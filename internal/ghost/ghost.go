// Package ghost remembers keys that a cache does not hold, for its policy: a key that comes back while it is remembered is worth more than a new one.
package ghost

// ways is the size of a set: the oldest of so many gives way to a new one, which is close to the oldest of all.
const ways = 4

// List remembers the last hashes that were put into it, about as many as it was made for. It has no pointers, so that the garbage collector passes over it,
// and allocates nothing once it is made. It may forget a hash early, and takes another one for it once in 100 million times: it is for guesses. Not for use by
// several goroutines at once, but for Has.
type List struct {
	sets  [][ways]entry // a power of two
	now   uint32        // hashes put so far, modulo 2^32
	lasts uint32
}

type entry struct{ print, at uint32 } // at: List.now when it was put; 0: empty

// New makes a list of n hashes.
func New(n int) List {
	sets := 1
	for sets*ways < n {
		sets *= 2
	}
	return List{sets: make([][ways]entry, sets), lasts: uint32(max(n, 1))}
}

// Put remembers a hash as the newest.
func (l *List) Put(h uint64) {
	if l.now++; l.now == 0 {
		l.now = 1
	}
	s := l.set(h)
	to := &s[0]
	for i := range s {
		e := &s[i]
		if e.at != 0 && e.print == uint32(h>>32) {
			to = e
			break
		}
		if to.at != 0 && (e.at == 0 || l.now-e.at > l.now-to.at) {
			to = e
		}
	}
	*to = entry{uint32(h >> 32), l.now}
}

// Has reports whether a hash is remembered.
func (l *List) Has(h uint64) bool { return l.find(h) != nil }

// Take reports whether a hash is remembered, and forgets it.
func (l *List) Take(h uint64) bool {
	e := l.find(h)
	if e != nil {
		*e = entry{}
	}
	return e != nil
}

func (l *List) set(h uint64) *[ways]entry { return &l.sets[h&uint64(len(l.sets)-1)] }

func (l *List) find(h uint64) *entry {
	s := l.set(h)
	for i := range s {
		if e := &s[i]; e.at != 0 && e.print == uint32(h>>32) && l.now-e.at < l.lasts {
			return e
		}
	}
	return nil
}
