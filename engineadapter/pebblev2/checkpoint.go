package pebblev2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/forst-go/forst/forstfs"
)

// CheckpointOptions change Checkpoint. The zero value and nil are ready to use.
type CheckpointOptions struct {
	// Meta is stored with the snapshot, at most 1 MiB.
	Meta []byte
	// Dir is the directory of the database. Empty: the whole volume.
	Dir string
	// Flush flushes the memtables first. A database that runs without a WAL needs it; others get a checkpoint without log to replay, at the price of uploading
	// a table.
	Flush bool
	// Logger is told when tables had to be copied. nil: slog.Default().
	Logger *slog.Logger
}

// CheckpointInfo says what Checkpoint did.
type CheckpointInfo struct {
	// Snapshot is the result. The database in a clone of it is in the directory Snapshot.Dir, or CheckpointOptions.Dir if that was empty and nothing
	// was local.
	Snapshot forstfs.SnapshotInfo
	// BytesLinked are bytes of files that the checkpoint shares with the database, BytesCopied those that were written again: MANIFEST, OPTIONS and logs that are on a
	// local disk. Both are 0 when everything is in the volume: then a snapshot of the directory is the checkpoint.
	BytesLinked, BytesCopied int64
	// TablesCopied are the bytes of tables among BytesCopied: not 0 means that the placement keeps tables on the local disk, and each checkpoint uploads them.
	TablesCopied int64
}

// checkpoints is where the engine puts a checkpoint until the snapshot has it.
const checkpoints = "/checkpoints"

// Checkpoint makes a named snapshot of the volume that holds the database as of now: everything that was committed before, synced or not, and whatever a commit
// beside it adds. nil: it is durable, whatever becomes of this machine and its disk.
//
// When everything is in the volume, or follows into it (forstfs.Options.MaxLag), this is a synced record in the WAL and FS.Snapshot: a few round trips, however large
// the database is. When some of it is on a local disk, the engine makes a checkpoint in a directory of the volume of its own, which links tables and copies
// the small files; the snapshot is of that directory, which is then removed.
//
// The volume must be the one that the database is on. Checkpoints may run beside each other, under different names, and beside all else.
// A failed one leaves at most the directory /checkpoints/NAME, which the next of this name removes.
func Checkpoint(ctx context.Context, db *pebble.DB, vol *forstfs.FS, name string, o *CheckpointOptions) (CheckpointInfo, error) {
	if o == nil {
		o = &CheckpointOptions{}
	}
	info, err := checkpoint(ctx, db, vol, name, o)
	if err != nil {
		return info, fmt.Errorf("checkpoint %q: %w", name, err)
	}
	if info.TablesCopied > 0 {
		log := o.Logger
		if log == nil {
			log = slog.Default()
		}
		log.Warn("a checkpoint had to copy tables: the placement keeps them on the local disk, so that each checkpoint uploads them again",
			"volume", vol.Name(), "checkpoint", name, "bytes", info.TablesCopied)
	}
	return info, nil
}

func checkpoint(ctx context.Context, db *pebble.DB, vol *forstfs.FS, name string, o *CheckpointOptions) (CheckpointInfo, error) {
	if o.Flush {
		if err := db.Flush(); err != nil {
			return CheckpointInfo{}, err
		}
	}
	dir := path.Join("/", o.Dir)
	before := map[uint64]bool{}
	local := false
	err := vol.Walk(ctx, func(p string, i forstfs.FileInfo) error {
		if !i.IsDir() {
			before[i.Inode()] = true
			local = local || i.Local() && (dir == "/" || strings.HasPrefix(p, dir+"/"))
		}
		return nil
	})
	if err != nil {
		return CheckpointInfo{}, err
	}
	if local {
		return engineCheckpoint(ctx, db, vol, name, o, before)
	}
	if !o.Flush {
		if err := db.LogData(nil, pebble.Sync); err != nil {
			return CheckpointInfo{}, err
		}
	}
	s, err := vol.Snapshot(ctx, name, &forstfs.SnapshotOptions{Dir: o.Dir, Meta: o.Meta})
	return CheckpointInfo{Snapshot: s}, err
}

func engineCheckpoint(ctx context.Context, db *pebble.DB, vol *forstfs.FS, name string, o *CheckpointOptions, before map[uint64]bool) (info CheckpointInfo, err error) {
	if name == "" || strings.ContainsAny(name, "/") {
		return info, fmt.Errorf("name %q: %w", name, fs.ErrInvalid)
	}
	dir := path.Join(checkpoints, name)
	if path.Dir(dir) != checkpoints {
		return info, fmt.Errorf("name %q: %w", name, fs.ErrInvalid)
	}
	release, err := vol.KeepInVolume(dir)
	if err != nil {
		return info, err
	}
	defer release()
	if err := vol.RemoveAll(ctx, dir); err != nil { // of one that was interrupted
		return info, err
	}
	defer func() { err = errors.Join(err, vol.RemoveAll(ctx, dir)) }()
	var opts []pebble.CheckpointOption
	if !o.Flush {
		opts = append(opts, pebble.WithFlushedWAL())
	}
	if err := db.Checkpoint(dir, opts...); err != nil {
		return info, err
	}
	err = vol.Walk(ctx, func(p string, i forstfs.FileInfo) error {
		switch {
		case i.IsDir() || !strings.HasPrefix(p, dir+"/"):
		case before[i.Inode()]:
			info.BytesLinked += i.Size()
		default:
			info.BytesCopied += i.Size()
			if i.Class().Bulk() {
				info.TablesCopied += i.Size()
			}
		}
		return nil
	})
	if err != nil {
		return info, err
	}
	info.Snapshot, err = vol.Snapshot(ctx, name, &forstfs.SnapshotOptions{Dir: dir, Meta: o.Meta})
	return info, err
}
