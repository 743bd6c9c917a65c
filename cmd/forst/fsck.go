package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/forstfs"
	"github.com/spf13/cobra"
)

// errDamaged makes the exit status of a check that found damage; the findings are on standard output.
var errDamaged = errors.New("the volume is damaged")

type fsckResult struct {
	URL string `json:"volume"`
	*forstfs.FsckReport
	Repaired []string `json:"repaired"`
}

func (a *app) fsckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fsck URL",
		Short: "Check that a volume is whole",
		Long: `fsck reads the names of a volume and lists its objects, beside a running writer, and
reports what is damaged (something needed is missing or has a wrong length), what
leaks (objects that nobody needs), and what does not agree between clones and the
volumes that they borrow from. It reads no data; see verify.

--repair does only what cannot do harm and says what it did: it removes the holds of
clones that are gone for certain, and asks the volume's writer (or the next one) to
sweep up what nobody needs. It never guesses, and cannot bring back what is missing.`,
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	repair := cmd.Flags().Bool("repair", false, "do what cannot do harm")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.check(cmd.Context(), args[0], &forstfs.FsckOptions{}, *repair, *asJSON)
	}
	return cmd
}

func (a *app) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify URL",
		Short: "Read every byte of a volume and check it",
		Long: `verify does what fsck does, and reads everything that the volume needs: journal,
images and bodies of snapshots are compared with their checksums, data objects with
their lengths. Checksums inside tables are the engine's; opening the database read-only
and scanning it checks those.`,
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		tell, end := a.ticker("read")
		defer end()
		return a.check(cmd.Context(), args[0], &forstfs.FsckOptions{Verify: true, Progress: tell}, false, *asJSON)
	}
	return cmd
}

func (a *app) check(ctx context.Context, raw string, o *forstfs.FsckOptions, repair, asJSON bool) (err error) {
	open := openStore
	at := readOnlyURL(raw)
	if repair {
		open, at = forst.Beside, raw
	}
	s, err := open(ctx, at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	o.Options = &forstfs.Options{Name: display(raw), OpenStore: forst.Lenders(raw)}
	r, err := forstfs.Fsck(ctx, s, o)
	if err != nil {
		return err
	}
	res := fsckResult{URL: display(raw), FsckReport: r, Repaired: []string{}}
	if repair {
		if res.Repaired, err = forstfs.Repair(ctx, s, r, o.Options); err != nil {
			return err
		}
	}
	if err := a.printCheck(res, asJSON); err != nil {
		return err
	}
	if r.Damaged() {
		return fmt.Errorf("%s: %w", res.URL, errDamaged)
	}
	return nil
}

func (a *app) printCheck(r fsckResult, asJSON bool) error {
	if asJSON {
		return printJSON(a.out, r)
	}
	for _, f := range r.Findings {
		if _, err := fmt.Fprintln(a.out, f); err != nil {
			return err
		}
	}
	for _, what := range r.Repaired {
		if _, err := fmt.Fprintln(a.out, "repaired:", what); err != nil {
			return err
		}
	}
	verdict := "whole"
	if r.Damaged() {
		verdict = "DAMAGED"
	}
	_, err := fmt.Fprintf(a.out, "%s is %s: %s files (%s), %s snapshots; %s in %s objects, %s needed, %s borrowed; %s orphans (%s), %s pending\n",
		r.URL, verdict, count(r.Files), size(r.Bytes), count(r.Snapshots), size(r.Stored), count(r.Objects), size(r.Needed), size(r.Borrowed),
		count(r.Orphans), size(r.Orphaned), count(r.Pending))
	if err == nil && r.Read > 0 {
		_, err = fmt.Fprintf(a.out, "%s read\n", size(r.Read))
	}
	return err
}

type gcResult struct {
	Volume    string            `json:"volume"`
	Requested bool              `json:"requested"`
	Swept     *gcSwept          `json:"swept,omitempty"`
	Orphans   []forstfs.Finding `json:"orphans"`
	Pending   int               `json:"pending"`
	Holds     []gcHold          `json:"holds"`
}

// gcSwept is what --now did.
type gcSwept struct {
	Objects int `json:"objects"` // data objects and bodies of snapshots
	Journal int `json:"journal"` // frames and images
}

type gcHold struct {
	Key     string    `json:"key"`
	Place   string    `json:"place"`
	Created time.Time `json:"created"`
	State   string    `json:"state"`
	Removed bool      `json:"removed"`
}

func (a *app) gcCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gc URL",
		Short: "Have a volume swept: delete what nobody needs",
		Long: `gc lists what nobody needs in a volume and leaves a request for the volume's writer, who
alone deletes: at its next image, within minutes, or when the volume is opened again. It
never disturbs the writer. Holds of clones that are gone for certain are removed at once.

A volume that nobody has open is swept by nobody. --now does it here: it takes the volume
over and sweeps it. Unless --take-over is given it watches the volume for some seconds
first, and refuses if somebody writes. A program that has it open and is idle is not
noticed, and is fenced; leave out --now if there may be one.

A clone that was never born (its cloner was killed) keeps its snapshot for ever. After
--abandoned its place is made a tombstone, so that it never can be born, and its hold
is removed; a cloner that is still at work fails then, and nothing else.`,
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	dry := cmd.Flags().Bool("dry-run", false, "only list")
	now := cmd.Flags().Bool("now", false, "take the volume over and sweep it here")
	take := addTakeOver(cmd)
	abandoned := cmd.Flags().Duration("abandoned", 0, "give up clones that were not born after this `time`, for example 24h (default: never)")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		ctx := cmd.Context()
		raw := args[0]
		switch {
		case *now && *dry:
			return usagef("--dry-run changes nothing, --now does: choose one")
		case *take.force && !*now:
			return usagef("--take-over goes with --now; without it the writer sweeps, and is not disturbed")
		}
		open, at := forst.Beside, raw
		if *dry {
			open, at = openStore, readOnlyURL(raw)
		}
		s, err := open(ctx, at)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		o := &forstfs.Options{Name: display(raw), OpenStore: forst.Lenders(raw)}
		r, err := forstfs.Fsck(ctx, s, &forstfs.FsckOptions{Options: &forstfs.Options{Name: o.Name}})
		if err != nil {
			return err
		}
		res := gcResult{Volume: o.Name, Orphans: []forstfs.Finding{}, Pending: r.Pending, Holds: []gcHold{}}
		for _, f := range r.Findings {
			if f.Severity == forstfs.Leak {
				res.Orphans = append(res.Orphans, f)
			}
		}
		holds, err := forstfs.CollectHolds(ctx, s, &forstfs.HoldsOptions{Options: o, DryRun: *dry, Abandon: *abandoned > 0, AbandonAfter: *abandoned})
		for _, h := range holds {
			res.Holds = append(res.Holds, gcHold{h.Key, h.Place, h.Created, string(h.State), h.Removed})
		}
		if err != nil {
			return err
		}
		switch {
		case *dry:
		case *now:
			if res.Swept, err = sweepNow(ctx, raw, take); err != nil {
				return err
			}
		default:
			if err := forstfs.RequestCollect(ctx, s, o); err != nil {
				return err
			}
			res.Requested = true
		}
		if *asJSON {
			return printJSON(a.out, res)
		}
		return a.printGC(res)
	}
	return cmd
}

// sweepNow does as the owner of a volume what a request asks the owner for.
func sweepNow(ctx context.Context, raw string, take takeOverFlags) (_ *gcSwept, err error) {
	v, err := take.open(ctx, raw)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if err := v.Checkpoint(ctx); err != nil {
		return nil, err
	}
	r, err := v.Sweep(ctx)
	return &gcSwept{Objects: r.Orphans, Journal: r.Journal}, err
}

func (a *app) printGC(r gcResult) error {
	var bytes int64
	for _, f := range r.Orphans {
		bytes += f.Bytes
		if _, err := fmt.Fprintln(a.out, f); err != nil {
			return err
		}
	}
	for _, h := range r.Holds {
		what := "stays"
		if h.Removed {
			what = "removed"
		}
		if _, err := fmt.Fprintf(a.out, "hold of the clone at %s, %s: %s\n", h.Place, h.State, what); err != nil {
			return err
		}
	}
	done := "nothing was changed"
	if r.Requested {
		done = "the writer, or the next one, will sweep"
	}
	if r.Swept != nil {
		done = "swept"
	}
	_, err := fmt.Fprintf(a.out, "%s: %s objects that nobody needs (%s), %s pending; %s\n", r.Volume, count(len(r.Orphans)), size(bytes), count(r.Pending), done)
	return err
}
