package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"testing/iotest"

	"github.com/forst-go/forst/forstfs/driver"
)

// rangeBytes reads one range.
func (e *storeEnv) rangeBytes(key string, off, n int64) ([]byte, error) {
	r, err := e.s.Get(e.ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if cerr := r.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("closing the reader: %w", cerr)
	}
	return data, err
}

func (e *storeEnv) wantRange(key string, off, n int64, want []byte) {
	e.Helper()
	got, err := e.rangeBytes(key, off, n)
	if err != nil {
		e.Errorf("Get %s, %d bytes at %d: %v", key, n, off, err)
	} else if d := diffBytes(got, want); d != "" {
		e.Errorf("Get %s, %d bytes at %d: %s", key, n, off, d)
	}
}

func (e *storeEnv) wantRangeKind(key string, off, n int64, want driver.Kind) {
	e.Helper()
	data, err := e.rangeBytes(key, off, n)
	e.wantKind(fmt.Sprintf("Get %s, %d bytes at %d (%d bytes came)", key, n, off, len(data)), err, want)
}

// readRest goes on reading after a Read that gave err.
func readRest(r io.Reader, err error) ([]byte, error) {
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

var storeGetCases = []StoreCase{
	{"get/range-in-the-middle", func(e *storeEnv) {
		data := blob(1, 100_000)
		e.put("key", data)
		for _, r := range [][2]int64{{1, 1}, {1000, 4096}, {4095, 2}, {4096, 4096}, {65536, 32768}, {99_000, 999}} {
			e.wantRange("key", r[0], r[1], data[r[0]:r[0]+r[1]])
		}
	}},
	{"get/first-and-last-byte", func(e *storeEnv) {
		data := blob(1, 10_000)
		e.put("key", data)
		e.wantRange("key", 0, 1, data[:1])
		e.wantRange("key", 9999, 1, data[9999:])
		e.wantRange("key", 9999, -1, data[9999:])
	}},
	{"get/exactly-all", func(e *storeEnv) {
		data := blob(1, 10_000)
		e.put("key", data)
		e.wantRange("key", 0, 10_000, data)
		e.wantRange("key", 0, -1, data)
	}},
	{"get/to-the-end", func(e *storeEnv) {
		data := blob(1, 10_000)
		e.put("key", data)
		e.wantRange("key", 1, -1, data[1:])
		e.wantRange("key", 5000, -1, data[5000:])
		e.wantRange("key", 5000, -7, data[5000:])
	}},
	{"get/past-the-end-is-cut", func(e *storeEnv) {
		data := blob(1, 10_000)
		e.put("key", data)
		e.wantRange("key", 0, 10_001, data)
		e.wantRange("key", 9990, 100, data[9990:])
		e.wantRange("key", 9999, 1<<40, data[9999:])
	}},
	{"get/huge-lengths-do-not-overflow", func(e *storeEnv) {
		data := blob(1, 1000)
		e.put("key", data)
		e.wantRange("key", 0, math.MaxInt64, data)
		e.wantRange("key", 10, math.MaxInt64, data[10:])
		e.wantRange("key", 999, math.MaxInt64-998, data[999:])
	}},
	{"get/start-at-the-end", func(e *storeEnv) {
		e.put("key", blob(1, 1000))
		e.wantRangeKind("key", 1000, 1, driver.KindRange)
		e.wantRangeKind("key", 1000, -1, driver.KindRange)
	}},
	{"get/start-past-the-end", func(e *storeEnv) {
		e.put("key", blob(1, 1000))
		e.wantRangeKind("key", 1001, 10, driver.KindRange)
		e.wantRangeKind("key", 1<<40, -1, driver.KindRange)
		e.wantRangeKind("key", math.MaxInt64, 1, driver.KindRange)
	}},
	{"get/all-of-an-empty-object", func(e *storeEnv) {
		e.put("key", nil)
		e.wantRange("key", 0, -1, nil)
	}},
	{"get/range-of-an-empty-object", func(e *storeEnv) {
		e.put("key", nil)
		e.wantRangeKind("key", 0, 1, driver.KindRange)
		e.wantRangeKind("key", 1, -1, driver.KindRange)
	}},
	{"get/zero-length", func(e *storeEnv) {
		e.put("key", blob(1, 1000))
		e.wantRangeKind("key", 0, 0, driver.KindInvalid)
		e.wantRangeKind("key", 500, 0, driver.KindInvalid)
		e.wantRangeKind("missing", 0, 0, driver.KindInvalid)
	}},
	{"get/negative-offset", func(e *storeEnv) {
		e.put("key", blob(1, 1000))
		e.wantRangeKind("key", -1, 10, driver.KindInvalid)
		e.wantRangeKind("key", -1, -1, driver.KindInvalid)
		e.wantRangeKind("key", math.MinInt64, 1, driver.KindInvalid)
	}},
	{"get/every-range-of-a-small-object", func(e *storeEnv) {
		data := []byte("0123456789")
		e.put("key", data)
		e.parallel(len(data), func(off int) {
			for n := 1; n <= len(data)+1; n++ {
				e.wantRange("key", int64(off), int64(n), data[off:min(off+n, len(data))])
			}
		})
	}},
	{"get/missing", func(e *storeEnv) {
		for _, r := range [][2]int64{{0, -1}, {0, 10}, {10, -1}, {10, 10}} {
			e.wantRangeKind("missing", r[0], r[1], driver.KindNotExist)
			e.wantRangeKind("no/such/key", r[0], r[1], driver.KindNotExist)
		}
	}},
	{"get/a-prefix-is-no-object", func(e *storeEnv) {
		e.putAll("dir/sub/key")
		for _, key := range []string{"dir", "dir/sub", "dir/su", "dir/sub/ke", "dir/sub/key2", "dir/sub/key/below"} {
			e.wantRangeKind(key, 0, -1, driver.KindNotExist)
			_, err := e.s.Stat(e.ctx, key)
			e.wantKind("Stat "+key, err, driver.KindNotExist)
		}
	}},
	{"get/64-readers-at-once", func(e *storeEnv) {
		data := blob(1, 1<<20)
		e.put("key", data)
		e.parallel(64, func(i int) {
			for k := range 4 {
				off := int64(i*16_000 + k)
				e.wantRange("key", off, 4096, data[off:off+4096])
			}
		})
	}},
	{"get/two-readers-of-one-object-interleaved", func(e *storeEnv) {
		data := blob(1, 300_000)
		e.put("key", data)
		a, err := e.s.Get(e.ctx, "key", 0, -1)
		if err != nil {
			e.Fatalf("Get: %v", err)
		}
		defer a.Close()
		b, err := e.s.Get(e.ctx, "key", 100, 200_000)
		if err != nil {
			e.Fatalf("Get: %v", err)
		}
		defer b.Close()
		var gotA, gotB bytes.Buffer
		for range 40 {
			_, errA := io.CopyN(&gotA, a, 10_000)
			_, errB := io.CopyN(&gotB, b, 10_000)
			for _, err := range []error{errA, errB} {
				if err != nil && !errors.Is(err, io.EOF) {
					e.Fatalf("reading: %v", err)
				}
			}
		}
		if d := diffBytes(gotA.Bytes(), data); d != "" {
			e.Errorf("the first reader: %s", d)
		}
		if d := diffBytes(gotB.Bytes(), data[100:200_100]); d != "" {
			e.Errorf("the second reader: %s", d)
		}
	}},
	{"get/reader-keeps-the-rules-of-io.Reader", func(e *storeEnv) {
		data := blob(1, 5000)
		e.put("key", data)
		for _, r := range [][2]int64{{0, -1}, {100, 3000}, {4000, 9000}} {
			rc, err := e.s.Get(e.ctx, "key", r[0], r[1])
			if err != nil {
				e.Fatalf("Get: %v", err)
			}
			end := int64(len(data))
			if r[1] >= 0 {
				end = min(end, r[0]+r[1])
			}
			if err := iotest.TestReader(struct{ io.Reader }{rc}, data[r[0]:end]); err != nil {
				e.Errorf("range %d, %d: %v", r[0], r[1], err)
			}
			if n, err := rc.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
				e.Errorf("Read after the end gives %d, %v", n, err)
			}
			rc.Close()
		}
	}},
	{"get/reader-byte-by-byte", func(e *storeEnv) {
		data := blob(1, 3000)
		e.put("key", data)
		rc, err := e.s.Get(e.ctx, "key", 0, -1)
		if err != nil {
			e.Fatalf("Get: %v", err)
		}
		defer rc.Close()
		got, err := io.ReadAll(iotest.OneByteReader(rc))
		if err != nil || !bytes.Equal(got, data) {
			e.Errorf("%v; %s", err, diffBytes(got, data))
		}
	}},
	{"get/closing-early-is-legal", func(e *storeEnv) {
		data := blob(1, 2<<20)
		e.put("key", data)
		for i := range 60 {
			rc, err := e.s.Get(e.ctx, "key", int64(i), -1)
			if err != nil {
				e.Fatalf("Get number %d: %v", i, err)
			}
			if _, err := io.ReadFull(rc, make([]byte, i*10)); err != nil {
				e.Errorf("Read: %v", err)
			}
			if err := rc.Close(); err != nil {
				e.Errorf("Close number %d: %v", i, err)
			}
		}
		e.wantBytes(e.s, "key", data)
	}},
	{"get/cancelled-midway-is-never-a-short-result", func(e *storeEnv) {
		data := blob(1, 8<<20)
		e.put("key", data)
		for i := range 4 {
			ctx, cancel := context.WithCancel(e.ctx)
			rc, err := e.s.Get(ctx, "key", 0, -1)
			if err != nil {
				e.Fatalf("Get: %v", err)
			}
			got := make([]byte, 1+i*1_000_000)
			if _, err := io.ReadFull(rc, got); err != nil {
				e.Errorf("Read: %v", err)
			}
			cancel()
			rest, err := io.ReadAll(rc)
			rc.Close()
			got = append(got, rest...)
			if err == nil && len(got) != len(data) {
				e.Errorf("a cancelled reader ends with io.EOF after %d of %d bytes", len(got), len(data))
			} else if err != nil && !errors.Is(err, context.Canceled) {
				e.Errorf("a cancelled reader ends with %v", err)
			}
			if !bytes.HasPrefix(data, got) {
				e.Errorf("a cancelled reader gave wrong bytes")
			}
		}
	}},
	{"get/with-an-ended-context", func(e *storeEnv) {
		e.putAll("key")
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		if rc, err := e.s.Get(ctx, "key", 0, -1); !errors.Is(err, context.Canceled) {
			e.Errorf("Get with a cancelled context: %v", err)
			if err == nil {
				rc.Close()
			}
		}
		if _, err := e.s.Stat(ctx, "key"); !errors.Is(err, context.Canceled) {
			e.Errorf("Stat with a cancelled context: %v", err)
		}
		if _, err := e.s.Stat(ctx, "missing"); driver.KindOf(err) == driver.KindNotExist {
			e.Errorf("Stat with a cancelled context says that a key is missing: %v", err)
		}
	}},
	{"get/ReadFull-past-the-end-is-an-error", func(e *storeEnv) {
		e.put("key", blob(1, 100))
		err := driver.ReadFull(e.ctx, e.s, "key", 90, make([]byte, 20))
		if k := driver.KindOf(err); err == nil || (k != driver.KindRange && k != driver.KindCorrupt) {
			e.Errorf("20 bytes at 90 of 100: %v", err)
		}
		if err := driver.ReadFull(e.ctx, e.s, "key", 90, make([]byte, 10)); err != nil {
			e.Errorf("the last 10 bytes: %v", err)
		}
	}},
	{"stat/size-and-key", func(e *storeEnv) {
		for _, size := range []int{0, 1, 1000, 1 << 20} {
			key := fmt.Sprintf("size/%d", size)
			e.put(key, blob(1, size))
			if info, err := e.s.Stat(e.ctx, key); err != nil || info.Key != key || info.Size != int64(size) {
				e.Errorf("Stat gives %+v, %v", info, err)
			}
		}
	}},
	{"stat/missing", func(e *storeEnv) {
		for _, key := range []string{"missing", "no/such/key"} {
			_, err := e.s.Stat(e.ctx, key)
			e.wantKind("Stat "+key, err, driver.KindNotExist)
		}
	}},
}
