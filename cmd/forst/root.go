package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes; docs/cli.md lists them.
const (
	exitOK          = 0
	exitFailed      = 1   // the work failed, or the demo found a loss
	exitUsage       = 2   // the command line is wrong; nothing was done
	exitInterrupted = 130 // Ctrl-C or SIGTERM, as shells report it
)

// app is what the commands share.
type app struct {
	in       io.Reader
	out, err io.Writer // out is for results only; progress and messages go to err
}

// run executes one command line and returns the exit code. It starts nothing that outlives it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr}
	root := a.command()
	root.SetArgs(append([]string{}, args...)) // not nil: that would mean os.Args
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "forst: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "forst:", oneLine(explain(err)))
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "forst",
		Short: "Work with forst volumes: LSM databases whose only durable home is a store",
		Long: `forst works with volumes: directory trees of a log-structured engine (Pebble)
whose only durable home is a store. A volume is named by a URL:

  s3://bucket/prefix     an S3 bucket; credentials come from the environment, as
                         for other AWS tools; ?endpoint=http://host:port for
                         other S3 stores
  file:///directory      a local directory

ls, cat, stat and du open a volume read-only, beside a running writer, and never
write. create and drop take the volume over from its writer. Results go to standard
output, progress and errors to standard error.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q (see forst --help)", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v (see %s --help)", err, cmd.CommandPath())
	})
	root.AddCommand(a.demoCommand(), a.demoWriterCommand(), a.probeCommand(), a.conformanceCommand(), a.lsCommand(), a.catCommand(), a.statCommand(),
		a.duCommand(), a.warmCommand(), a.cacheCommand(), a.createCommand(), a.dropCommand(), a.snapshotCommand(), a.cloneCommand(), a.detachCommand(), a.fsckCommand(),
		a.importCommand(), a.exportCommand(), a.verifyCommand(), a.gcCommand(), a.versionCommand())
	return root
}

// usageError is a wrong command line: exit status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// nargs checks the number of positional arguments and names them in the message.
func nargs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("arguments given: %d; want: %s (see %s --help)", len(args), strings.TrimSuffix(cmd.UseLine(), " [flags]"), cmd.CommandPath())
		}
		return nil
	}
}

func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print the result as JSON")
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// oneLine joins the lines of several errors.
func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }
