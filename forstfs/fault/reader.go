package fault

import (
	"fmt"
	"io"
	"time"
)

// reader passes the bytes of a get on, at the model's speed and up to the rule's cut.
type reader struct {
	f     *flight
	in    io.ReadCloser
	begun time.Time
	got   int64
}

func (f *flight) reader(in io.ReadCloser) io.ReadCloser {
	if f.s.opt.Latency.Bandwidth <= 0 && f.act.kind != actShort && f.act.kind != actFlip {
		return in
	}
	return &reader{f: f, in: in, begun: time.Now()}
}

func (r *reader) Read(p []byte) (int, error) {
	act := r.f.act
	if act.kind == actShort {
		if r.got >= act.n {
			if act.err == nil {
				return 0, io.EOF
			}
			return 0, act.failure(&r.f.call)
		}
		p = p[:min(int64(len(p)), act.n-r.got)]
	}
	n, err := r.in.Read(p)
	if at := act.n - r.got; act.kind == actFlip && 0 <= at && at < int64(n) {
		p[at] ^= 1
	}
	r.got += int64(n)
	// Paced against the beginning, so that the coarseness of a timer does not add up. Small debts wait for more.
	behind := r.f.s.opt.Latency.transfer(r.got) - time.Since(r.begun)
	if behind > time.Millisecond || behind > 0 && err != nil {
		if serr := sleep(r.f.ctx, behind); serr != nil {
			return 0, r.f.wrap(fmt.Errorf("%d bytes read: %w", r.got-int64(n), serr))
		}
	}
	return n, err
}

func (r *reader) Close() error { return r.in.Close() }
