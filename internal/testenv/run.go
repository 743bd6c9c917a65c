package testenv

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Build builds the named servers ("s3").
func Build(ctx context.Context, names []string) error {
	for _, name := range names {
		switch name {
		case "s3":
			if err := BuildMinio(ctx, os.Stderr); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown server %q; known: s3", name)
		}
	}
	return nil
}

// Run builds and starts the named servers, runs a command with their addresses in its environment and with all of them
// required, stops the servers, removes their data and returns the command's exit status. A signal of the terminal ends the command,
// and then the servers.
func Run(names, command []string) (int, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	type result struct {
		status int
		err    error
	}
	done := make(chan result, 1)
	pass := make(chan os.Signal, 1)
	go func() {
		status, err := run(ctx, names, command, pass)
		done <- result{status, err}
	}()
	for {
		select {
		case r := <-done:
			return r.status, r.err
		case sig := <-signals:
			select {
			case pass <- sig: // the command may want to end by itself
			default:
			}
			cancel() // ends a build or the wait for a server
		}
	}
}

func run(ctx context.Context, names, command []string, signals <-chan os.Signal) (int, error) {
	if err := Build(ctx, names); err != nil {
		return 1, err
	}
	env := append(os.Environ(), EnvRequire+"="+strings.Join(names, ","))
	for _, name := range names {
		if name == "s3" {
			access, secret := "forst"+randomText(6), randomText(20)
			m, err := startMinio(ctx, access, secret)
			if err != nil {
				return 1, err
			}
			defer m.end()
			u, err := url.Parse(m.endpoint)
			if err != nil {
				return 1, err
			}
			u.User = url.UserPassword(access, secret)
			env = append(env, EnvS3+"="+u.String())
			env = append(env, awsEnv(access, secret)...)
			fmt.Fprintf(os.Stderr, "MinIO serves at %s\n", m.endpoint)
		}
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, env
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			cmd.Process.Signal(sig)
		case err := <-ended:
			if cmd.ProcessState != nil && cmd.ProcessState.Exited() {
				return cmd.ProcessState.ExitCode(), nil
			}
			return 1, err
		}
	}
}

// addHeader is an SDK option that sets one header of a request.
func addHeader(name, value string) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Build.Add(middleware.BuildMiddlewareFunc("forst-header", func(
			ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler,
		) (middleware.BuildOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				req.Header.Set(name, value)
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	}
}
