// Command unmodified is a program with a library that uses Pebble inside and lets nobody choose its file system: github.com/cosmos/cosmos-db, as
// it is. One import mounts a volume into it; the rest of the program knows nothing of forst.
//
//	cd examples/unmodified
//	go run . /data/app                                                          # on the local disk
//	FORST_MOUNT=/data/app=s3://bucket/app FORST_MOUNT_CREATE=1 go run . /data/app   # in the bucket; the disk may go
//
// It counts its own runs.
package main

import (
	"fmt"
	"log"
	"os"
	"strconv"

	db "github.com/cosmos/cosmos-db"

	_ "github.com/forst-go/forst/engineadapter/automount/pebblev1" // the one line
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: unmodified DIR, for example /data/app")
	}
	n, err := run(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("run %d\n", n)
}

// run counts one more run in the database "counter" in dir.
func run(dir string) (n int, err error) {
	store, err := db.NewDB("counter", db.PebbleDBBackend, dir)
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := store.Close(); err == nil {
			err = cerr
		}
	}()
	v, err := store.Get([]byte("runs"))
	if err != nil {
		return 0, err
	}
	if v != nil {
		if n, err = strconv.Atoi(string(v)); err != nil {
			return 0, err
		}
	}
	n++
	return n, store.SetSync([]byte("runs"), []byte(strconv.Itoa(n)))
}
