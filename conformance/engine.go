package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// Engine is a database engine as the durability suite drives it: what a further adapter has to write to be held against everything below. See
// docs/engine-guide.md.
type Engine struct {
	Name string
	// Open opens the database in the directory of a volume, and makes it unless o.MustExist. Its sizes should be small: a hundred commits of a
	// few hundred bytes make several flushes and a compaction.
	Open func(vol *forstfs.FS, dir string, o EngineOptions) (Database, error)
	// EndsProcess says that the engine ends its process when its volume has ended, by a panic that nobody can catch, for example. In this process its volumes
	// then never fail: they stand still, and what an end of the volume does is looked at in processes of their own.
	EndsProcess bool
	// Checkpoint makes a checkpoint of the database that outlives the machine's disk, as a snapshot of this name, and says in which directory of a clone of it the
	// database is. nil: the adapter has none.
	Checkpoint func(ctx context.Context, vol *forstfs.FS, db Database, name string) (dir string, err error)
}

// EngineOptions are what the suite asks of Engine.Open.
type EngineOptions struct {
	MustExist bool // a database that is not there is an error
	// Fatal is called by an engine that would end the process, and does not return to it. An engine that returns errors need not use it.
	Fatal func(why string)
}

// Database is an open database. Calls come from several goroutines at once, but for Close.
type Database interface {
	// Commit makes the changes, all or nothing; nil with sync means for good.
	Commit(changes []Change, sync bool) error
	// Scan gives everything there is, in any order.
	Scan(yield func(key, value []byte)) error
	// Flush writes what is in memory to tables. nil means that everything committed before is durable.
	Flush() error
	// Compact rewrites tables.
	Compact() error
	// Close ends the database; nil means that everything is durable.
	Close() error
}

// Change sets a key, or removes it.
type Change struct {
	Key, Value []byte
	Remove     bool
}

// engineDir is where the suite's database lies in a volume.
const engineDir = "/path/to/db"

// EngineCase is a DurabilityCase with an engine on top.
type EngineCase struct {
	Name string
	run  func(*fsEnv, Engine)
}

// EngineCases lists the cases of RunEngine in their order.
func EngineCases() []EngineCase {
	return slices.Concat(engineCrashCases, engineFaultCases, engineZombieCases)
}

// RunEngine checks that an engine on volumes in the stores of m keeps what it acknowledges: at every crash point (the states are built anew in
// memory), with every fault, and after a takeover. Without FORST_NIGHTLY it is a sample of the moments, a small one elsewhere than in memory. Goroutines of databases
// that were left to die stay until the process ends.
func RunEngine(t *testing.T, m Maker, e Engine) {
	for _, c := range EngineCases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			c.run(&fsEnv{TB: t, ctx: context.WithoutCancel(t.Context()), open: m.Fresh(t), last: new(sync.Map)}, e)
		})
	}
}

// life is one process with the database open. Whatever ends the process in truth ends the life here: nothing of it is heard any more.
type life struct {
	eng   Engine
	gate  *gateStore
	vol   *forstfs.FS
	db    Database
	fatal chan struct{}
	once  sync.Once
	real  bool // a process of its own: a panic ends it
}

// errStopped is what a call returns when the engine has ended its process.
var errStopped = errors.New("the engine has ended its process")

// live opens the volume in s, and the database. Its error ends the life.
func live(ctx context.Context, eng Engine, s driver.Store, o *forstfs.Options, mustExist bool) (*life, error) {
	return liveAt(ctx, eng, s, o, engineDir, mustExist)
}

func liveAt(ctx context.Context, eng Engine, s driver.Store, o *forstfs.Options, dir string, mustExist bool) (*life, error) {
	l := &life{eng: eng, gate: &gateStore{Store: s}, fatal: make(chan struct{})}
	vol, err := forstfs.Open(ctx, l.gate, o)
	if err != nil {
		return nil, err
	}
	l.vol = vol
	err = l.call(func() (err error) {
		l.db, err = eng.Open(vol, dir, EngineOptions{MustExist: mustExist, Fatal: l.end})
		return err
	})
	if err != nil {
		if errors.Is(err, errStopped) {
			return nil, err
		}
		return nil, errors.Join(err, vol.Close())
	}
	return l, nil
}

// end is the end of the process, as its engine wants it.
func (l *life) end(why string) {
	l.die()
	l.once.Do(func() { close(l.fatal) })
}

func (l *life) ctx() context.Context { return context.Background() }

// die ends the life: no request is sent from now on, and nobody hears of those that are under way.
func (l *life) die() { l.gate.shut() }

// endWith ends the life when c is closed, until the function that it returns is called.
func (l *life) endWith(c chan struct{}) func() {
	over := make(chan struct{})
	go func() {
		select {
		case <-c:
			l.end("no answers any more")
		case <-over:
		}
	}()
	return func() { close(over) }
}

// call runs fn, which may never return, or panic.
func (l *life) call(fn func() error) error {
	if l.real {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		err := errStopped // a runtime.Goexit in fn
		defer func() {
			if p := recover(); p != nil {
				l.die()
				err = fmt.Errorf("%w: %v", errStopped, p)
			}
			done <- err
		}()
		err = fn()
	}()
	select {
	case err := <-done:
		return err
	case <-l.fatal:
		return errStopped
	}
}

// Close closes the database and the volume.
func (l *life) Close() error {
	if err := l.call(l.db.Close); err != nil {
		return err
	}
	return l.call(l.vol.Close)
}

// scan reads all of the database.
func (l *life) scan() (map[string]string, error) {
	m := map[string]string{}
	err := l.call(func() error { return l.db.Scan(func(k, v []byte) { m[string(k)] = string(v) }) })
	if err != nil {
		return nil, err // m may still be written to
	}
	return m, nil
}
