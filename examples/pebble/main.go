// Command pebble is the smallest program with a Pebble database whose only home is a store. It counts its own runs:
//
//	go run ./examples/pebble file:///tmp/counter?create=1
//	go run ./examples/pebble s3://bucket/counter
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/forst-go/forst"
	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: pebble URL, for example file:///tmp/counter?create=1")
	}
	n, err := run(context.Background(), os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("run %d\n", n)
}

// run opens the volume at url, creating it the first time, and counts one more run in it. When it returns nil, the
// count is durable.
func run(ctx context.Context, url string) (n int, err error) {
	vol, err := forst.Open(ctx, url, &forstfs.Options{Create: forstfs.CreateIfMissing})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, vol.Close()) }()
	opts := &pebble.Options{FS: pebblev2.New(vol)}
	pebblev2.Tune(opts)
	db, err := pebble.Open("/db", opts)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	switch v, closer, err := db.Get([]byte("runs")); {
	case err == nil:
		n, err = strconv.Atoi(string(v))
		if err = errors.Join(err, closer.Close()); err != nil {
			return 0, err
		}
	case !errors.Is(err, pebble.ErrNotFound):
		return 0, err
	}
	n++
	return n, db.Set([]byte("runs"), []byte(strconv.Itoa(n)), pebble.Sync)
}
