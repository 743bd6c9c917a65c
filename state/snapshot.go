package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/mutant"
)

// SnapshotStats say what a snapshot took.
type SnapshotStats struct {
	ID     uint64
	Sync   time.Duration // the caller was held up for so long, and nobody else
	Drain  time.Duration // requests issued before it finished; newer ones read, but what they write had to wait
	Seal   time.Duration // memtables were sealed; newer requests could not write yet
	Flush  time.Duration // memtables went to tables
	Commit time.Duration // the volumes' snapshots and the record
	Bytes  int64         // logical size of the snapshot
}

func (s SnapshotStats) String() string {
	return fmt.Sprintf("snapshot %d: held up its caller for %v, writes for %v (%v of it waiting for earlier requests), flush %v, commit %v, %d B", s.ID, s.Sync, s.Drain+s.Seal, s.Drain, s.Flush, s.Commit, s.Bytes)
}

// Snapshot is a snapshot under way.
type Snapshot struct {
	b      *Backend
	bases  []*database // the same until capture gives Backend.cut back
	rec    *record
	cancel context.CancelFunc
	fut    *Future[SnapshotStats]
	stats  SnapshotStats
	marked time.Time
	sealed time.Time
}

// Snapshot begins checkpoint id of this backend: everything that was issued before the call, nothing that is issued after it has returned, and meta, which is
// committed with it in one step (source offsets, for example; up to 1 MiB). It marks that moment among the requests and returns: it waits for no request, no read and no
// upload. In the background, requests issued before it finish; those issued after it are read meanwhile, and write when the memtables have
// been sealed. Wait of the result says when the checkpoint is committed.
//
// Numbers are chosen by the caller, the same for all instances of a job, and rise. Snapshots of one backend follow one another: a call waits
// until the one before is captured (its tables uploaded).
func (b *Backend) Snapshot(ctx context.Context, id uint64, meta []byte) (*Snapshot, error) {
	if len(meta) > MaxMeta {
		return nil, fmt.Errorf("%d bytes of metadata: at most %d", len(meta), MaxMeta)
	}
	if err := b.snaps.begin(b); err != nil {
		return nil, err
	}
	s, err := b.beginSnapshot(ctx, id, meta)
	if err != nil {
		b.snaps.wg.Done()
		return nil, fmt.Errorf("snapshot %d: %w", id, err)
	}
	return s, nil
}

func (b *Backend) beginSnapshot(ctx context.Context, id uint64, meta []byte) (*Snapshot, error) {
	if err := b.takeCut(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	past, err := b.core.mark()
	if err != nil {
		<-b.cut
		return nil, err
	}
	rec := &record{Format: recordFormat, ID: id, Run: b.o.Run, Keys: b.o.Keys, Meta: append([]byte{}, meta...)}
	if mutant.On(mutMeta) {
		rec.Meta = nil
	}
	run, cancel := context.WithCancel(context.Background())
	s := &Snapshot{b: b, bases: b.bases.current(), rec: rec, cancel: cancel, fut: new(Future[SnapshotStats]), marked: time.Now()}
	s.stats = SnapshotStats{ID: id, Sync: s.marked.Sub(begun)}
	go s.run(run, past)
	return s, nil
}

// seal waits for the requests from before the snapshot, ends the memtables and lets newer requests write. Without an error, flushes are closed when what the
// memtables held is in tables, and captured must be called for each database.
func (s *Snapshot) seal(ctx context.Context, past <-chan struct{}) (flushes []<-chan struct{}, err error) {
	defer s.b.core.release()
	select {
	case <-past:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	drained := time.Now()
	s.stats.Drain = drained.Sub(s.marked)
	flushes = make([]<-chan struct{}, len(s.bases))
	for i, d := range s.bases {
		if flushes[i], err = d.seal(); err != nil {
			for _, d := range s.bases[:i] {
				d.captured()
			}
			return nil, err
		}
	}
	s.sealed = time.Now()
	s.stats.Seal = s.sealed.Sub(drained)
	return flushes, nil
}

// Wait waits for the end: nil means that the checkpoint is committed and can be restored. When ctx ends first the snapshot goes on.
func (s *Snapshot) Wait(ctx context.Context) (SnapshotStats, error) { return s.fut.Wait(ctx) }

// Done is closed when the snapshot is committed or has failed.
func (s *Snapshot) Done() <-chan struct{} { return s.fut.Done() }

// Abort gives the snapshot up and waits for its end. nil: it is not committed. ErrCheckpointExists: it was committed before. Another error leaves that
// unknown: look at Checkpoints.
func (s *Snapshot) Abort() error {
	s.cancel()
	<-s.fut.Done()
	switch _, err := s.fut.Wait(context.Background()); {
	case err == nil:
		return ErrCheckpointExists
	case errors.Is(err, errUnknownOutcome):
		return err
	}
	return nil
}

// errUnknownOutcome: the record may be there or not.
var errUnknownOutcome = errors.New("it is not known whether the checkpoint is committed; see Checkpoints")

func (s *Snapshot) run(ctx context.Context, past <-chan struct{}) {
	defer s.b.snaps.wg.Done()
	defer s.cancel()
	err := s.capture(ctx, past)
	if err == nil {
		err = s.commit(ctx)
	} else {
		s.undo()
	}
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, errUnknownOutcome) {
			err = errors.Join(ErrAborted, err)
		}
		err = fmt.Errorf("snapshot %d: %w", s.stats.ID, err)
	}
	s.b.snaps.ended(s.stats, err)
	if f := s.b.o.Listener.Snapshot; f != nil {
		f(s.stats.ID, s.stats, err)
	}
	s.fut.resolve(s.stats, err)
	if err == nil {
		if err := s.b.retain(ctx); err != nil && ctx.Err() == nil {
			s.b.o.Logger.Warn("retention", "error", err)
			if f := s.b.o.Listener.Failed; f != nil {
				f("removing old checkpoints", err)
			}
		}
	}
}

// capture seals, waits for the flushes and takes the volumes' snapshots. Behind it writers are free again, whatever happened.
func (s *Snapshot) capture(ctx context.Context, past <-chan struct{}) error {
	b := s.b
	defer func() { <-b.cut }()
	flushes, err := s.seal(ctx, past)
	if err != nil {
		return err
	}
	s.rec.Shards = make([]recordShard, len(s.bases))
	errs := make([]error, len(s.bases))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, d := range s.bases {
		wg.Go(func() {
			defer d.captured()
			if errs[i] = d.waitFlushed(ctx, flushes[i]); errs[i] != nil {
				return
			}
			mu.Lock()
			s.stats.Flush = max(s.stats.Flush, time.Since(s.sealed))
			mu.Unlock()
			info, err := d.vol.Snapshot(ctx, "state-"+newName(), &forstfs.SnapshotOptions{Dir: dbDir})
			if errs[i] = err; err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			s.stats.Bytes += info.Bytes
			s.rec.Shards[i] = recordShard{d.name, info.ID, b.keysIn(d)}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// commit creates the record.
func (s *Snapshot) commit(ctx context.Context) error {
	if ctx.Err() != nil {
		s.undo()
		return ctx.Err()
	}
	s.rec.Created, s.rec.Bytes = s.b.o.Clock().UTC(), s.stats.Bytes
	created, err := putRecord(ctx, s.b.root, s.rec)
	s.stats.Commit = time.Since(s.sealed) - s.stats.Flush
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errUnknownOutcome, err)
	case !created:
		s.undo()
		return fmt.Errorf("%w: %s", ErrCheckpointExists, s.rec.key())
	}
	return nil
}

// undo removes the volumes' snapshots that nobody will name. What fails here is garbage and harms nobody.
func (s *Snapshot) undo() {
	for i, r := range s.rec.Shards {
		if r.Snapshot != "" {
			if err := s.bases[i].vol.RemoveSnapshot(context.Background(), r.Snapshot); err != nil {
				s.b.o.Logger.Warn("removing what an unfinished snapshot left", "error", err)
			}
		}
	}
}

// snapshots are those under way.
type snapshots struct {
	mu        sync.Mutex
	wg        sync.WaitGroup
	committed int64
	last      SnapshotStats
}

// begin counts a snapshot that Close has to wait for.
func (s *snapshots) begin(b *Backend) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return ErrClosed
	}
	s.wg.Add(1)
	return nil
}

func (s *snapshots) ended(st SnapshotStats, err error) {
	if err == nil {
		s.mu.Lock()
		s.committed++
		s.last = st
		s.mu.Unlock()
	}
}

func (s *snapshots) wait() {
	if !mutant.On(mutCloseEarly) {
		s.wg.Wait()
	}
}

func (s *snapshots) stats() (int64, SnapshotStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed, s.last
}
