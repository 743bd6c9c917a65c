//go:build !forstmutants

package hdfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/internal/testenv"
)

// TestLostAnswers: whichever call to the NameNode is carried out and its answer lost, or is lost itself, the operation succeeds, once. A create-if-absent
// that won is told so.
func TestLostAnswers(t *testing.T) {
	cluster := testenv.HDFS(t)
	var l lossy
	c := config(t, cluster.URL(t))
	c.Dial = l.dial
	s := open(t, c)
	n := 0
	for _, before := range []bool{false, true} {
		for _, method := range []string{"create", "addBlock", "complete", "rename2", "mkdirs", "delete", "getBlockLocations", "getFileInfo", "getListing"} {
			t.Run(fmt.Sprintf("%s/before=%t", method, before), func(t *testing.T) {
				n++
				key := fmt.Sprintf("d%d/key", n) // a directory that the store does not know
				data := []byte("the bytes of " + key)
				l.lose(method, before)
				if err := s.Put(t.Context(), key, data, driver.PutOptions{IfAbsent: true}); err != nil {
					t.Errorf("Put: %v", err)
				}
				if got, err := driver.ReadAll(t.Context(), s, key); err != nil || !bytes.Equal(got, data) {
					t.Errorf("Get: %q, %v", got, err)
				}
				if _, err := s.Stat(t.Context(), key); err != nil {
					t.Errorf("Stat: %v", err)
				}
				if err := s.Put(t.Context(), key, data, driver.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
					t.Errorf("the second Put: %v", err)
				}
				if all, err := driver.ListAll(t.Context(), s, key, ""); err != nil || len(all) != 1 {
					t.Errorf("List: %v, %v", all, err)
				}
				if err := s.Delete(t.Context(), []string{key}); err != nil {
					t.Errorf("Delete: %v", err)
				}
				if _, err := s.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Stat of what was deleted: %v", err)
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.lost != 1 {
					t.Errorf("%d calls were lost: the case tries nothing", l.lost)
				}
			})
		}
	}
}

// TestSync: with sync=hsync every DataNode syncs before the Put returns, otherwise none does.
func TestSync(t *testing.T) {
	cluster := testenv.HDFS(t) // nothing else on it asks for syncs
	before := cluster.Syncs(t)
	put := func(sync, key string) {
		s := open(t, config(t, cluster.URL(t), "sync", sync))
		if err := s.Put(t.Context(), key, make([]byte, 100_000), driver.PutOptions{IfAbsent: true}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		put(hdfs.SyncReplicated, fmt.Sprint(i))
	}
	put(hdfs.SyncDisk, "synced")
	// The DataNodes tell their counters of some seconds ago.
	var n int64
	for deadline := time.Now().Add(2 * time.Minute); n < 3; time.Sleep(100 * time.Millisecond) {
		if n = cluster.Syncs(t) - before; time.Now().After(deadline) {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d syncs of three DataNodes for five objects with sync=replicated and one with sync=hsync, want 3", n)
	}
}

// TestSyncOnClose: DataNodes with dfs.datanode.synconclose sync what is written without asking for it, as docs/hdfs.md says, and say so to whom asks them. It has
// a cluster of its own, so it runs at night.
func TestSyncOnClose(t *testing.T) {
	if os.Getenv("FORST_NIGHTLY") == "" {
		return
	}
	cluster := testenv.StartHDFS(t, "dfs.datanode.synconclose", "true")
	s := open(t, config(t, cluster.URL(t)))
	if err := s.Put(t.Context(), "key", make([]byte, 100_000), driver.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); cluster.Syncs(t) < 3; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d syncs of three DataNodes that sync on close", cluster.Syncs(t))
		}
	}
	for _, told := range cluster.Settings(t, "dfs.datanode.synconclose") {
		if told != "true" {
			t.Errorf("a DataNode says %q of its setting", told)
		}
	}
	if told := testenv.HDFS(t).Settings(t, "dfs.datanode.synconclose"); len(told) != 3 || told[0] != "" {
		t.Errorf("DataNodes without the setting say %q", told)
	}
}

// TestSweep: temporary files that a dead process left go when they are old, and others stay. A live writer whose file was taken away
// writes it again.
func TestSweep(t *testing.T) {
	cluster := testenv.HDFS(t)
	c := config(t, cluster.URL(t), "sweep_age", "1h")
	var stop atomic.Bool
	abandoned := *c
	abandoned.OnCall = func(ctx context.Context, method string) {
		if method == "rename2" || method == "delete" {
			stop.Store(true)
			<-ctx.Done() // the process is gone before its file has a name
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	dead, err := hdfs.Open(t.Context(), &abandoned)
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Put(ctx, "key", []byte("x"), driver.PutOptions{}); !driver.IsCanceled(err) || !stop.Load() {
		t.Fatalf("Put: %v", err)
	}
	if err := dead.Close(); err != nil {
		t.Error(err)
	}
	temps := func() int {
		// The same folder as the root of another store: there the files are objects.
		in := *c
		in.Root += "/.forst-tmp"
		all, err := driver.ListAll(t.Context(), open(t, &in), "", "")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if n := temps(); n != 1 {
		t.Fatalf("%d temporary files are left, want 1", n)
	}
	if err := open(t, c).Put(t.Context(), "other", nil, driver.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := temps(); n != 1 {
		t.Errorf("%d temporary files after a writer that sweeps after an hour, want 1", n)
	}
	old := *c
	old.SweepAge = time.Nanosecond // sweeps its own, too
	if err := open(t, &old).Put(t.Context(), "other", []byte("bytes"), driver.PutOptions{}); err != nil {
		t.Errorf("a Put whose file may be swept: %v", err)
	}
	for deadline := time.Now().Add(time.Minute); temps() != 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the temporary file is not swept")
		}
	}
}
