package conformance_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/internal/testenv"
)

// hdfsFaults is a volume on a cluster of its own, whose nodes die, with a file to which records are committed all the time.
type hdfsFaults struct {
	*testing.T
	cluster *testenv.HDFSCluster
	url     string
	hook    atomic.Pointer[func(method string)] // called before each call to the NameNode and each request to a DataNode
	dialed  atomic.Pointer[string]              // the address dialed last
	mu      sync.Mutex
	dead    []int
}

func newFaults(t *testing.T, cluster *testenv.HDFSCluster) *hdfsFaults {
	f := &hdfsFaults{T: t, cluster: cluster, url: cluster.URL(t)}
	t.Cleanup(f.restored)
	return f
}

func (f *hdfsFaults) store() driver.Store {
	f.Helper()
	u, err := url.Parse(f.url)
	if err != nil {
		f.Fatal(err)
	}
	c, err := hdfs.ParseURL(u)
	if err != nil {
		f.Fatal(err)
	}
	c.RetryTimeout = 2 * time.Minute
	c.AttemptTimeout = 2 * time.Second
	c.OnCall = func(_ context.Context, method string) {
		if h := f.hook.Load(); h != nil {
			(*h)(method)
		}
	}
	c.OnRetry = func(r hdfs.Retry) { f.Logf("retry: %s, attempt %d: %v", r.Op, r.Attempt, r.Err) }
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		f.dialed.Store(&addr)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	s, err := hdfs.Open(f.Context(), c)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	return s
}

// once runs do at the first use of a method, on the goroutine of the call.
func (f *hdfsFaults) once(method string, do func()) *atomic.Bool {
	done := new(atomic.Bool)
	h := func(m string) {
		if m == method && done.CompareAndSwap(false, true) {
			do()
		}
	}
	f.hook.Store(&h)
	return done
}

func (f *hdfsFaults) open() *forstfs.FS {
	f.Helper()
	v, err := forstfs.Open(f.Context(), f.store(), &forstfs.Options{Create: forstfs.CreateIfMissing, Force: true, CacheBytes: -1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { v.Close() })
	return v
}

// ledger is a file of numbers, each synced.
type ledger struct {
	f     *hdfsFaults
	v     *forstfs.FS
	file  *forstfs.File
	acked atomic.Uint64
}

func (f *hdfsFaults) ledger() *ledger {
	f.Helper()
	l := &ledger{f: f, v: f.open()}
	file, err := l.v.Create(f.Context(), "/ledger.log", nil)
	if err != nil {
		f.Fatal(err)
	}
	l.file = file
	l.commit(5)
	return l
}

// commit appends n records, each with a sync that must succeed.
func (l *ledger) commit(n int) {
	l.f.Helper()
	for range n {
		next := l.acked.Load() + 1
		if _, err := l.file.Write(binary.BigEndian.AppendUint64(nil, next)); err != nil {
			l.f.Fatalf("record %d: %v", next, err)
		}
		if err := l.file.Sync(); err != nil {
			l.f.Fatalf("record %d: %v", next, err)
		}
		l.acked.Store(next)
	}
}

// table writes a bulk file of n bytes and closes it, which is durable.
func (l *ledger) table(name string, seed byte, n int) {
	l.f.Helper()
	file, err := l.v.Create(l.f.Context(), name, nil)
	if err == nil {
		_, err = file.Write(tableBytes(seed, n))
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		l.f.Fatalf("%s: %v", name, err)
	}
}

func tableBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7+i>>9) ^ seed
	}
	return b
}

// judge takes the volume over, as another process would, and looks for everything that was acknowledged.
func (l *ledger) judge(tables map[string]byte, size int) {
	f := l.f
	f.Helper()
	v := f.open()
	file, err := v.Open(f.Context(), "/ledger.log", nil)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	got, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<40))
	if err != nil {
		f.Fatal(err)
	}
	if n := uint64(len(got) / 8); n < l.acked.Load() {
		f.Errorf("%d records are there, %d were acknowledged", n, l.acked.Load())
	}
	for i := uint64(0); i+1 <= uint64(len(got)/8); i++ {
		if x := binary.BigEndian.Uint64(got[8*i:]); x != i+1 {
			f.Fatalf("record %d is %d", i+1, x)
		}
	}
	for name, seed := range tables {
		file, err := v.Open(f.Context(), name, nil)
		if err != nil {
			f.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(file, 0, 1<<40))
		if err != nil {
			f.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got, tableBytes(seed, size)) {
			f.Errorf("%s has other bytes than were written", name)
		}
		file.Close()
	}
	if err := v.Close(); err != nil {
		f.Error(err)
	}
}

// kill kills DataNodes; restored starts them again, at the latest when the case ends: the next one needs all.
func (f *hdfsFaults) kill(nodes ...int) {
	f.Helper()
	for _, i := range nodes {
		f.cluster.KillDataNode(f, i)
		f.mu.Lock()
		f.dead = append(f.dead, i)
		f.mu.Unlock()
	}
}

func (f *hdfsFaults) restored() {
	f.Helper()
	f.hook.Store(nil)
	f.mu.Lock()
	dead := f.dead
	f.dead = nil
	f.mu.Unlock()
	for _, i := range dead {
		f.cluster.StartDataNode(f, i)
	}
	for _, i := range dead {
		f.cluster.WaitDataNode(f, i)
	}
}

// TestFaultsHDFS: whatever single thing dies, commits go on and nothing acknowledged is lost. A node counts as dead for the NameNode after
// 12 s; the driver does not wait for that.
func TestFaultsHDFS(t *testing.T) {
	t.Parallel()
	cluster := testenv.StartHDFS(t)
	const size = 9 << 20
	short := map[string]bool{"datanode-killed-while-idle": true, "datanode-killed-between-write-and-close": true, "datanode-stopped-and-goes-on": true,
		"namenode-killed-and-restarted": true, "a-flipped-byte-in-a-block": true}
	run := func(name string, test func(f *hdfsFaults)) {
		if testing.Short() && !short[name] {
			return
		}
		t.Run(name, func(t *testing.T) { test(newFaults(t, cluster)) })
	}

	run("datanode-killed-while-idle", func(f *hdfsFaults) {
		l := f.ledger()
		f.kill(0)
		began := time.Now()
		l.commit(1)
		f.Logf("the first commit after the death took %v", time.Since(began))
		l.commit(20)
		l.table("/t.sst", 3, size)
		l.judge(map[string]byte{"/t.sst": 3}, size)
		f.restored()
	})
	run("datanode-killed-while-a-block-is-written", func(f *hdfsFaults) {
		l := f.ledger()
		dead := make(chan struct{})
		f.once("write", func() {
			go func() { // somewhere in what follows
				defer close(dead)
				f.kill(1)
			}()
		})
		l.table("/t.sst", 4, size)
		l.commit(5)
		<-dead
		l.judge(map[string]byte{"/t.sst": 4}, size)
		f.restored()
	})
	run("datanode-killed-between-write-and-close", func(f *hdfsFaults) {
		l := f.ledger()
		done := f.once("complete", func() { f.kill(2) })
		l.commit(5)
		if !done.Load() {
			f.Error("no file was ever closed")
		}
		f.hook.Store(nil)
		l.judge(nil, 0)
		f.restored()
	})
	run("datanode-killed-while-it-is-read", func(f *hdfsFaults) {
		s := f.store()
		want := tableBytes(9, 32<<20)
		if err := s.Put(f.Context(), "object", want, driver.PutOptions{}); err != nil {
			f.Fatal(err)
		}
		r, err := s.Get(f.Context(), "object", 0, -1)
		if err != nil {
			f.Fatal(err)
		}
		defer r.Close()
		first := make([]byte, 1000)
		if _, err := io.ReadFull(r, first); err != nil {
			f.Fatal(err)
		}
		victim := f.cluster.DataNodeAt(f, *f.dialed.Load())
		f.kill(victim)
		rest, err := io.ReadAll(r)
		if err != nil {
			f.Errorf("reading on: %v", err)
		} else if !bytes.Equal(append(first, rest...), want) {
			f.Error("the object has other bytes")
		}
		f.restored()
	})
	run("datanode-stopped-and-goes-on", func(f *hdfsFaults) {
		l := f.ledger()
		l.table("/before.sst", 6, size)
		f.cluster.PauseDataNode(f, 0)
		f.Cleanup(func() { f.cluster.ResumeDataNode(f, 0) })
		began := time.Now()
		l.commit(1)
		f.Logf("the first commit after the stop took %v", time.Since(began))
		l.commit(5)
		l.table("/t.sst", 5, size)
		l.judge(map[string]byte{"/t.sst": 5, "/before.sst": 6}, size)
		f.cluster.ResumeDataNode(f, 0)
		f.cluster.WaitDataNode(f, 0)
	})
	run("two-of-three-datanodes-down", func(f *hdfsFaults) {
		l := f.ledger()
		f.kill(0, 2)
		l.commit(10)
		l.table("/t.sst", 7, size)
		l.judge(map[string]byte{"/t.sst": 7}, size)
		f.restored()
		// What was written to one node is on others soon, by the NameNode's own doing: then that one may go.
		f.cluster.WaitReplicated(f)
		f.kill(1)
		l.judge(map[string]byte{"/t.sst": 7}, size)
		f.restored()
	})
	run("namenode-killed-and-restarted", func(f *hdfsFaults) {
		l := f.ledger()
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					l.commit(1)
				}
			}
		})
		f.cluster.KillNameNode(f)
		f.cluster.StartNameNode(f)
		f.cluster.WaitLive(f, f.cluster.DataNodes())
		before := l.acked.Load()
		for deadline := time.Now().Add(2 * time.Minute); l.acked.Load() < before+5 && !f.Failed(); {
			if time.Now().After(deadline) {
				f.Error("no commits after the restart")
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		close(stop)
		wg.Wait()
		l.judge(nil, 0)
	})
	run("namenode-stopped-and-goes-on", func(f *hdfsFaults) {
		l := f.ledger()
		f.cluster.PauseNameNode(f)
		resumed := make(chan struct{})
		time.AfterFunc(3*time.Second, func() {
			defer close(resumed)
			f.cluster.ResumeNameNode(f)
		})
		l.commit(5) // the rename whose answer is late may have been carried out: it must not look like somebody else's
		<-resumed
		l.judge(nil, 0)
	})
	run("a-flipped-byte-in-a-block", func(f *hdfsFaults) {
		s := f.store()
		before := map[string]bool{}
		for i := range f.cluster.DataNodes() {
			for _, p := range f.cluster.BlockFiles(f, i) {
				before[p] = true
			}
		}
		want := tableBytes(1, 3<<20)
		if err := s.Put(f.Context(), "object", want, driver.PutOptions{}); err != nil {
			f.Fatal(err)
		}
		flipped := 0
		for i := range f.cluster.DataNodes() {
			for _, p := range f.cluster.BlockFiles(f, i) {
				if info, err := os.Stat(p); before[p] || err != nil || info.Size() != int64(len(want)) {
					continue
				}
				flip(f.T, p)
				flipped++
				for range 4 { // whichever replica comes first
					got, err := driver.ReadAll(f.Context(), s, "object")
					if flipped < f.cluster.DataNodes() && err != nil {
						f.Errorf("with %d bad replicas: %v", flipped, err)
					}
					if err == nil && !bytes.Equal(got, want) {
						f.Errorf("with %d bad replicas: wrong bytes and no error", flipped)
					}
				}
				if flipped == 2 {
					return // one good replica is left, from which the NameNode makes others
				}
			}
		}
		f.Errorf("only %d replicas were found", flipped)
	})
	if os.Getenv("FORST_NIGHTLY") == "" {
		return
	}
	run("the-namenode-dies-under-processes", func(f *hdfsFaults) {
		conformance.RunServerKills(f.T, hdfsProcess(f.cluster, f.cluster.Dir(f)), func() { f.cluster.KillNameNode(f) }, func() {
			f.cluster.StartNameNode(f)
			f.cluster.WaitLive(f, f.cluster.DataNodes())
		})
	})
}

func flip(t *testing.T, path string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var b [1]byte
	if _, err := file.ReadAt(b[:], 1<<20); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := file.WriteAt(b[:], 1<<20); err != nil {
		t.Fatal(err)
	}
}
