package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	raw "github.com/colinmarc/hdfs/v2"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/hdfs"
	"github.com/forst-go/forst/internal/testenv"
)

// hdfsStore opens a store on a fresh directory; change may be nil.
func hdfsStore(tb testing.TB, cluster *testenv.HDFSCluster, change func(*hdfs.Config)) driver.Store {
	tb.Helper()
	u, err := url.Parse(cluster.URL(tb))
	if err != nil {
		tb.Fatal(err)
	}
	c, err := hdfs.ParseURL(u)
	if err != nil {
		tb.Fatal(err)
	}
	if change != nil {
		change(c)
	}
	s, err := hdfs.Open(ctx, c)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// rawHDFS is the client library as it comes, and a directory to work in.
func rawHDFS(tb testing.TB, cluster *testenv.HDFSCluster) (*raw.Client, string) {
	tb.Helper()
	c, err := raw.NewClient(raw.ClientOptions{Addresses: []string{cluster.Address()}, User: "forst"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	dir := cluster.Dir(tb)
	if err := c.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	return c, dir
}

// rawFile creates, writes and closes one file with the library.
func rawFile(c *raw.Client, name string, data []byte) error {
	w, err := c.Create(name)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if err = w.Close(); !raw.IsErrReplicating(err) {
			return err
		}
		time.Sleep(wait)
	}
}

// BenchmarkCommitHDFS: one Pebble commit with Sync beside creating, writing and closing one small file through the raw client, in turns.
// Target: p50 <= 1.5 x. The calls are those of the whole store, counted by the driver.
func BenchmarkCommitHDFS(b *testing.B) {
	cluster := testenv.HDFS(b)
	for _, sync := range []string{hdfs.SyncReplicated, hdfs.SyncDisk} {
		b.Run(sync, func(b *testing.B) {
			client, dir := rawHDFS(b, cluster)
			var calls, writes atomic.Int64
			v := volume(b, hdfsStore(b, cluster, func(c *hdfs.Config) {
				c.Sync = sync
				c.OnCall = func(ctx context.Context, method string) {
					if driver.ComponentOf(ctx) != driver.CompCommit {
						return
					}
					if method == "write" {
						writes.Add(1)
					} else {
						calls.Add(1)
					}
				}
			}), nil)
			db := onVolume(b, v)
			var files, commits Latencies
			data := make([]byte, 300)
			for i := range 20 { // warm JVMs
				if err := rawFile(client, fmt.Sprintf("%s/warm%d", dir, i), data); err != nil {
					b.Fatal(err)
				}
				var none Latencies
				if err := Commit(db, uint64(1<<40+i), 100, &none); err != nil {
					b.Fatal(err)
				}
			}
			calls.Store(0)
			writes.Store(0)
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				if err := rawFile(client, fmt.Sprintf("%s/%08d", dir, i), data); err != nil {
					b.Fatal(err)
				}
				files.Add(time.Since(start))
				if err := Commit(db, uint64(i), 100, &commits); err != nil {
					b.Fatal(err)
				}
			}
			n := float64(b.N)
			b.ReportMetric(float64(commits.Quantile(.5))/float64(files.Quantile(.5)), "p50-x-raw")
			b.ReportMetric(float64(commits.Quantile(.5).Microseconds()), "commit-p50-us")
			b.ReportMetric(float64(files.Quantile(.5).Microseconds()), "raw-p50-us")
			b.ReportMetric(float64(calls.Load())/n, "NameNode-calls/commit")
			b.ReportMetric(float64(writes.Load())/n, "blocks/commit")
			closeBoth(b, db, v)
		})
	}
}

// median of what is not empty.
func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// BenchmarkStreamHDFS: 64 MiB objects through the driver beside files of the same size through the raw client, in turns. Targets: written
// at >= 0.8 x, read at >= 0.9 x its MB/s.
func BenchmarkStreamHDFS(b *testing.B) {
	const size = 64 << 20
	cluster := testenv.HDFS(b)
	client, dir := rawHDFS(b, cluster)
	s := hdfsStore(b, cluster, nil)
	defer s.Close()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 31 >> 3)
	}
	var rawWrite, write, rawRead, read Latencies
	timed := func(f func() error) time.Duration {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	buf := make([]byte, 1<<20)
	drain := func(r io.Reader) error {
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
		if err == nil && n != size {
			err = fmt.Errorf("%d bytes", n)
		}
		return err
	}
	// A pair is one of each, one after the other; who comes first changes, because the second finds warmer processes. What counts is the median of
	// the pairs' ratios: on a busy machine single times differ by a factor of two.
	var writes, reads []float64
	pair := func(ratios *[]float64, turn int, rawTimes, ours *Latencies, doRaw, doOurs func() time.Duration) {
		var x, y time.Duration
		if turn%2 == 0 {
			x, y = doRaw(), doOurs()
		} else {
			y, x = doOurs(), doRaw()
		}
		rawTimes.Add(x)
		ours.Add(y)
		*ratios = append(*ratios, float64(x)/float64(y))
	}
	for i := 0; b.Loop(); i++ {
		name, key := fmt.Sprintf("%s/big%d", dir, i), fmt.Sprintf("big/%d", i)
		writeRaw := func() time.Duration { return timed(func() error { return rawFile(client, name, data) }) }
		writeOurs := func() time.Duration { return timed(func() error { return s.Put(ctx, key, data, driver.PutOptions{}) }) }
		readRaw := func() time.Duration {
			return timed(func() error {
				r, err := client.Open(name)
				if err != nil {
					return err
				}
				defer r.Close()
				return drain(r)
			})
		}
		readOurs := func() time.Duration {
			return timed(func() error {
				r, err := s.Get(ctx, key, 0, -1)
				if err != nil {
					return err
				}
				defer r.Close()
				return drain(r)
			})
		}
		pair(&writes, i, &rawWrite, &write, writeRaw, writeOurs)
		for k := range 5 { // what was written is read from the page cache, in turns
			pair(&reads, i+k, &rawRead, &read, readRaw, readOurs)
		}
		if err := s.Delete(ctx, []string{key}); err != nil {
			b.Fatal(err)
		}
		if err := client.Remove(name); err != nil {
			b.Fatal(err)
		}
	}
	mbs := func(l *Latencies) float64 { return size / 1e6 / l.Quantile(.5).Seconds() }
	b.ReportMetric(mbs(&write), "write-MB/s")
	b.ReportMetric(mbs(&rawWrite), "raw-write-MB/s")
	b.ReportMetric(median(writes), "write-x-raw")
	b.ReportMetric(mbs(&read), "read-MB/s")
	b.ReportMetric(mbs(&rawRead), "raw-read-MB/s")
	b.ReportMetric(median(reads), "read-x-raw")
}

// countingConn counts what comes over connections to DataNodes.
type countingConn struct {
	net.Conn
	in *atomic.Int64
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Add(int64(n))
	return n, err
}

// BenchmarkRandomReadHDFS: random reads of 4 KiB through an empty cache. Targets: at most one request to a DataNode and 1 MiB for each miss.
func BenchmarkRandomReadHDFS(b *testing.B) {
	cluster := testenv.HDFS(b)
	var requests, in atomic.Int64
	s := hdfsStore(b, cluster, func(c *hdfs.Config) {
		namenode := c.Addresses[0]
		c.OnCall = func(_ context.Context, method string) {
			if method == "read" {
				requests.Add(1)
			}
		}
		c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err != nil || addr == namenode {
				return conn, err
			}
			return &countingConn{conn, &in}, nil
		}
	})
	v := volume(b, s, &forstfs.Options{CacheBytes: 16 << 20})
	const size = 256 << 20
	f, err := v.Create(ctx, "/big.sst", nil)
	if err != nil {
		b.Fatal(err)
	}
	part := make([]byte, 1<<20)
	for range size / len(part) {
		if _, err := f.Write(part); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	r, err := v.Open(ctx, "/big.sst", &forstfs.OpenOptions{Access: forstfs.AccessRandom})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	requests.Store(0)
	in.Store(0)
	p := make([]byte, 4096)
	var reads Latencies
	x := uint64(1)
	for b.Loop() {
		x = x*6364136223846793005 + 1442695040888963407
		start := time.Now()
		if _, err := r.ReadAt(p, int64(x>>20%(size/4096))*4096); err != nil {
			b.Fatal(err)
		}
		reads.Add(time.Since(start))
	}
	n := float64(b.N)
	b.ReportMetric(float64(requests.Load())/n, "DataNode-requests/read")
	if k := requests.Load(); k > 0 {
		b.ReportMetric(float64(in.Load())/float64(k), "B/request")
	}
	b.ReportMetric(float64(reads.Quantile(.5).Microseconds()), "p50-us")
	if err := v.Close(); err != nil {
		b.Fatal(err)
	}
}
