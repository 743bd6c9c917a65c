package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/forst-go/forst/cache"
)

// bucket is a store of one object.
type bucket struct{ data []byte }

func (b bucket) Fetch(_ context.Context, off, n int64) (io.ReadCloser, error) {
	fmt.Printf("GET bytes %d to %d\n", off, off+n)
	return io.NopCloser(bytes.NewReader(b.data[off : off+n])), nil
}

func Example() {
	c, err := cache.New(&cache.Options{Memory: 1 << 20, FetchSize: -1})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	data := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	obj := &cache.Object{
		ID:     cache.ID{Nonce: 0x5eed, Num: 1, Kind: cache.KindObject},
		Size:   int64(len(data)),
		Source: bucket{data},
	}
	p := make([]byte, 6)
	for range 2 { // the second read is from memory
		if _, err := c.ReadAt(context.Background(), obj, p, 100_010, cache.Random, cache.ReasonRead); err != nil {
			panic(err)
		}
		fmt.Printf("%s\n", p)
	}
	c.Drop(obj.ID)
	// Output:
	// GET bytes 98304 to 131072
	// abcdef
	// abcdef
}
