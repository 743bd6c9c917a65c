package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/meter"
	"github.com/spf13/cobra"
)

// demoWriterCommand is the process that a demo kills. Hidden: only a demo starts it.
func (a *app) demoWriterCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "demo-writer",
		Short:  "The process that a demo kills; started by forst demo",
		Hidden: true,
		Args:   nargs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := bufio.NewReader(a.in)
			line, err := in.ReadBytes('\n')
			if err != nil {
				return usagef("demo-writer is started by forst demo: no job on standard input")
			}
			var job writerJob
			if err := json.Unmarshal(line, &job); err != nil {
				return usagef("demo-writer: the job is not readable: %v", err)
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() { // ends with the process at the latest: standard input is what tells that the parent is gone
				io.Copy(io.Discard, in)
				cancel()
			}()
			return runWriter(ctx, &job, a.out)
		},
	}
}

// demoDB is Pebble on a volume, opened as the demo's processes open it.
type demoDB struct {
	vol   *forstfs.FS
	db    *pebble.DB
	store *meter.Store
}

// demoPath is where the database lies in the volume of a demo.
const demoPath = "/db"

func openDemoDB(ctx context.Context, url string, mustExist bool) (*demoDB, error) {
	m, err := openMetered(ctx, url)
	if err != nil {
		return nil, err
	}
	vol, err := forstfs.Open(ctx, m, &forstfs.Options{Name: display(url), RetryBudget: time.Minute})
	if err != nil {
		return nil, err
	}
	o := &pebble.Options{
		FS:                 pebblev2.New(vol),
		Logger:             quietLogger{},
		ErrorIfNotExists:   mustExist,
		MemTableSize:       4 << 20,  // small, so that flushes and compactions take part in a demo of seconds,
		LBaseMaxBytes:      16 << 20, // and levels to match, so that compactions do not rewrite all of it each time
		FormatMajorVersion: pebble.FormatNewest,
	}
	pebblev2.Tune(o)
	db, err := pebble.Open(demoPath, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open Pebble in %s: %w", display(url), err), vol.Close())
	}
	return &demoDB{vol, db, m}, nil
}

// openMetered opens a store and counts what passes to it.
func openMetered(ctx context.Context, url string) (*meter.Store, error) {
	s, err := openStore(ctx, url)
	if err != nil {
		return nil, err
	}
	return meter.New(s), nil
}

// Close closes the database, then the volume.
func (d *demoDB) Close() error { return errors.Join(d.db.Close(), d.vol.Close()) }

func (d *demoDB) usage() usage { return usageOf(d.store) }

func usageOf(m *meter.Store) usage {
	all := m.Snapshot().Sum("", "")
	return usage{Requests: all.Requests, Sent: all.Out, Received: all.In}
}

// quietLogger passes on what stops the process and nothing else.
type quietLogger struct{}

func (quietLogger) Infof(string, ...any)  {}
func (quietLogger) Errorf(string, ...any) {}
func (quietLogger) Fatalf(format string, args ...any) {
	fmt.Fprintln(os.Stderr, "forst: pebble:", strings.TrimSpace(fmt.Sprintf(format, args...)))
	os.Exit(exitFailed)
}

// runWriter loads the records that are left, each writer its own in order, and reports every acknowledged commit before the
// writer begins its next one. It returns after a clean close, when the job says Finish; otherwise it waits for the
// kill, or the end of ctx.
func runWriter(ctx context.Context, job *writerJob, out io.Writer) error {
	data, err := openData(job.Input, job.Records, job.Seed)
	if err != nil {
		return err
	}
	defer data.Close()
	d, err := openDemoDB(ctx, job.URL, false)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	send := func(m message) error {
		m.Use = d.usage()
		mu.Lock()
		defer mu.Unlock()
		_, err := out.Write(m.encode())
		return err
	}
	if err := send(message{Kind: msgOpen}); err != nil {
		return err
	}

	stop := make(chan struct{})
	var ticker sync.WaitGroup
	ticker.Go(func() {
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				if send(message{Kind: msgRate}) != nil {
					return // the parent is gone; the end of standard input stops the rest
				}
			case <-stop:
				return
			}
		}
	})

	err = load(ctx, d.db, data, job, send)
	if err == nil && !job.Finish {
		<-ctx.Done()
		err = ctx.Err()
	}
	close(stop)
	ticker.Wait()
	if cerr := d.Close(); err == nil && cerr == nil {
		err = send(message{Kind: msgDone})
	} else {
		err = errors.Join(err, cerr)
	}
	return err
}

// load runs all writers and returns the first error.
func load(ctx context.Context, db *pebble.DB, data dataSet, job *writerJob, send func(message) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sched := schedule{data.Len(), len(job.Next)}
	var wg sync.WaitGroup
	for w, next := range job.Next {
		wg.Go(func() {
			if err := loadOne(ctx, db, data, sched, w, next, job.Plant == plantEarly, send); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// loadOne makes the commits of writer w from number next on. With early, a planted fault, each is reported one commit before it is made.
func loadOne(ctx context.Context, db *pebble.DB, data dataSet, sched schedule, w int, next int64, early bool, send func(message) error) error {
	var key, val []byte
	head := appendHead(nil, w)
	commit := func(n int64) error {
		i := sched.record(w, n)
		key = data.Key(key[:0], i)
		var err error
		if val, err = appendStored(val[:0], data, i); err != nil {
			return err
		}
		b := db.NewBatch()
		err = errors.Join(b.Set(key, val, nil), b.Set(head, binary.BigEndian.AppendUint64(nil, uint64(n)), nil))
		if err == nil {
			err = b.Commit(pebble.Sync)
		}
		if err = errors.Join(err, b.Close()); err != nil {
			return fmt.Errorf("commit %d of writer %d: %w", n, w, err)
		}
		return nil
	}
	for n := next; n <= sched.commits(w); n++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		made := n
		if early {
			made = n - 1
		}
		if made >= next {
			if err := commit(made); err != nil {
				return err
			}
		}
		if err := send(message{Kind: msgAck, Writer: uint32(w), Seq: uint64(n)}); err != nil {
			return err
		}
	}
	return nil
}
