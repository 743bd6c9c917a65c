package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/spf13/cobra"
)

// quietFor is how long a volume must have been at rest before a command takes it over without being told to.
const quietFor = 3 * time.Second

func (a *app) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Take, list, remove and restore snapshots of a volume",
		Long: `A snapshot keeps a volume, or a directory of it, as it is at one moment. It moves no
data, whatever the size. ls, cat, stat and du read it as URL@NAME.

create and restore are work for the owner of the volume: they take it over. Unless
--take-over is given they watch it for some seconds first, and refuse if somebody
writes. A database that is open but idle is not noticed; close it first. A running
program takes its snapshots itself. rm leaves a request to the owner, whoever that is,
and disturbs nobody.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q (see forst snapshot --help)", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.snapshotCreateCommand(), a.snapshotLsCommand(), a.snapshotRmCommand(), a.snapshotRestoreCommand())
	return cmd
}

// takeOver opens a volume for writing: at once, or when it has been at rest for a while.
func takeOver(ctx context.Context, raw string, force bool, wait time.Duration) (*forstfs.FS, error) {
	o := forstfs.Options{Force: force}
	if !force {
		o.BusyWait = wait
	}
	v, err := openVolume(ctx, raw, o)
	if errors.Is(err, forstfs.ErrBusy) && !force {
		err = fmt.Errorf("%w (--take-over fences it)", err)
	}
	return v, err
}

type takeOverFlags struct {
	force *bool
	wait  *time.Duration
}

func addTakeOver(cmd *cobra.Command) takeOverFlags {
	return takeOverFlags{
		force: cmd.Flags().Bool("take-over", false, "take the volume over at once, whoever has it open"),
		wait:  cmd.Flags().Duration("quiet", quietFor, "how long nobody may have written, without --take-over"),
	}
}

func (f takeOverFlags) open(ctx context.Context, raw string) (*forstfs.FS, error) {
	if *f.wait <= 0 {
		return nil, usagef("--quiet must be positive; --take-over does not wait")
	}
	return takeOver(ctx, raw, *f.force, *f.wait)
}

// snapshotResult is a snapshot as JSON.
type snapshotResult struct {
	Volume    string     `json:"volume,omitempty"`
	Name      string     `json:"name"`
	ID        string     `json:"id"`
	Dir       string     `json:"dir"`
	Created   time.Time  `json:"created"`
	Frame     uint64     `json:"frame"`
	Files     int        `json:"files"`
	Bytes     int64      `json:"bytes"`
	Meta      []byte     `json:"meta,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	Doomed    bool       `json:"doomed,omitempty"`
	Holds     *int       `json:"holds,omitempty"`
	Exclusive *int64     `json:"exclusive,omitempty"`
	Shared    *int64     `json:"shared,omitempty"`
}

func snapshotOf(i forstfs.SnapshotInfo, sizes bool) snapshotResult {
	r := snapshotResult{Name: i.Name, ID: i.ID, Dir: i.Dir, Created: i.Created.UTC(), Frame: i.Frame, Files: i.Files, Bytes: i.Bytes, Meta: i.Meta, Doomed: i.Doomed}
	if !i.Expires.IsZero() {
		at := i.Expires.UTC()
		r.Expires = &at
	}
	if sizes {
		r.Holds, r.Exclusive, r.Shared = &i.Holds, &i.Exclusive, &i.Shared
	}
	return r
}

func (a *app) snapshotCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create URL NAME",
		Short: "Take a snapshot",
		Long: `create takes a snapshot of what is durable in the volume. Its name must be free and
is a word without spaces and / \ @ ? # & * " '.`,
		Args: nargs(2, 2),
	}
	asJSON := jsonFlag(cmd)
	over := addTakeOver(cmd)
	dir := cmd.Flags().String("dir", "", "only this directory; its files keep their paths")
	meta := cmd.Flags().String("meta", "", "a text that is stored with the snapshot")
	expire := cmd.Flags().Duration("expire", 0, "remove it by itself when it is so old (0: never)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		if *expire < 0 {
			return usagef("--expire must not be negative")
		}
		v, err := over.open(ctx, args[0])
		if err != nil {
			return err
		}
		info, err := v.Snapshot(ctx, args[1], &forstfs.SnapshotOptions{Dir: *dir, Meta: []byte(*meta), ExpireAfter: *expire})
		if err = errors.Join(err, v.Close()); err != nil {
			return fmt.Errorf("%s: %w", v.Name(), err)
		}
		if *asJSON {
			r := snapshotOf(info, false)
			r.Volume = v.Name()
			return printJSON(a.out, r)
		}
		_, err = fmt.Fprintf(a.out, "took %s@%s (id %s): %d files, %s\n", v.Name(), info.Name, info.ID, info.Files, size(info.Bytes))
		return err
	}
	return cmd
}

func (a *app) snapshotLsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls URL",
		Short: "List the snapshots of a volume, with what each alone takes in the store",
		Long: `ls lists the snapshots, oldest first. EXCLUSIVE is what the removal of the snapshot
would free now; SHARED is what files or other snapshots need, too.`,
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		v, err := readVolume(ctx, args[0])
		if err != nil {
			return err
		}
		all, err := v.SnapshotSizes(ctx)
		if err = errors.Join(err, v.Close()); err != nil {
			return fmt.Errorf("%s: %w", v.Name(), err)
		}
		if *asJSON {
			out := []snapshotResult{} // not nil: JSON shows an empty list
			for _, s := range all {
				out = append(out, snapshotOf(s, true))
			}
			return printJSON(a.out, out)
		}
		return printSnapshots(a.out, all)
	}
	return cmd
}

func printSnapshots(w io.Writer, all []forstfs.SnapshotInfo) error {
	if len(all) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tCREATED\tDIR\tFILES\tSIZE\tEXCLUSIVE\tSHARED\tSTATE")
	for _, s := range all {
		var state []string
		if s.Doomed {
			state = append(state, "doomed")
		}
		if s.Holds > 0 {
			state = append(state, fmt.Sprintf("held by %d", s.Holds))
		}
		if !s.Expires.IsZero() {
			state = append(state, "expires "+s.Expires.UTC().Format(time.RFC3339))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", printable(s.Name), s.Created.UTC().Format(time.RFC3339), printable(s.Dir), s.Files,
			size(s.Bytes), size(s.Exclusive), size(s.Shared), strings.Join(state, ", "))
	}
	return t.Flush()
}

func (a *app) snapshotRmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm URL NAME",
		Short: "Remove a snapshot",
		Long: `rm leaves a request that the owner of the volume serves with its next image, within ten
minutes, or when it is opened next. With --take-over it takes the volume over and
removes the snapshot at once. A snapshot that clones need stays, doomed, until none
does. NAME may be an id.`,
		Args: nargs(2, 2),
	}
	asJSON := jsonFlag(cmd)
	force := cmd.Flags().Bool("take-over", false, "take the volume over, whoever has it open, and remove the snapshot now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		done := "requested the removal of"
		if *force {
			done = "removed"
			v, err := takeOver(ctx, args[0], true, 0)
			if err != nil {
				return err
			}
			if err = errors.Join(v.RemoveSnapshot(ctx, args[1]), v.Close()); err != nil {
				return fmt.Errorf("%s: %w", v.Name(), err)
			}
		} else if err := requestRemoval(ctx, args[0], args[1]); err != nil {
			return err
		}
		return a.printSnapshotDone(args[0], args[1], done, *asJSON)
	}
	return cmd
}

func requestRemoval(ctx context.Context, raw, name string) error {
	s, err := openStore(ctx, besideURL(raw))
	if err != nil {
		return err
	}
	return errors.Join(forstfs.RequestRemoveSnapshot(ctx, s, &forstfs.Options{Name: display(raw)}, name), s.Close())
}

// besideURL asks the local driver to write beside a process that has the directory locked: for requests only.
func besideURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" {
		return raw
	}
	q := u.Query()
	if !q.Has("mode") {
		q.Set("mode", "beside")
		u.RawQuery = q.Encode()
	}
	return u.String()
}

func (a *app) snapshotRestoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore URL NAME --yes",
		Short: "Make a volume, or the directory of the snapshot, what the snapshot holds",
		Long: `restore replaces what is there now, in one step: after a crash it is either as before or
restored. Take a snapshot first if what is there now may be needed again. NAME may be an id.`,
		Args: nargs(2, 2),
	}
	asJSON := jsonFlag(cmd)
	over := addTakeOver(cmd)
	yes := cmd.Flags().Bool("yes", false, "really replace what is there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*yes {
			return usagef("restore replaces what is in %s now: repeat it with --yes", display(args[0]))
		}
		ctx := cmd.Context()
		v, err := over.open(ctx, args[0])
		if err != nil {
			return err
		}
		if err = errors.Join(v.Restore(ctx, args[1]), v.Close()); err != nil {
			return fmt.Errorf("%s: %w", v.Name(), err)
		}
		return a.printSnapshotDone(args[0], args[1], "restored", *asJSON)
	}
	return cmd
}

func (a *app) printSnapshotDone(raw, name, done string, asJSON bool) error {
	if asJSON {
		return printJSON(a.out, struct {
			Volume   string `json:"volume"`
			Snapshot string `json:"snapshot"`
			Done     string `json:"done"`
		}{display(raw), name, done})
	}
	_, err := fmt.Fprintf(a.out, "%s %s@%s\n", done, display(raw), printable(name))
	return err
}

// cutSnapshot finds URL@SNAPSHOT/PATH: the last part of the path of the URL that has an "@" names a snapshot behind it.
func cutSnapshot(raw string) (volume, snapshot, rest string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || u.Opaque != "" {
		return "", "", "", false
	}
	i := strings.LastIndexByte(u.Path, '@')
	if i < 0 {
		return "", "", "", false
	}
	snapshot, rest, _ = strings.Cut(u.Path[i+1:], "/")
	u.Path, u.RawPath = u.Path[:i], ""
	return u.String(), snapshot, "/" + rest, snapshot != ""
}

// readSnapshot opens a snapshot for reading.
func readSnapshot(ctx context.Context, raw, snapshot string) (*forstfs.FS, error) {
	s, err := openStore(ctx, readOnlyURL(raw))
	if err != nil {
		return nil, err
	}
	return forstfs.OpenSnapshot(ctx, s, snapshot, &forstfs.Options{Name: display(raw) + "@" + snapshot})
}
