package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/move"
	"github.com/spf13/cobra"
)

type moveResult struct {
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot,omitempty"`
	Path     string `json:"path"`
	Dir      string `json:"dir"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	Resumed  int64  `json:"resumed_bytes,omitempty"`
}

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import DIR URL",
		Short: "Bring a local Pebble or LevelDB database into a volume",
		Long: `import copies the database in a local directory into a volume, which is made if there
is none, and reads every byte back. The database must be closed: its LOCK is held
meanwhile. It appears in the volume in one step when everything is there and verified.
After an interruption the same command goes on with what is missing.`,
		Args: nargs(2, 2),
	}
	asJSON := jsonFlag(cmd)
	dir := cmd.Flags().String("path", "/db", "directory of the database in the volume")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		v, err := openVolume(ctx, args[1], forstfs.Options{Create: forstfs.CreateIfMissing, CacheMode: forstfs.CacheOff})
		if err != nil {
			return err
		}
		tell, end := a.ticker("copied and read back")
		r, err := move.Import(ctx, v, args[0], &move.Options{Path: *dir, Progress: tell})
		end()
		if err := errors.Join(moveUsage(err), v.Close()); err != nil {
			return err
		}
		res := moveResult{Volume: display(args[1]), Path: r.Path, Dir: args[0], Files: r.Files, Bytes: r.Bytes, Resumed: r.Resumed}
		if *asJSON {
			return printJSON(a.out, res)
		}
		_, err = fmt.Fprintf(a.out, "imported %s into %s, directory %s: %s files, %s, all read back (%s of them by an earlier run)\n", res.Dir, res.Volume, res.Path,
			count(res.Files), size(res.Bytes), size(res.Resumed))
		return err
	}
	return cmd
}

func (a *app) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export URL[@SNAPSHOT] DIR",
		Short: "Copy a database out of a volume into a local directory",
		Long: `export writes the files of a database into a local directory, which must be empty or
missing, so that the engine opens it without forst. Without a snapshot it takes the
volume as it is now; if it is being written, take a snapshot first.`,
		Args: nargs(2, 2),
	}
	asJSON := jsonFlag(cmd)
	dir := cmd.Flags().String("path", "", "directory of the database in the volume (default: the only one)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		v, snapshot, err := readMaybeSnapshot(ctx, args[0])
		if err != nil {
			return err
		}
		tell, end := a.ticker("copied and read back")
		r, err := move.Export(ctx, v, args[1], &move.Options{Path: *dir, Progress: tell})
		end()
		if err := errors.Join(moveUsage(err), v.Close()); err != nil {
			return err
		}
		res := moveResult{Volume: v.Name(), Snapshot: snapshot, Path: r.Path, Dir: args[1], Files: r.Files, Bytes: r.Bytes}
		if *asJSON {
			return printJSON(a.out, res)
		}
		_, err = fmt.Fprintf(a.out, "exported %s of %s to %s: %s files, %s\n", res.Path, res.Volume, res.Dir, count(res.Files), size(res.Bytes))
		return err
	}
	return cmd
}

// moveUsage marks what the caller has got wrong.
func moveUsage(err error) error {
	if errors.Is(err, move.ErrNotEmpty) || errors.Is(err, move.ErrNoDatabase) || errors.Is(err, fs.ErrInvalid) {
		return &usageError{err}
	}
	return err
}

// readMaybeSnapshot opens URL or URL@SNAPSHOT for reading.
func readMaybeSnapshot(ctx context.Context, raw string) (*forstfs.FS, string, error) {
	o := forstfs.Options{CacheMode: forstfs.CacheOff}
	volume, snapshot := raw, ""
	if place, _, _ := strings.Cut(raw, "?"); strings.LastIndexByte(place, '@') > strings.LastIndexByte(place, '/') {
		var err error
		if volume, snapshot, err = splitSnapshot(raw); err != nil {
			return nil, "", err
		}
		o.Snapshot = snapshot
	}
	o.Name = display(volume)
	v, err := forst.OpenReadOnly(ctx, readOnlyURL(volume), &o)
	return v, snapshot, err
}
