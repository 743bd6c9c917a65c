package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/spf13/cobra"
)

// splitSnapshot takes URL@SNAPSHOT apart: the name follows the last "@" of the path, before the parameters.
func splitSnapshot(raw string) (volume, snapshot string, err error) {
	place, query, has := strings.Cut(raw, "?")
	i := strings.LastIndexByte(place, '@')
	if i < 0 || i < strings.LastIndexByte(place, '/') || i == len(place)-1 {
		return "", "", usagef("%s names no snapshot: want URL@SNAPSHOT, for example s3://bucket/prod@daily", display(raw))
	}
	volume, snapshot = place[:i], place[i+1:]
	if name, err := url.PathUnescape(snapshot); err == nil {
		snapshot = name
	}
	if has {
		volume += "?" + query
	}
	return volume, snapshot, nil
}

// ticker shows the progress of a copy that several goroutines make.
func (a *app) ticker(what string) (tell func(done, total int64), end func()) {
	var mu sync.Mutex
	p := newProgress(a.err)
	return func(done, total int64) {
			mu.Lock()
			defer mu.Unlock()
			p.update("%s: %s of %s", what, size(done), size(total))
		}, func() {
			mu.Lock()
			defer mu.Unlock()
			p.clear()
		}
}

type cloneResult struct {
	Source   string `json:"source"`
	Snapshot string `json:"snapshot"`
	Clone    string `json:"clone"`
	ID       string `json:"volume_id"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	Copied   int64  `json:"copied"`
	Lenders  int    `json:"lenders"`
}

func (a *app) cloneCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "clone URL@SNAPSHOT DST",
		Short: "Make a new volume out of a snapshot, without copying its data",
		Long: `clone makes a new volume at DST, an empty place, that begins with the files of a
snapshot. It moves no data, whatever the size: the clone reads what it has in common
with its source where that lies, and writes beside it. The source's writer is not
disturbed; the snapshot stays until no clone needs it (forst detach, forst drop).

With --copy everything is copied, and the two have nothing to do with each other:
that is how a volume gets into another store.`,
		Args: nargs(2, 2),
	}
	asJSON := jsonFlag(cmd)
	copies := cmd.Flags().Bool("copy", false, "copy all data; the clone borrows nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		src, snapshot, err := splitSnapshot(args[0])
		if err != nil {
			return err
		}
		tell, end := a.ticker("copied")
		info, err := forst.Clone(cmd.Context(), src, snapshot, args[1], &forstfs.CloneOptions{
			Options: &forstfs.Options{Name: display(args[1])}, Copy: *copies, Progress: tell})
		end()
		if k := driver.KindOf(err); k == driver.KindInvalid || k == driver.KindUnsupported {
			return &usageError{err}
		}
		if err != nil {
			return err
		}
		res := cloneResult{display(src), snapshot, display(args[1]), fmt.Sprintf("%x", info.VolumeID), info.Files, info.Bytes, info.Copied, info.Lenders}
		if *asJSON {
			return printJSON(a.out, res)
		}
		_, err = fmt.Fprintf(a.out, "cloned %s@%s to %s (id %s): %s files, %s, %s copied\n", res.Source, res.Snapshot, res.Clone, res.ID,
			count(res.Files), size(res.Bytes), size(res.Copied))
		return err
	}
	return cmd
}

type detachResult struct {
	Volume  string `json:"volume"`
	Objects int    `json:"objects"`
	Copied  int64  `json:"copied"`
	Given   int    `json:"holds_given_back"`
	Still   int    `json:"holds_that_stay"`
	Why     string `json:"because_of,omitempty"`
}

func (a *app) detachCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "detach URL",
		Short: "Make a clone stand alone: copy what it still borrows",
		Long: `detach takes a clone over from its writer, copies what its files still borrow from other
volumes, inside the store where that is possible, and gives its holds back. What it
copied stays copied when it is interrupted. What snapshots of the clone borrow stays
borrowed until they are removed.`,
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		v, err := openVolume(ctx, args[0], forstfs.Options{})
		if err != nil {
			return err
		}
		tell, end := a.ticker("copied")
		info, err := v.Detach(ctx, tell)
		end()
		if err = errors.Join(err, v.Close()); err != nil {
			return err
		}
		res := detachResult{v.Name(), info.Objects, info.Bytes, info.Given, info.Still, info.Why}
		if *asJSON {
			return printJSON(a.out, res)
		}
		text := fmt.Sprintf("detached %s: %s in %s objects copied, %s holds given back", res.Volume, size(res.Copied), count(res.Objects), count(res.Given))
		if res.Still > 0 {
			text += fmt.Sprintf("; %s stay because of %s", count(res.Still), res.Why)
		}
		_, err = fmt.Fprintln(a.out, text)
		return err
	}
	return cmd
}
