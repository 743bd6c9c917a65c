package main

import (
	"errors"
	"fmt"

	"github.com/forst-go/forst/forstfs"
	"github.com/spf13/cobra"
)

type volumeResult struct {
	Volume string `json:"volume"`
	ID     string `json:"volume_id"`
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
				err = errors.Join(err, r.Close())
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
earlier writer can bring anything back.`,
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

func (a *app) printVolume(res volumeResult, asJSON bool) error {
	if asJSON {
		return printJSON(a.out, res)
	}
	_, err := fmt.Fprintf(a.out, "%s %s (id %s)\n", res.Done, res.Volume, res.ID)
	return err
}
