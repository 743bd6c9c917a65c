package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/spf13/cobra"
)

type volumeResult struct {
	Volume string `json:"volume"`
	ID     string `json:"volume_id,omitempty"`
	Done   string `json:"done"`
}

func (a *app) createCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create URL",
		Short: "Create an empty volume",
		Long: `create makes an empty volume where nothing is. It probes the store first and
refuses one that is not safe. A prefix that holds anything else is refused, too.`,
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		v, err := openVolume(ctx, args[0], forstfs.Options{Create: forstfs.CreateNew})
		if errors.Is(err, forstfs.ErrExists) {
			// What exists may be of no use any more; then the reader's error says more.
			if r, rerr := readVolume(ctx, args[0]); rerr != nil {
				err = rerr
			} else {
				err = errors.Join(fmt.Errorf("volume %s: a volume exists here already (id %x): use it, or choose another prefix", r.Name(), r.VolumeID()), r.Close())
			}
		}
		if err != nil {
			return err
		}
		res := volumeResult{Volume: v.Name(), ID: fmt.Sprintf("%x", v.VolumeID()), Done: "created"}
		if err := v.Close(); err != nil {
			return err
		}
		return a.printVolume(res, *asJSON)
	}
	return cmd
}

func (a *app) dropCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drop URL --yes",
		Short: "Delete a volume for ever",
		Long: `drop takes the volume over from its writer and deletes everything in it. The prefix
is not used again: a few small objects stay there, so that no late request of an
earlier writer can bring anything back. An interrupted drop is finished by another one.`,
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	yes := cmd.Flags().Bool("yes", false, "really delete everything")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*yes {
			return usagef("drop deletes everything in %s for ever: repeat it with --yes", display(args[0]))
		}
		ctx := cmd.Context()
		v, err := openVolume(ctx, args[0], forstfs.Options{})
		if errors.Is(err, forstfs.ErrDropped) {
			switch done, ferr := finishDrop(ctx, args[0]); {
			case ferr != nil:
				return ferr
			case done:
				return a.printVolume(volumeResult{Volume: display(args[0]), Done: "finished the drop of"}, *asJSON)
			}
		}
		if err != nil {
			return err
		}
		res := volumeResult{Volume: v.Name(), ID: fmt.Sprintf("%x", v.VolumeID()), Done: "dropped"}
		if err := errors.Join(v.Drop(ctx), v.Close()); err != nil {
			return err
		}
		return a.printVolume(res, *asJSON)
	}
	return cmd
}

// finishDrop does the rest of an interrupted drop and reports whether there was anything to do.
func finishDrop(ctx context.Context, raw string) (done bool, err error) {
	s, err := openStore(ctx, raw)
	if err != nil {
		return false, err
	}
	before, err := driver.ListAll(ctx, s, "", "")
	if err == nil {
		err = forstfs.FinishDrop(ctx, s, &forstfs.Options{Name: display(raw)})
	}
	var after []driver.Info
	if err == nil {
		after, err = driver.ListAll(ctx, s, "", "")
	}
	same := func(a, b driver.Info) bool { return a.Key == b.Key }
	return !slices.EqualFunc(before, after, same), errors.Join(err, s.Close())
}

func (a *app) printVolume(res volumeResult, asJSON bool) error {
	if asJSON {
		return printJSON(a.out, res)
	}
	line := res.Done + " " + res.Volume
	if res.ID != "" {
		line += " (id " + res.ID + ")"
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}
