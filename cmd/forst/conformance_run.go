package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/forst-go/forst/conformance"
)

// runConformance runs the chosen cases one after the other. The result is nil when it could not be carried through; the scratch
// prefix is removed in any case.
func runConformance(ctx context.Context, c *conformanceConfig, p *progress) (_ *conformanceResult, err error) {
	start := time.Now()
	if !p.tty {
		p.every = 15 * time.Second // between lines that only say that a long case goes on
	}
	defer p.clear()
	s, err := newScratch(ctx, c)
	if err != nil {
		return nil, err
	}
	res := &conformanceResult{Store: display(c.Store), OK: true}
	all := c.cases()
	p.line("%d cases on %s", len(all), s.String())
	rec := conformance.Record(ctx, "shared", s.tempDir, func(tb conformance.TB) {
		m := s.maker()
		err = res.run(ctx, all, s, &confShared{maker: m, store: conformance.NewStoreRun(tb, m)}, p)
	})
	for _, f := range rec.Failures() { // the removal of what the cases shared
		p.line("%s", oneLine(f))
	}
	p.update("removing %s", s)
	if rerr := s.remove(context.WithoutCancel(ctx)); rerr != nil {
		p.line("%v", rerr) // of several errors, an interrupted run reports only that it was interrupted
		err = errors.Join(err, rerr)
	}
	res.Use, res.Seconds = s.used(), time.Since(start).Seconds()
	if err != nil {
		return nil, err
	}
	return res, nil
}

// run fills in the results. It ends early, with an error, only when ctx does.
func (r *conformanceResult) run(ctx context.Context, all []confCase, s *scratch, shared *confShared, p *progress) error {
	group := 0 // where the results of the present group begin
	for i, c := range all {
		one, err := runCase(ctx, c, s, shared, func(took time.Duration) {
			p.update("%3d of %d  %s  %s", i+1, len(all), &c, took.Round(time.Second))
		})
		if err != nil {
			return err
		}
		r.Cases = append(r.Cases, one)
		if one.OK {
			r.Passed++
		} else {
			r.Failed++
			r.OK = false
			p.line("FAILED %s: %s", &c, oneLine(one.Failures[0]))
		}
		if i+1 == len(all) || all[i+1].suite != c.suite || all[i+1].group() != c.group() {
			failed, took := sumUp(r.Cases[group:])
			p.line("%3d of %d  %s/%s: %d passed, %d failed, %s", i+1, len(all), c.suite, c.group(), len(r.Cases)-group-failed, failed, took)
			group = len(r.Cases)
		}
	}
	return nil
}

// lastWait is how long an interrupted case may take to notice it. After that it is left alone: it can change nothing any more.
const lastWait = 5 * time.Second

// runCase runs one case and calls tick now and then. When ctx ends, the case can no longer change the store; then the error is that
// of ctx.
func runCase(ctx context.Context, c confCase, s *scratch, shared *confShared, tick func(time.Duration)) (caseResult, error) {
	start := time.Now()
	done := make(chan *conformance.Recorder, 1)
	go func() {
		done <- conformance.Record(ctx, c.String(), s.tempDir, func(tb conformance.TB) { c.run(tb, shared) })
	}()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			tick(time.Since(start))
		case rec := <-done:
			if ctx.Err() != nil { // what it says may be a consequence
				s.stop()
				return caseResult{}, ctx.Err()
			}
			failures := rec.Failures()
			return caseResult{Suite: c.suite, Name: c.name, OK: len(failures) == 0, Seconds: time.Since(start).Seconds(), Failures: failures,
				group: c.group()}, nil
		case <-ctx.Done():
			s.stop()
			select {
			case <-done:
			case <-time.After(lastWait):
			}
			return caseResult{}, ctx.Err()
		}
	}
}

// secrets are what the suite must find nowhere.
func secrets() []string {
	var found []string
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		if v := os.Getenv(name); len(v) >= 8 { // a shorter one would be found by chance
			found = append(found, v)
		}
	}
	return found
}

// tally adds up the usage of handles.
type tally struct{ requests, sent, received atomic.Int64 }

func (t *tally) add(u usage) {
	t.requests.Add(u.Requests)
	t.sent.Add(u.Sent)
	t.received.Add(u.Received)
}

func (t *tally) usage() usage {
	return usage{Requests: t.requests.Load(), Sent: t.sent.Load(), Received: t.received.Load()}
}

var errStopped = fmt.Errorf("the run was interrupted: %w", context.Canceled)
