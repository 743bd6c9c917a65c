package pebblev2_test

import (
	"context"
	"fmt"
	"log"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/mem"
)

// A program opens a volume and gives it to Pebble as its file system. (In a program the first line is
// forst.Open(ctx, "s3://bucket/db", ...); the store in memory keeps this example to itself.)
func ExampleNew() {
	vol, err := forstfs.Open(context.Background(), mem.New(nil), &forstfs.Options{Create: forstfs.CreateIfMissing})
	if err != nil {
		log.Fatal(err)
	}
	defer vol.Close()
	db, err := pebble.Open("/db", pebblev2.Tune(&pebble.Options{FS: pebblev2.New(vol), Logger: quietLogger{}}))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if err := db.Set([]byte("hello"), []byte("world"), pebble.Sync); err != nil {
		log.Fatal(err)
	}
	value, closer, err := db.Get([]byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	defer closer.Close()
	fmt.Printf("%s\n", value)
	// Output: world
}

type quietLogger struct{}

func (quietLogger) Infof(string, ...any)           {}
func (quietLogger) Errorf(string, ...any)          {}
func (quietLogger) Fatalf(format string, a ...any) { log.Fatalf(format, a...) }
