package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/forst-go/forst/conformance"
	"github.com/spf13/cobra"
)

// conformanceConfig is what the flags of forst conformance say.
type conformanceConfig struct {
	Store  string
	Suites []string
	Run    *regexp.Regexp // of suite/group/case; nil chooses all
	Plant  string
}

// confCase is a case of any suite.
type confCase struct {
	suite, name string
	run         func(conformance.TB, *confShared)
}

// confShared is what the cases of a run share.
type confShared struct {
	maker conformance.Maker
	store *conformance.StoreRun
}

func (c *confCase) String() string { return c.suite + "/" + c.name }

// group is the first part of a case's name.
func (c *confCase) group() string {
	g, _, _ := strings.Cut(c.name, "/")
	return g
}

// suites are the suites by name, in the order in which they run: a store that breaks its contract is best known before volumes are
// tried on it.
var suites = []string{"store", "durability"}

// cases lists the cases that c chooses.
func (c *conformanceConfig) cases() []confCase {
	var all []confCase
	if slices.Contains(c.Suites, "store") {
		for _, x := range conformance.StoreCases() {
			all = append(all, confCase{"store", x.Name, func(tb conformance.TB, s *confShared) { s.store.Run(tb, x) }})
		}
	}
	if slices.Contains(c.Suites, "durability") {
		for _, x := range conformance.DurabilityCases() {
			all = append(all, confCase{"durability", x.Name, func(tb conformance.TB, s *confShared) { x.Run(tb, s.maker) }})
		}
	}
	return slices.DeleteFunc(all, func(x confCase) bool { return c.Run != nil && !c.Run.MatchString(x.String()) })
}

func (a *app) conformanceCommand() *cobra.Command {
	var c conformanceConfig
	var expr string
	cmd := &cobra.Command{
		Use:   "conformance URL",
		Short: "Run the conformance suites against a store",
		Long: `conformance runs the suites that forst's own drivers must pass against your store.
The suite "store" checks the contract of a store, promise by promise: objects appear
as a whole, create-if-absent has one winner, lists miss nothing, errors say what they
mean. The suite "durability" puts volumes on it, crashes them at every request, makes
every request fail in every way, and checks that nothing acknowledged is lost.

Everything happens under a new prefix, URL/forst-conformance-<random>, which is removed
at the end, also after Ctrl-C. Nothing else in the store is read or changed. All of it
takes two minutes on a local disk, and longer on a distant store: about 40,000
requests and 600 MiB each way, which may cost money. --run chooses a part.

Exit status 1 if a case fails.`,
		Args: nargs(1, 1),
	}
	f := cmd.Flags()
	f.StringVar(&expr, "run", "", "run only the cases whose name matches this `regexp`, for example store/if-absent")
	f.StringSliceVar(&c.Suites, "suite", suites, "the suites to run")
	f.StringVar(&c.Plant, "plant", "", "break the store to see that it is found: "+strings.Join(confPlants(), ", "))
	f.Lookup("plant").Hidden = true
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.Store = args[0]
		if err := c.validate(expr); err != nil {
			return err
		}
		res, err := runConformance(cmd.Context(), &c, newProgress(a.err))
		if res == nil {
			return err
		}
		if *asJSON {
			err = errors.Join(err, printJSON(a.out, res))
		} else {
			err = errors.Join(err, a.printConformance(res))
		}
		if err == nil && !res.OK {
			err = fmt.Errorf("%d of %d cases failed on %s: %s", res.Failed, len(res.Cases), res.Store, res.firstFailures(3))
		}
		return err
	}
	return cmd
}

func (c *conformanceConfig) validate(expr string) (err error) {
	for _, s := range c.Suites {
		if !slices.Contains(suites, s) {
			return usagef("--suite %q: known are %s", s, strings.Join(suites, ", "))
		}
	}
	if c.Plant != "" && !slices.Contains(confPlants(), c.Plant) {
		return usagef("--plant %q: known are %s", c.Plant, strings.Join(confPlants(), ", "))
	}
	if expr != "" {
		if c.Run, err = regexp.Compile(expr); err != nil {
			return usagef("--run: %v", err)
		}
	}
	if len(c.cases()) == 0 {
		return usagef("no case matches --suite %s --run %q: names look like store/if-absent/race-of-16-has-one-winner", strings.Join(c.Suites, ","), expr)
	}
	return nil
}

// caseResult is one case in the result of forst conformance --json.
type caseResult struct {
	Suite    string   `json:"suite"`
	Name     string   `json:"name"`
	OK       bool     `json:"ok"`
	Seconds  float64  `json:"seconds"`
	Failures []string `json:"failures,omitempty"`

	group string
}

func (r *caseResult) String() string { return r.Suite + "/" + r.Name }

// conformanceResult is what forst conformance --json prints.
type conformanceResult struct {
	OK      bool         `json:"ok"`
	Store   string       `json:"store"`
	Passed  int          `json:"passed"`
	Failed  int          `json:"failed"`
	Cases   []caseResult `json:"cases"`
	Use     usage        `json:"use"`
	Seconds float64      `json:"seconds"`
}

func (r *conformanceResult) firstFailures(n int) string {
	var names []string
	for _, c := range r.Cases {
		if !c.OK {
			names = append(names, c.String())
		}
	}
	if len(names) > n {
		names = append(names[:n], "...")
	}
	return strings.Join(names, ", ")
}

// maxFailureLines is what the report prints of one failed case; --json has all.
const maxFailureLines = 12

// printConformance prints a table with a row for each group, the failed cases, and the verdict.
func (a *app) printConformance(r *conformanceResult) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "suite\tgroup\tcases\tpassed\tfailed\ttime\t")
	for rest := r.Cases; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Suite == rest[0].Suite && rest[n].group == rest[0].group {
			n++
		}
		failed, took := sumUp(rest[:n])
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t\n", rest[0].Suite, rest[0].group, n, n-failed, failed, took)
		rest = rest[n:]
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, c := range r.Cases {
		if c.OK {
			continue
		}
		fmt.Fprintf(a.out, "\nFAILED %s\n", &c)
		lines := strings.Split(strings.TrimSpace(strings.Join(c.Failures, "\n")), "\n")
		for _, line := range lines[:min(len(lines), maxFailureLines)] {
			fmt.Fprintf(a.out, "    %s\n", line)
		}
		if more := len(lines) - maxFailureLines; more > 0 {
			fmt.Fprintf(a.out, "    (%d more lines; --json has all)\n", more)
		}
	}
	verdict := "conforms"
	if !r.OK {
		verdict = "DOES NOT CONFORM"
	}
	_, err := fmt.Fprintf(a.out, "\n%s: %s (%d of %d cases passed; %s requests, %s sent, %s received; %.1f s)\n", r.Store, verdict,
		r.Passed, len(r.Cases), count(r.Use.Requests), size(r.Use.Sent), size(r.Use.Received), r.Seconds)
	return err
}

func sumUp(cases []caseResult) (failed int, took string) {
	var seconds float64
	for _, c := range cases {
		seconds += c.Seconds
		if !c.OK {
			failed++
		}
	}
	return failed, brief(time.Duration(seconds * float64(time.Second)))
}
