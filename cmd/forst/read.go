package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/spf13/cobra"
)

// entry describes a file or directory of a volume.
type entry struct {
	Path    string    `json:"path"`
	Dir     bool      `json:"dir,omitempty"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"mod_time,omitzero"`
	Class   string    `json:"class,omitempty"`
	Inode   uint64    `json:"inode,omitempty"`
}

func entryOf(name string, i forstfs.FileInfo) entry {
	e := entry{Path: name, Dir: i.IsDir(), ModTime: i.ModTime().UTC()}
	if !e.Dir {
		e.Size, e.Class, e.Inode = i.Size(), i.Class().String(), i.Inode()
	}
	return e
}

// withVolume finds the volume that args[0] points to or into, opens it read-only and gives it to do with the path in it.
func withVolume(ctx context.Context, args []string, do func(v *forstfs.FS, name string) error) error {
	v, name, err := locate(ctx, args[0])
	if err != nil {
		return err
	}
	if len(args) > 1 {
		name = path.Join("/", name, args[1])
	}
	if err = errors.Join(do(v, name), v.Close()); err != nil {
		return fmt.Errorf("%s: %w", v.Name(), err)
	}
	return nil
}

func (a *app) lsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls URL[@SNAPSHOT][/PATH] [PATH]",
		Short: "List the files of a volume",
		Long: `ls lists a directory of a volume, or one file. The path may follow the URL of the
volume directly or stand on its own.`,
		Args: nargs(1, 2),
	}
	asJSON := jsonFlag(cmd)
	long := cmd.Flags().BoolP("long", "l", false, "print size, time of change and class of each file")
	recurse := cmd.Flags().BoolP("recursive", "R", false, "list everything below, with full paths")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return withVolume(ctx, args, func(v *forstfs.FS, name string) error {
			entries, err := listEntries(ctx, v, name, *recurse)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(a.out, entries)
			}
			return printEntries(a.out, entries, *long)
		})
	}
	return cmd
}

func listEntries(ctx context.Context, v *forstfs.FS, name string, recurse bool) ([]entry, error) {
	entries := []entry{} // not nil: JSON shows an empty list
	info, err := v.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return append(entries, entryOf(name, info)), nil
	}
	if recurse {
		err := walk(ctx, v, name, func(p string, i forstfs.FileInfo) error {
			entries = append(entries, entryOf(p, i))
			return nil
		})
		return entries, err
	}
	infos, err := v.ReadDir(ctx, name)
	for _, i := range infos {
		entries = append(entries, entryOf(i.Name(), i))
	}
	return entries, err
}

// walk visits everything below dir, a directory before what is in it.
func walk(ctx context.Context, v *forstfs.FS, dir string, visit func(string, forstfs.FileInfo) error) error {
	infos, err := v.ReadDir(ctx, dir)
	if err != nil {
		return err
	}
	for _, i := range infos {
		p := path.Join(dir, i.Name())
		if err := visit(p, i); err != nil {
			return err
		}
		if i.IsDir() {
			if err := walk(ctx, v, p, visit); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func printEntries(w io.Writer, entries []entry, long bool) error {
	if !long {
		for _, e := range entries {
			if _, err := fmt.Fprintln(w, e.shown()); err != nil {
				return err
			}
		}
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, e := range entries {
		fmt.Fprintf(tw, "%d\t%s\t%s\t %s\n", e.Size, e.when(), e.Class, e.shown())
	}
	return tw.Flush()
}

func (e entry) shown() string {
	if e.Dir && e.Path != "/" {
		return printable(e.Path) + "/"
	}
	return printable(e.Path)
}

func (e entry) when() string {
	if e.ModTime.IsZero() {
		return "-"
	}
	return e.ModTime.Format("2006-01-02T15:04:05Z")
}

// printable keeps a name with control characters, which the volume allows, from reaching a terminal.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
		return fmt.Sprintf("%q", name)
	}
	return name
}

func (a *app) catCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cat URL[@SNAPSHOT] PATH",
		Short: "Write the bytes of a file of a volume to standard output",
		Args:  nargs(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return withVolume(ctx, args, func(v *forstfs.FS, name string) error {
				f, err := v.Open(ctx, name, &forstfs.OpenOptions{Access: forstfs.AccessSequential})
				if err != nil {
					return err
				}
				err = copyFile(a.out, f, name)
				return errors.Join(err, f.Close())
			})
		},
	}
}

func copyFile(w io.Writer, f *forstfs.File, name string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("cat %s: %w", name, forstfs.ErrIsDir)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(f, 0, info.Size()), make([]byte, 1<<20))
	if err == nil && n < info.Size() {
		err = fmt.Errorf("cat %s: %d of %d bytes: %w", name, n, info.Size(), io.ErrUnexpectedEOF)
	}
	return err
}

func (a *app) statCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stat URL[@SNAPSHOT][/PATH] [PATH]",
		Short: "Describe a volume, or a file in it",
		Args:  nargs(1, 2),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return withVolume(ctx, args, func(v *forstfs.FS, name string) error {
			info, err := v.Stat(ctx, name)
			if err != nil {
				return err
			}
			s := statResult{Volume: v.Name(), ID: fmt.Sprintf("%x", v.VolumeID()), Epoch: v.Epoch(), entry: entryOf(name, info)}
			if *asJSON {
				return printJSON(a.out, s)
			}
			return s.print(a.out)
		})
	}
	return cmd
}

type statResult struct {
	Volume string `json:"volume"`
	ID     string `json:"volume_id"`
	Epoch  uint64 `json:"epoch"`
	entry
}

func (s statResult) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "volume: %s\nid:     %s\nepoch:  %d\npath:   %s\n", s.Volume, s.ID, s.Epoch, s.shown())
	if !s.Dir {
		fmt.Fprintf(&b, "size:   %d\ntime:   %s\nclass:  %s\ninode:  %d\n", s.Size, s.when(), s.Class, s.Inode)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (a *app) duCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "du URL[@SNAPSHOT][/PATH] [PATH]",
		Short: "Sum up the sizes of the files of a volume, and what it takes in the store",
		Long: `du prints the size of each directory with everything below it: what readers see. A
file with several names counts once. For a whole volume it also prints what the
store holds for it: objects and bytes of data, journal, images and snapshots, unreachable ones
that were not yet deleted included.`,
		Args: nargs(1, 2),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		return withVolume(ctx, args, func(v *forstfs.FS, name string) error {
			res, err := diskUsage(ctx, v, name)
			if err == nil && name == "/" && !v.ShowsSnapshot() {
				res.Stored, err = storedUsage(ctx, args[0])
			}
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(a.out, res)
			}
			return res.print(a.out)
		})
	}
	return cmd
}

type duResult struct {
	Dirs   []duDir   `json:"directories"`
	Files  int64     `json:"files"`
	Bytes  int64     `json:"bytes"`
	Stored *duStored `json:"stored,omitempty"`
}

type duDir struct {
	Path  string `json:"path"`
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
}

type duStored struct {
	Objects int64            `json:"objects"`
	Bytes   int64            `json:"bytes"`
	ByKind  map[string]int64 `json:"bytes_by_kind"`
}

func diskUsage(ctx context.Context, v *forstfs.FS, name string) (*duResult, error) {
	info, err := v.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	res := &duResult{Dirs: []duDir{}}
	if !info.IsDir() {
		res.Files, res.Bytes = 1, info.Size()
		return res, nil
	}
	res.Dirs = append(res.Dirs, duDir{Path: name})
	index := map[string]int{name: 0}
	counted := map[uint64]bool{}
	err = walk(ctx, v, name, func(p string, i forstfs.FileInfo) error {
		if i.IsDir() {
			index[p] = len(res.Dirs)
			res.Dirs = append(res.Dirs, duDir{Path: p})
			return nil
		}
		if counted[i.Inode()] {
			return nil
		}
		counted[i.Inode()] = true
		for dir := path.Dir(p); ; dir = path.Dir(dir) {
			d := &res.Dirs[index[dir]]
			d.Files++
			d.Bytes += i.Size()
			if dir == name {
				return nil
			}
		}
	})
	res.Files, res.Bytes = res.Dirs[0].Files, res.Dirs[0].Bytes
	return res, err
}

// storedUsage lists everything under the volume's prefix.
func storedUsage(ctx context.Context, raw string) (*duStored, error) {
	s, err := openStore(ctx, readOnlyURL(raw))
	if err != nil {
		return nil, err
	}
	res := &duStored{ByKind: map[string]int64{}}
	for info, lerr := range s.List(driver.WithComponent(ctx, driver.CompOther), "", "") {
		if lerr != nil {
			err = lerr
			break
		}
		kind, _, _ := strings.Cut(info.Key, "/")
		res.Objects++
		res.Bytes += info.Size
		res.ByKind[kind] += info.Size
	}
	return res, errors.Join(err, s.Close())
}

func (r *duResult) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, d := range r.Dirs {
		fmt.Fprintf(tw, "%s\t%s files\t %s\n", size(d.Bytes), count(d.Files), entry{Path: d.Path, Dir: true}.shown())
	}
	if len(r.Dirs) == 0 {
		fmt.Fprintf(tw, "%s\t%s files\t\n", size(r.Bytes), count(r.Files))
	}
	if err := tw.Flush(); err != nil || r.Stored == nil {
		return err
	}
	k := r.Stored.ByKind
	_, err := fmt.Fprintf(w, "in the store: %s in %s objects (data %s, journal %s, images %s, snapshots %s)\n", size(r.Stored.Bytes), count(r.Stored.Objects),
		size(k["data"]), size(k["journal"]), size(k["image"]), size(k["snapshot"]))
	return err
}
