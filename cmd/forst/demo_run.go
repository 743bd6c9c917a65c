package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// demo is one run of forst demo.
type demo struct {
	*demoConfig
	progress *progress
	data     dataSet
	ledger   *ledger
	vol      *demoVolume
	res      *demoResult
}

// runDemo does all of it. The result is nil when the demo could not be carried through.
func runDemo(ctx context.Context, c *demoConfig, p *progress) (_ *demoResult, err error) {
	start := time.Now()
	data, err := openData(c.Input, c.Records, c.Seed)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	defer p.clear()
	vol, use, err := makeDemoVolume(ctx, c.Store)
	if err != nil {
		return nil, err
	}
	writers := int(min(int64(c.Writers), data.Len()))
	d := &demo{demoConfig: c, progress: p, data: data, ledger: newLedger(data, writers), vol: vol, res: &demoResult{
		Store: display(vol.url), DataSet: data.String(), Seed: c.Seed, Records: data.Len(), Writers: writers, Use: use,
	}}
	p.line("%s (%s) into Pebble on %s; %d writers, %d kills, seed %d", data, size(data.Bytes()), d.res.Store, writers, c.Kills, c.Seed)

	err = d.rounds(ctx)
	d.res.Acknowledged = d.ledger.acked
	d.res.Seconds = time.Since(start).Seconds()
	d.res.OK = err == nil && d.res.Finding.ok()
	if c.Keep || err == nil && !d.res.OK {
		p.line("kept: %s", d.res.Store)
	} else {
		p.update("removing the volume")
		err = errors.Join(err, vol.remove(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return nil, err
	}
	return d.res, nil
}

// rounds runs the writer process Kills times until it is killed and once to the end, and checks the database after each. It
// ends at the first loss.
func (d *demo) rounds(ctx context.Context) error {
	for r := range d.Kills + 1 {
		what, err := d.write(ctx, r)
		if err != nil {
			return err
		}
		if err := d.reopen(ctx, r, what); err != nil {
			return err
		}
		if !d.res.Finding.ok() {
			return nil
		}
	}
	return nil
}

// write runs one writer process until it is killed, or has finished, and deletes what it left on this machine.
func (d *demo) write(ctx context.Context, r int) (what string, err error) {
	local, err := os.MkdirTemp("", "forst-demo-local-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(local)
	job := writerJob{URL: d.vol.url, Input: d.Input, Records: d.data.Len(), Seed: d.Seed, Next: d.ledger.next(), Finish: r == d.Kills, Plant: d.Plant}
	w, err := startWriter(&job, local)
	if err != nil {
		return "", err
	}
	before := d.ledger.acked
	err = d.watch(ctx, w, r)
	n := d.ledger.acked - before
	if err != nil {
		return "", err
	}
	if job.Finish {
		return fmt.Sprintf("%s commits acknowledged, closed", count(n)), nil
	}
	d.res.Kills++
	return fmt.Sprintf("SIGKILL after %s acknowledged commits, local files deleted", count(n)), nil
}

// watch takes the reports of a writer process until it has ended, and kills it at the moment that the seed gives.
func (d *demo) watch(ctx context.Context, w *writer, r int) error {
	rng := rand.New(rand.NewPCG(d.Seed, uint64(r)))
	all := d.data.Len()
	left := all - d.ledger.present()
	// A random number of commits, twice an equal share at most, and then a random part of a few group commits.
	killAt := d.ledger.present() + rng.Int64N(max(1, 2*left/int64(d.Kills-r+1)))
	pause := time.Duration(rng.Int64N(int64(30 * time.Millisecond)))
	finish := r == d.Kills

	var kill <-chan time.Time
	arm := func() {
		if !finish && kill == nil && d.ledger.present() >= killAt {
			kill = time.After(pause)
		}
	}
	arm()
	start, before := time.Now(), d.ledger.acked
	var use usage
	var done, killed bool
	var failure error
	fail := func(err error) {
		if failure == nil {
			failure = err
		}
		w.kill()
	}
	stop := ctx.Done()
	for open := true; open; {
		select {
		case m, ok := <-w.messages:
			if !ok {
				open = false
				break
			}
			use = m.Use
			switch m.Kind {
			case msgAck:
				if err := d.ledger.ack(int(m.Writer), int64(m.Seq)); err != nil {
					fail(err)
				}
				arm()
			case msgDone:
				done = true
			}
			have := d.ledger.present()
			d.progress.update("run %d: %3d%%  %s of %s commits, %.0f/s", r+1, 100*have/all, count(have), count(all),
				float64(d.ledger.acked-before)/time.Since(start).Seconds())
		case <-kill:
			killed = true
			w.kill()
		case <-stop:
			stop = nil
			fail(ctx.Err())
		}
	}
	d.res.Use.add(use)
	err := w.wait()
	switch {
	case failure != nil:
		return failure
	case w.err != nil:
		return w.err
	case killed, finish && done && err == nil:
		return nil
	default:
		return fmt.Errorf("the writer process ended by itself (%v): %s", err, w.lastWords())
	}
}

// reopen opens the database from the store, which takes the volume over, and checks all of it.
func (d *demo) reopen(ctx context.Context, r int, what string) (err error) {
	d.progress.update("run %d: %s; reopening", r+1, what)
	start := time.Now()
	db, err := openDemoDB(ctx, d.vol.url, d.ledger.present() > 0)
	took := time.Since(start)
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		var f *finding
		if f, err = d.ledger.check(func(func(k, v []byte) bool) {}); err == nil {
			d.res.Finding = *f
			d.progress.line("run %d: %s; the database is not there: %s", r+1, what, f)
		}
		return err
	}
	if err != nil {
		return fmt.Errorf("reopen after run %d: %w", r+1, err)
	}
	d.res.ReopenMillis = append(d.res.ReopenMillis, float64(took.Microseconds())/1000)
	f, err := d.verify(ctx, r, db)
	err = errors.Join(err, db.Close())
	d.res.Use.add(db.usage())
	if err != nil {
		return fmt.Errorf("check after run %d: %w", r+1, err)
	}
	d.res.Finding = *f
	d.progress.line("run %d: %s; reopened in %s; %s", r+1, what, brief(took), f)
	for _, detail := range f.Details {
		d.progress.line("  %s", detail)
	}
	return nil
}

func (d *demo) verify(ctx context.Context, r int, db *demoDB) (*finding, error) {
	if err := plantFault(db.db, d.ledger, d.Plant); err != nil {
		return nil, err
	}
	if l, ok := d.data.(*lines); ok {
		if err := l.Unchanged(); err != nil {
			return nil, err
		}
	}
	it, err := db.db.NewIterWithContext(ctx, nil)
	if err != nil {
		return nil, err
	}
	var n int64
	f, err := d.ledger.check(entries(ctx, it, func() {
		n++
		d.progress.update("run %d: checking, %3d%%", r+1, min(100, 100*n/max(1, d.ledger.present())))
	}))
	// An iterator that failed half-way looks like an end: its error must come before any finding.
	if err = errors.Join(err, ctx.Err(), it.Close()); err != nil {
		return nil, err
	}
	return f, nil
}

// entries gives all keys and values of it, calling each for every one. After the end of ctx it stops early.
func entries(ctx context.Context, it *pebble.Iterator, each func()) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for ok := it.First(); ok && ctx.Err() == nil; ok = it.Next() {
			each()
			v, err := it.ValueAndErr()
			if err != nil || !yield(it.Key(), v) {
				return // Close reports the error
			}
		}
	}
}

// writer is a writer process that runs.
type writer struct {
	cmd      *exec.Cmd
	stdin    io.Closer
	stderr   bytes.Buffer
	messages chan message
	err      error // of reading messages; read it after messages was closed
}

// startWriter starts this program again as a writer process whose temporary directory is local. The caller drains messages
// and then calls wait.
func startWriter(job *writerJob, local string) (*writer, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, to start the writer process: %w", err)
	}
	w := &writer{cmd: exec.Command(exe, "demo-writer"), messages: make(chan message, 4096)}
	w.cmd.Env = append(os.Environ(), "TMPDIR="+local, "TMP="+local, "TEMP="+local)
	w.cmd.Stderr = &w.stderr
	stdin, err := w.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the writer process: %w", err)
	}
	w.stdin = stdin
	go func() {
		defer close(w.messages)
		for {
			m, err := readMessage(stdout)
			if err != nil {
				if err != io.EOF {
					w.err = err
					w.kill()
				}
				return
			}
			w.messages <- m
		}
	}()
	b, err := json.Marshal(job)
	if err == nil {
		_, err = stdin.Write(append(b, '\n'))
	}
	if err != nil {
		w.kill()
		for range w.messages {
		}
		w.wait()
		return nil, fmt.Errorf("start the writer process: %w: %s", err, w.lastWords())
	}
	return w, nil
}

// kill ends the process without warning; SIGKILL on Unix.
func (w *writer) kill() { w.cmd.Process.Kill() }

func (w *writer) wait() error {
	w.stdin.Close()
	return w.cmd.Wait()
}

// lastWords is the last line that the process wrote to standard error. Call it after wait.
func (w *writer) lastWords() string {
	all := strings.Split(strings.TrimSpace(w.stderr.String()), "\n")
	last := strings.TrimPrefix(all[len(all)-1], "forst: ")
	if last == "" {
		return "it said nothing"
	}
	return last
}
