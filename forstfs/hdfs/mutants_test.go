//go:build forstmutants

package hdfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	raw "github.com/colinmarc/hdfs/v2"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/testenv"
)

// TestMutantsHDFS plants each bug into the driver and wants its check, on a real cluster, to see it; without the bug every check passes. In a build with
// mutants the other tests of this package, which take a minute, are left out.
func TestMutantsHDFS(t *testing.T) {
	cluster := testenv.HDFS(t)
	for _, m := range []struct {
		id    mutant.ID
		check func(t *testing.T, cluster *testenv.HDFSCluster) error
	}{
		{"hdfs/create-replaces", checkCreate},
		{"hdfs/visible-before-closed", checkClosed},
		{"hdfs/replicating-is-failure", checkReplicating},
		{"hdfs/lost-rename-is-failure", checkLostAnswer},
		{"hdfs/lost-rename-is-success", checkLostRequest},
		{"hdfs/sync-not-asked-for", checkSync},
		{"hdfs/swept-too-early", checkSweep},
		{"hdfs/no-deadline", checkDeadline},
		{"hdfs/range-behind-the-end", checkRange},
		{"hdfs/broken-read-is-the-end", checkBroken},
		{"hdfs/readers-share-a-buffer", checkReaders},
		{"hdfs/checksums-unread", checkSums},
	} {
		t.Run(string(m.id), func(t *testing.T) {
			if err := m.check(t, cluster); err != nil {
				t.Fatalf("without the bug: %v", err)
			}
			defer mutant.Activate(m.id)()
			err := m.check(t, cluster)
			if err == nil {
				t.Fatal("nobody has noticed")
			}
			t.Logf("caught: %v", err)
		})
	}
}

// object is many packets, each of other bytes.
func object(seed byte) []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = byte(i>>8) + byte(i) ^ seed
	}
	return b
}

// bytesOf compares an object with what it should be.
func bytesOf(t *testing.T, s driver.Store, key string, want []byte) error {
	got, err := driver.ReadAll(t.Context(), s, key)
	if err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("%s is %d bytes, want %d of its own; %v", key, len(got), len(want), err)
	}
	return nil
}

var (
	create  = driver.PutOptions{IfAbsent: true}
	replace = driver.PutOptions{}
)

// checkCreate: a create-if-absent leaves what is there.
func checkCreate(t *testing.T, cluster *testenv.HDFSCluster) error {
	s := open(t, config(t, cluster.URL(t)))
	if err := s.Put(t.Context(), "key", []byte("first"), create); err != nil {
		return err
	}
	if err := s.Put(t.Context(), "key", []byte("second"), create); driver.KindOf(err) != driver.KindExist {
		return fmt.Errorf("the second is told %v", err)
	}
	return bytesOf(t, s, "key", []byte("first"))
}

// checkClosed: what has its name is complete.
func checkClosed(t *testing.T, cluster *testenv.HDFSCluster) error {
	s := open(t, config(t, cluster.URL(t)))
	if err := s.Put(t.Context(), "key", object(1), create); err != nil {
		return err
	}
	return bytesOf(t, s, "key", object(1))
}

// wire changes what goes over connections.
type wire struct {
	net.Conn
	read  func(p []byte, n int, err error) (int, error) // after a Read into p
	write func(p []byte)                                // before a Write
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if w.read != nil {
		return w.read(p, n, err)
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	if w.write != nil {
		w.write(p)
	}
	return w.Conn.Write(p)
}

// dialing makes a Dial whose connections are w's.
func dialing(w func(addr string, c net.Conn) net.Conn) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return w(addr, c), nil
	}
}

// checkReplicating: the NameNode that has not heard of a replica yet is asked again.
func checkReplicating(t *testing.T, cluster *testenv.HDFSCluster) error {
	var told atomic.Bool
	c := config(t, cluster.URL(t))
	c.Dial = dialing(func(_ string, conn net.Conn) net.Conn {
		asked := false
		return &wire{Conn: conn, write: func(p []byte) { asked = asked || len(p) < 4096 && bytes.Contains(p, []byte("\n\x08complete\x12")) },
			read: func(p []byte, n int, err error) (int, error) {
				if asked && n > 4 && bytes.HasSuffix(p[:n], []byte{2, 8, 1}) { // a message of two bytes: field 1, true
					if asked = false; told.CompareAndSwap(false, true) {
						p[n-1] = 0
					}
				}
				return n, err
			}}
	})
	s := open(t, c)
	if err := s.Put(t.Context(), "key", []byte("x"), create); err != nil {
		return err
	}
	if !told.Load() {
		t.Error("no answer was changed: the case tries nothing")
	}
	return bytesOf(t, s, "key", []byte("x"))
}

func checkLost(t *testing.T, cluster *testenv.HDFSCluster, before bool) error {
	var l lossy
	c := config(t, cluster.URL(t))
	c.Dial = l.dial
	s := open(t, c)
	l.lose("rename2", before)
	if err := s.Put(t.Context(), "key", []byte("x"), create); err != nil {
		return err
	}
	if l.lost != 1 {
		t.Errorf("%d calls were lost", l.lost)
	}
	return bytesOf(t, s, "key", []byte("x"))
}

// checkLostAnswer: a rename that was carried out and whose answer was lost is a success.
func checkLostAnswer(t *testing.T, cluster *testenv.HDFSCluster) error {
	return checkLost(t, cluster, false)
}

// checkLostRequest: one that was not carried out is none.
func checkLostRequest(t *testing.T, cluster *testenv.HDFSCluster) error {
	return checkLost(t, cluster, true)
}

// checkSync: the last packet of a block asks for a sync. TestSync looks at what comes of that.
func checkSync(t *testing.T, cluster *testenv.HDFSCluster) error {
	var asked atomic.Int64
	c := config(t, cluster.URL(t), "sync", hdfs.SyncDisk)
	c.Dial = dialing(func(addr string, conn net.Conn) net.Conn {
		return &wire{Conn: conn, write: func(p []byte) {
			if addr != cluster.Address() && len(p) > 6 && len(p) == 6+int(p[4])<<8+int(p[5]) && bytes.HasSuffix(p, []byte{0x28, 1}) {
				asked.Add(1)
			}
		}}
	})
	if err := open(t, c).Put(t.Context(), "key", []byte("x"), create); err != nil {
		return err
	}
	if asked.Load() == 0 {
		return errors.New("nobody was asked for a sync")
	}
	return nil
}

// checkSweep: temporary files that are young stay when old ones go.
func checkSweep(t *testing.T, cluster *testenv.HDFSCluster) error {
	c := config(t, cluster.URL(t), "sweep_age", "1h")
	client, err := raw.NewClient(raw.ClientOptions{Addresses: c.Addresses, User: "forst"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	young, old := c.Root+"/.forst-tmp/a-young", c.Root+"/.forst-tmp/b-old" // looked at in this order
	err = client.MkdirAll(c.Root+"/.forst-tmp", 0o755)
	for _, name := range []string{young, old} {
		if err == nil {
			err = client.CreateEmptyFile(name)
		}
	}
	ago := time.Now().Add(-2 * time.Hour)
	if err == nil {
		err = client.Chtimes(old, ago, ago)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := open(t, c).Put(t.Context(), "key", nil, create); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := client.Stat(old); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the old file is not swept")
		}
	}
	if _, err := client.Stat(young); err != nil {
		return fmt.Errorf("the young file: %w", err)
	}
	return nil
}

// checkDeadline: a NameNode that takes a connection and says nothing is given up.
func checkDeadline(t *testing.T, cluster *testenv.HDFSCluster) error {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var first atomic.Bool
	c := config(t, cluster.URL(t), "attempt_timeout", "1s")
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if driver.ComponentOf(ctx) == driver.CompCommit && first.CompareAndSwap(false, true) { // not the sweep's, which nobody waits for
			addr = silent.Addr().String()
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = open(t, c).Put(driver.WithComponent(ctx, driver.CompCommit), "key", []byte("x"), create)
	if !first.Load() {
		t.Error("nobody met the silence: the case tries nothing")
	}
	return err
}

// checkRange: nothing is behind the end.
func checkRange(t *testing.T, cluster *testenv.HDFSCluster) error {
	s := open(t, config(t, cluster.URL(t)))
	if err := s.Put(t.Context(), "key", []byte("12345"), create); err != nil {
		return err
	}
	r, err := s.Get(t.Context(), "key", 5, 1)
	if driver.KindOf(err) == driver.KindRange {
		return nil
	}
	if err == nil {
		r.Close()
	}
	return fmt.Errorf("a byte behind the end: %v", err)
}

// checkSpoilt reads an object whose first connection to a DataNode spoil handles.
func checkSpoilt(t *testing.T, cluster *testenv.HDFSCluster, spoil func(at int, p []byte, n int, err error) (int, error)) error {
	var armed, done atomic.Bool
	c := config(t, cluster.URL(t))
	c.Dial = dialing(func(addr string, conn net.Conn) net.Conn {
		if addr == cluster.Address() || !armed.Load() || !done.CompareAndSwap(false, true) {
			return conn
		}
		at := 0
		return &wire{Conn: conn, read: func(p []byte, n int, err error) (int, error) {
			n, err = spoil(at, p, n, err)
			at += n
			return n, err
		}}
	})
	s := open(t, c)
	if err := s.Put(t.Context(), "key", object(2), replace); err != nil {
		return err
	}
	armed.Store(true)
	err := bytesOf(t, s, "key", object(2))
	if !done.Load() {
		t.Error("nothing was spoilt")
	}
	return err
}

// checkBroken: a connection that breaks in the middle is not the end of the object.
func checkBroken(t *testing.T, cluster *testenv.HDFSCluster) error {
	return checkSpoilt(t, cluster, func(at int, p []byte, n int, err error) (int, error) {
		if at > 300_000 {
			return 0, io.EOF
		}
		return n, err
	})
}

// checkSums: a byte that flips on its way does not reach the caller.
func checkSums(t *testing.T, cluster *testenv.HDFSCluster) error {
	const flipped = 40_000 // of the first packet's data, which begins behind its checksums
	return checkSpoilt(t, cluster, func(at int, p []byte, n int, err error) (int, error) {
		if at <= flipped && flipped < at+n {
			p[flipped-at] ^= 4
		}
		return n, err
	})
}

// checkReaders: two readers have nothing in common.
func checkReaders(t *testing.T, cluster *testenv.HDFSCluster) error {
	s := open(t, config(t, cluster.URL(t)))
	var bodies [2]io.ReadCloser
	for i := range bodies {
		key := fmt.Sprint(i)
		err := s.Put(t.Context(), key, object(byte(i)), create)
		if err == nil {
			bodies[i], err = s.Get(t.Context(), key, 0, -1)
		}
		if err != nil {
			return err
		}
		defer bodies[i].Close()
	}
	var got [2]bytes.Buffer
	for range 100 {
		for i, b := range bodies {
			if _, err := io.CopyN(&got[i], struct{ io.Reader }{b}, 1000); err != nil {
				return err
			}
		}
	}
	for i := range got {
		if !bytes.Equal(got[i].Bytes(), object(byte(i))[:got[i].Len()]) {
			return fmt.Errorf("reader %d got bytes of the other", i)
		}
	}
	return nil
}
