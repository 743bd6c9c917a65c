package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/forst-go/forst/internal/probe"
	"github.com/spf13/cobra"
)

type probeResult struct {
	Store    string   `json:"store"`
	Safe     bool     `json:"safe"`
	Passed   []string `json:"passed"`
	Warnings []string `json:"warnings"`
	Requests int      `json:"requests"`
	Millis   float64  `json:"ms"`
	Problem  string   `json:"problem,omitempty"` // what an unsafe store does wrong
}

func (a *app) probeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "probe URL",
		Short: "Check that a store keeps the contract that durability rests on",
		Long: fmt.Sprintf(`probe checks, in at most %d requests under a scratch prefix that it removes, that a
store creates objects only if they are absent, shows what was written at once, in
reads and in lists, and tells missing objects from failures. A store that does not
must not hold a volume: exit status 1. Warnings name settings of the bucket that
may break the contract later.`, probe.MaxRequests),
		Args: nargs(1, 1),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := openStore(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		rep, err := probe.Probe(cmd.Context(), s)
		unsafe := errors.Is(err, probe.ErrUnsafe)
		if err = errors.Join(err, s.Close()); err != nil {
			err = fmt.Errorf("%s: %w", display(args[0]), err)
		}
		if err != nil && !unsafe {
			return err
		}
		res := probeResult{Store: display(args[0]), Safe: !unsafe, Passed: rep.Passed, Warnings: rep.Warnings, Requests: rep.Requests,
			Millis: float64(rep.Took.Microseconds()) / 1000}
		if unsafe {
			res.Problem = err.Error()
		}
		return errors.Join(err, a.printProbe(res, *asJSON))
	}
	return cmd
}

func (a *app) printProbe(res probeResult, asJSON bool) error {
	if asJSON {
		return printJSON(a.out, res)
	}
	for _, name := range res.Passed {
		fmt.Fprintf(a.out, "passed   %s\n", name)
	}
	for _, w := range res.Warnings {
		fmt.Fprintf(a.out, "warning  %s\n", w)
	}
	verdict := "safe"
	if !res.Safe {
		verdict = "NOT SAFE"
	}
	_, err := fmt.Fprintf(a.out, "%s: %s (%d checks passed, %d requests, %s)\n", res.Store, verdict, len(res.Passed), res.Requests,
		brief(time.Duration(res.Millis*float64(time.Millisecond))))
	return err
}
