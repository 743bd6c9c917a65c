package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/forst-go/forst/cache/disk"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/bytesize"
)

type warmResult struct {
	Volume  string `json:"volume"`
	Objects int    `json:"objects"`
	Bytes   int64  `json:"bytes"`
	Fetched int64  `json:"fetched"`
	Held    int64  `json:"held"`
}

func (a *app) warmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "warm URL --cache-dir DIR",
		Short: "Bring a volume into a cache directory",
		Long: `warm fetches all data objects of a volume that a cache directory does not hold yet, so
that a program that opens the volume with this directory reads from the local disk
from the start. It opens the volume read-only, beside a running writer. The directory
must not be in use.`,
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	dir := cmd.Flags().String("cache-dir", "", "the cache directory (required); it is made if it does not exist")
	most := cmd.Flags().String("cache-size", "10GiB", "the most that the cache takes on the disk: 500MB, 20GiB, ...")
	reserve := cmd.Flags().String("cache-reserve", "1GiB", "space that stays free on the disk")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if *dir == "" {
			return usagef("warm needs to know where the cache is: --cache-dir DIR")
		}
		o := forstfs.Options{CacheDir: *dir, CacheBytes: 16 << 20}
		if o.CacheDiskBytes, err = bytesFlag("cache-size", *most); err != nil {
			return err
		}
		if o.CacheReserve, err = bytesFlag("cache-reserve", *reserve); err != nil {
			return err
		}
		if o.CacheReserve == 0 {
			o.CacheReserve = -1
		}
		ctx := cmd.Context()
		s, err := openStore(ctx, readOnlyURL(args[0]))
		if err != nil {
			return err
		}
		o.Name = display(args[0])
		v, err := forstfs.OpenReadOnly(ctx, s, &o)
		if err != nil {
			return err
		}
		p := newProgress(a.err)
		r, err := v.Warm(ctx, func(done, all int64) {
			p.update("%s  %s of %s", bar(done, all), size(done), size(all))
		})
		p.clear()
		if cerr := v.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		res := warmResult{o.Name, r.Objects, r.Bytes, r.Fetched, r.Held}
		if *asJSON {
			err = printJSON(a.out, res)
		} else {
			_, err = fmt.Fprintf(a.out, "%s: %s objects, %s; fetched %s, in the cache now %s\n", res.Volume, count(res.Objects), size(res.Bytes), size(res.Fetched), size(res.Held))
		}
		if err == nil && r.Held < r.Bytes {
			err = fmt.Errorf("the cache holds %s of %s: give it more room with --cache-size, or free some on the disk (--cache-reserve)", size(r.Held), size(r.Bytes))
		}
		return err
	}
	return cmd
}

// bar draws how far something is.
func bar(done, all int64) string {
	const width = 30
	n := width
	if all > 0 {
		n = int(width * done / all)
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-n) + "]"
}

// bytesFlag reads a number of bytes with a unit.
func bytesFlag(name, s string) (int64, error) {
	n, err := bytesize.Parse(s)
	if err != nil {
		return 0, usagef("--%s %v", name, err)
	}
	return n, nil
}

func (a *app) cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look at a cache directory, verify it, clear it",
		Long: `cache works with the local directories that keep blocks of volumes (docs/cache.md). A
cache never holds the only copy of anything: clearing it costs time and nothing else.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q (see forst cache --help)", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.cacheLook("stat", false), a.cacheLook("verify", true), a.cacheClear())
	return cmd
}

type cacheResult struct {
	ID         string              `json:"cache_id"`
	BlockSize  int                 `json:"block_size"`
	Segments   int                 `json:"segments"`
	FileBytes  int64               `json:"file_bytes"`
	Slots      int                 `json:"slots"`
	Blocks     int                 `json:"blocks"`
	BlockBytes int64               `json:"block_bytes"`
	Damaged    int                 `json:"damaged"`
	Verified   int                 `json:"verified"`
	Bad        int                 `json:"bad"`
	InUse      bool                `json:"in_use"`
	Closed     bool                `json:"closed_in_order"`
	Volumes    []cacheVolumeResult `json:"volumes"`
}

type cacheVolumeResult struct {
	ID      string `json:"volume_id"`
	Objects int    `json:"objects"`
	Blocks  int    `json:"blocks"`
	Bytes   int64  `json:"bytes"`
}

func (a *app) cacheLook(name string, verify bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " DIR",
		Short: "Say what a cache directory holds",
		Long: `stat says what a cache directory holds, by volume. It changes nothing and may run beside
the process that uses the cache.`,
		Args: nargs(1, 1),
	}
	if verify {
		cmd.Short = "Read and check every block of a cache directory"
		cmd.Long = `verify reads every block of a cache directory and checks it against its checksums. It
changes nothing. The directory must not be in use. Bad blocks are no danger, since
the cache checks what it reads and fetches them again, but they tell of a bad disk:
then the exit status is 1.`
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p := newProgress(a.err)
		r, err := disk.Inspect(args[0], verify, func(done, all int) {
			if verify && done%64 == 0 {
				p.update("%s  %s of %s slots", bar(int64(done), int64(all)), count(done), count(all))
			}
		})
		p.clear()
		if err != nil {
			return err
		}
		res := cacheResult{ID: fmt.Sprintf("%x", r.ID), BlockSize: r.BlockSize, Segments: r.Segments, FileBytes: r.Bytes, Slots: r.Slots, Blocks: r.Blocks,
			BlockBytes: r.BlockBytes, Damaged: r.Damaged, Verified: r.Verified, Bad: r.Bad, InUse: r.InUse, Closed: r.ClosedInTime, Volumes: []cacheVolumeResult{}}
		for _, id := range slices.SortedFunc(maps.Keys(r.Volumes), func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }) {
			v := r.Volumes[id]
			res.Volumes = append(res.Volumes, cacheVolumeResult{fmt.Sprintf("%x", id), v.Objects, v.Blocks, v.Bytes})
		}
		if *asJSON {
			err = printJSON(a.out, res)
		} else {
			err = res.print(a, verify)
		}
		if err == nil && r.Bad > 0 {
			err = fmt.Errorf("%d of %d blocks are not what was written: the cache fetches them again, but check the disk; forst cache clear removes them all", r.Bad, r.Blocks)
		}
		return err
	}
	return cmd
}

func (r cacheResult) print(a *app, verify bool) error {
	state := "not in use, closed in order"
	switch {
	case r.InUse:
		state = "in use by a process"
	case !r.Closed:
		state = "not in use; its last process did not close it"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cache    %s, %s\n", r.ID, state)
	fmt.Fprintf(&b, "disk     %s in %d segments, %s slots of %s\n", size(r.FileBytes), r.Segments, count(r.Slots), size(int64(r.BlockSize)))
	fmt.Fprintf(&b, "blocks   %s with %s; records that cannot be trusted: %d\n", count(r.Blocks), size(r.BlockBytes), r.Damaged)
	if verify {
		fmt.Fprintf(&b, "verified %s right, %s wrong\n", count(r.Verified), count(r.Bad))
	}
	for _, v := range r.Volumes {
		fmt.Fprintf(&b, "volume   %s  %s objects, %s blocks, %s\n", v.ID, count(v.Objects), count(v.Blocks), size(v.Bytes))
	}
	_, err := fmt.Fprint(a.out, b.String())
	return err
}

func (a *app) cacheClear() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clear DIR",
		Short: "Remove what a cache directory holds",
		Long: `clear removes the files of a cache and leaves the directory. What is in it that is not of a
cache stays. The directory must not be in use.`,
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := disk.Clear(args[0])
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(a.out, map[string]any{"dir": args[0], "removed_bytes": n})
		}
		_, err = fmt.Fprintf(a.out, "cleared %s: %s\n", args[0], size(n))
		return err
	}
	return cmd
}
