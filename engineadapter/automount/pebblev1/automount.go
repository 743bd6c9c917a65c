// Package pebblev1 mounts volumes into a program whose code, or whose libraries, open Pebble databases (github.com/cockroachdb/pebble) and do not
// let anybody choose the file system. Import it for its effect, in package main:
//
//	import _ "github.com/forst-go/forst/engineadapter/automount/pebblev1"
//
// and start the program with
//
//	FORST_MOUNT=/data/db=s3://bucket/db program --data /data/db
//
// It replaces vfs.Default before main: what Pebble does below /data/db happens in the volume, everything else where it always did. Without FORST_MOUNT
// it does nothing.
//
// # FORST_MOUNT
//
// DIR=URL, or several of them separated by commas. DIR is an absolute path, and what Pebble is told must begin with it as it is written: symbolic links
// are not followed. A comma in a URL is written %2C. A fragment names the directory of the volume that appears at DIR:
// s3://bucket/db#/node1; without one it is the root. Credentials come from the environment, as for every s3:// URL.
// FORST_MOUNT_CREATE=1 makes a volume where the prefix is empty; otherwise a missing one is an error, so that a typo makes no new database.
//
// # What it says and when it ends the program
//
// It says on standard error what goes where. A FORST_MOUNT that cannot be right ends the program before main, with status 78. The volume is
// opened when something below DIR is first used, so that a program that only prints its version takes nothing over; when it cannot be opened
// (no volume, a prefix that holds something else, no permission) the program ends in the same way, because one that went on might
// make a new database elsewhere. A database that is on the disk at DIR is never hidden: opening it fails and says
// so. No message shows user information or parameters of a URL.
//
// # What is durable
//
// What Pebble syncs is in the store, as always. Nobody closes the volume: when a database is closed (its LOCK is released) everything in the
// volume is made durable, and the rest is as after a kill, which is what a volume is made for. Opening it takes it over from whoever had it: two
// programs with one FORST_MOUNT do not run beside each other; the first one is fenced and ends, as Pebble does when its WAL fails.
//
// # Limits
//
// Only vfs.Default is replaced: a library that has copied it into a variable of its own before this package's turn (packages are initialized in the
// order of their paths, as far as imports allow), or that sets pebble.Options.FS, is not reached. Options stay those of the program, see
// engineadapter/pebblev1.Tune for what would suit a store. What a program does below DIR by itself, with package os, happens on the disk.
package pebblev1

import (
	"github.com/cockroachdb/pebble/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev1"
	"github.com/forst-go/forst/internal/automount"
)

func init() {
	mounts := automount.Mounts("Pebble v1")
	for i := range mounts {
		m := &mounts[i]
		vfs.Default = pebblev1.MountFunc(m.Open, m.Dir, m.Root)
	}
}
