package forstfs

import "sync"

// buffers hands out the memory of bulk files' tails and takes it back when their objects are in the store. It makes next to no
// garbage, so that a process holds what the budget says and not what the garbage collector has not got round to.
type buffers struct {
	mu    sync.Mutex
	free  map[int][][]byte // by capacity
	bytes int64            // in free
	out   int64            // handed out
	max   int64
}

// buffer is one allocation; the segments that a tail was split into share it.
type buffer struct {
	data []byte
	refs int  // guarded by buffers.mu
	lost bool // guarded by buffers.mu: not for reuse
}

const firstBuffer = 32 << 10

// poolSlack is how much the buffers in use and those kept for reuse may hold beyond the budget: sizes change as files grow, and what is not kept is
// garbage for a while, which costs more.
const poolSlack = 32 << 20

// next is the capacity that a tail of size bytes grows to, if it becomes an object at limit.
func nextCap(size int, limit int64) int {
	want := firstBuffer
	for want < size {
		want *= 4
	}
	if want > int(limit)/4 && size <= int(limit) {
		return int(limit)
	}
	return want
}

// get gives a buffer of this capacity and no length.
func (p *buffers) get(capacity int) *buffer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out += int64(capacity)
	if l := p.free[capacity]; len(l) > 0 {
		b := l[len(l)-1]
		p.free[capacity] = l[:len(l)-1]
		p.bytes -= int64(capacity)
		return &buffer{data: b, refs: 1}
	}
	for c, l := range p.free { // the budget bounds both together: what waits for another size makes room
		if p.out+p.bytes <= p.max {
			break
		}
		p.bytes -= int64(len(l)) * int64(c)
		delete(p.free, c)
	}
	return &buffer{data: make([]byte, 0, capacity), refs: 1}
}

// share says that n segments use the buffer from now on.
func (p *buffers) share(b *buffer, n int) {
	p.mu.Lock()
	b.refs = n
	p.mu.Unlock()
}

// done gives up one use of a buffer that nobody reads any more.
func (p *buffers) done(b *buffer) {
	if b == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.refs--; b.refs > 0 {
		return
	}
	size := int64(cap(b.data))
	p.out -= size
	if b.lost {
		return
	}
	for c, l := range p.free { // room for what is in use now, at the expense of sizes that are not
		if p.out+p.bytes+size <= p.max {
			break
		}
		if len(l) > 0 && c != cap(b.data) {
			p.bytes -= int64(len(l)) * int64(c)
			delete(p.free, c)
		}
	}
	if p.out+p.bytes+size <= p.max {
		p.free[cap(b.data)] = append(p.free[cap(b.data)], b.data[:0])
		p.bytes += size
	}
}

// lose is done for a buffer that a request may still read: it is never handed out again.
func (p *buffers) lose(b *buffer) {
	if b == nil {
		return
	}
	p.mu.Lock()
	b.lost = true
	p.mu.Unlock()
	p.done(b)
}
