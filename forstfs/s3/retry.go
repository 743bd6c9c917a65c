package s3

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// The retries are the driver's own and not the SDK's, for three reasons: one deadline holds for all attempts of a call, the
// time of an attempt grows with its bytes and its number, and no token bucket that other calls have emptied can end a call
// early (a journal frame that gives up fails the whole volume).

const (
	firstWait  = 50 * time.Millisecond
	slowWait   = 250 * time.Millisecond // after SlowDown
	longestGap = 5 * time.Second
	longestAsk = 30 * time.Second // the longest Retry-After that is followed
)

// call names one method call for errors and sizes its timeouts.
type call struct {
	op, key string
	bytes   int64 // that the call moves, or work of the store that takes as long
}

// attempt is one try; ctx ends when its time is up.
type attempt struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	keep   bool // the result (a body) lives on and ends the attempt itself
}

func newAttempt(ctx context.Context, d time.Duration) *attempt {
	a := &attempt{}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.timer = time.AfterFunc(d, func() { a.cancel(errTimeout) })
	return a
}

func (a *attempt) end() {
	a.timer.Stop()
	a.cancel(nil)
}

// do runs try until it succeeds, cannot succeed, or the time is up. Its error is a *driver.Error.
func (s *Store) do(ctx context.Context, c call, try func(*attempt) error) error {
	transfer := s.transferTime(c.bytes)
	start := time.Now()
	deadline := start.Add(s.cfg.RetryTimeout + transfer)
	for n := 1; ; n++ {
		if ctx.Err() != nil {
			return s.ended(ctx, c)
		}
		timeout := s.cfg.AttemptTimeout<<min(n-1, 3) + transfer
		if n > 1 { // the first attempt has its time even if RetryTimeout is shorter
			timeout = min(timeout, max(time.Until(deadline), s.cfg.AttemptTimeout))
		}
		a := newAttempt(ctx, timeout)
		err := try(a)
		if err == nil && a.keep {
			a.timer.Stop()
			return nil
		}
		a.end()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return s.ended(ctx, c)
		}
		f := classify(err)
		if f.attempts > 0 && n >= f.attempts {
			return s.fail(c, f.kind, s.counted(f.err, n, start))
		}
		wait := s.wait(n, f)
		if time.Now().Add(wait).After(deadline) {
			return s.fail(c, f.kind, s.counted(f.err, n, start))
		}
		s.retrying(ctx, c, n, wait, f.err)
		if !sleep(ctx, wait) {
			return s.ended(ctx, c)
		}
	}
}

func (s *Store) retrying(ctx context.Context, c call, n int, wait time.Duration, err error) {
	if s.cfg.OnRetry != nil {
		s.cfg.OnRetry(Retry{Op: c.op, Path: s.path(c.key), Component: driver.ComponentOf(ctx), Attempt: n, Wait: wait, Err: s.scrub(err)})
	}
}

// wait is the time before attempt n+1: exponential, half of it jitter.
func (s *Store) wait(n int, f failure) time.Duration {
	base := firstWait
	if f.slow {
		base = slowWait
	}
	d := min(base<<min(n-1, 10), longestGap)
	d = d/2 + time.Duration(s.random()*float64(d/2))
	return max(d, min(f.after, longestAsk))
}

func (s *Store) transferTime(bytes int64) time.Duration {
	return time.Duration(float64(bytes) / float64(s.cfg.MinBandwidth) * float64(time.Second))
}

func (s *Store) counted(err error, n int, start time.Time) error {
	if n == 1 {
		return err
	}
	return fmt.Errorf("%w (%d attempts in %v)", err, n, time.Since(start).Round(time.Millisecond))
}

func (s *Store) ended(ctx context.Context, c call) error {
	kind, err := ended(ctx)
	return s.fail(c, kind, err)
}

func (s *Store) fail(c call, kind driver.Kind, err error) error {
	return &driver.Error{Op: c.op, Path: s.path(c.key), Kind: kind, Err: s.scrub(err)}
}

// scrub replaces an error whose text holds a configured secret. No known error does; this is the last line.
func (s *Store) scrub(err error) error {
	if err == nil || s.leaks == nil || !s.leaks(err.Error()) {
		return err
	}
	return errors.New("the error's text held a secret and was removed")
}

// sleep waits and reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
