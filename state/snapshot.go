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
	Sync   time.Duration // requests were held up for so long
	Drain  time.Duration // of it: admitted requests finished
	Flush  time.Duration // memtables went to tables
	Commit time.Duration // the volumes' snapshots and the record
	Bytes  int64         // logical size of the snapshot
}

func (s SnapshotStats) String() string {
	return fmt.Sprintf("snapshot %d: held up requests for %v (%v of it waiting for them), flush %v, commit %v, %d B", s.ID, s.Sync, s.Drain, s.Flush, s.Commit, s.Bytes)
}

// Snapshot is a snapshot under way.
type Snapshot struct {
	b      *Backend
	bases  []*database // as they were at the cut
	rec    *record
	cancel context.CancelFunc
	fut    *Future[SnapshotStats]
	stats  SnapshotStats
	sealed time.Time
}

// Snapshot begins checkpoint id of this backend: everything that was issued before the call, nothing that is issued after it has returned, and meta, which is
// committed with it in one step (source offsets, for example; up to 1 MiB). It holds requests up until those that are admitted have finished, uploads
// nothing and returns; the rest happens in the background. Wait of the result says when the checkpoint is committed.
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
	if mutant.On(mutNoDrain) {
		// goes on
	} else if err := b.core.drain(ctx); err != nil {
		<-b.cut
		return nil, err
	}
	drained := time.Now()
	bases := b.bases.current() // the same until capture gives cut back
	flushes := make([]<-chan struct{}, len(bases))
	for i, d := range bases {
		ch, err := d.seal()
		if err != nil {
			for _, d := range bases[:i] {
				d.captured()
			}
			b.core.resume()
			<-b.cut
			return nil, err
		}
		flushes[i] = ch
	}
	b.core.resume()
	rec := &record{Format: recordFormat, ID: id, Run: b.o.Run, Keys: b.o.Keys, Meta: append([]byte{}, meta...)}
	if mutant.On(mutMeta) {
		rec.Meta = nil
	}
	run, cancel := context.WithCancel(context.Background())
	s := &Snapshot{b: b, bases: bases, rec: rec, cancel: cancel, fut: new(Future[SnapshotStats]), sealed: time.Now()}
	s.stats = SnapshotStats{ID: id, Sync: s.sealed.Sub(begun), Drain: drained.Sub(begun)}
	go s.run(run, flushes)
	return s, nil
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

func (s *Snapshot) run(ctx context.Context, flushes []<-chan struct{}) {
	defer s.b.snaps.wg.Done()
	defer s.cancel()
	err := s.capture(ctx, flushes)
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

// capture waits for the flushes and takes the volumes' snapshots. Behind it writers are free again, whatever happened.
func (s *Snapshot) capture(ctx context.Context, flushes []<-chan struct{}) error {
	b := s.b
	defer func() { <-b.cut }()
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
