package testenv

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Build builds the named servers: "s3", "hdfs", and "s3-container", which is the same server in a container; its image is built when it
// starts.
func Build(ctx context.Context, names []string) error {
	for _, name := range names {
		switch name {
		case "s3", "s3-container":
			if err := BuildMinio(ctx, os.Stderr); err != nil {
				return err
			}
		case "hdfs-container":
			if err := BuildHadoop(ctx, os.Stderr); err != nil {
				return err
			}
		case "hdfs":
			if os.Getenv(EnvHDFS) != "" {
				continue // a cluster of the caller's own
			}
			if err := BuildHadoop(ctx, os.Stderr); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown server %q; known: s3, s3-container, hdfs, hdfs-container", name)
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
	if slices.Contains(names, "s3") && slices.Contains(names, "s3-container") {
		return 1, fmt.Errorf("s3 and s3-container are the same server: name one")
	}
	if slices.Contains(names, "hdfs") && slices.Contains(names, "hdfs-container") {
		return 1, fmt.Errorf("hdfs and hdfs-container are the same cluster: name one")
	}
	if slices.Contains(names, "s3-container") || slices.Contains(names, "hdfs-container") { // said before a build of minutes
		if err := CheckEngine(ctx); err != nil {
			return 1, err
		}
	}
	if err := Build(ctx, names); err != nil {
		return 1, err
	}
	env := os.Environ()
	var required []string
	if more := os.Getenv(EnvRequire); more != "" { // what the caller requires beside
		required = strings.Split(more, ",")
	}
	for _, name := range names {
		if name == "hdfs-container" {
			image, vars, err := hadoopImage(ctx)
			if err != nil {
				return 1, err
			}
			defer image.end()
			env = append(env, vars...)
			required = append(required, "containers")
		}
		if name == "hdfs" || name == "hdfs-container" {
			c, vars, err := runHDFS(ctx)
			if err != nil {
				return 1, err
			}
			if c != nil {
				defer c.end()
			}
			env = append(env, vars...)
			required = append(required, "hdfs")
			continue
		}
		start, what := startMinio, "MinIO"
		if name == "s3-container" {
			start, what = startMinioContainer, "MinIO in a container"
			required = append(required, "containers")
		}
		access, secret := "forst"+randomText(6), randomText(20)
		m, err := start(ctx, access, secret)
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
		const bucket = "forst"
		if _, err := m.client().CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
			return 1, fmt.Errorf("creating a bucket: %w", err)
		}
		server := &S3Server{Endpoint: m.endpoint}
		env = append(env, EnvS3URL+"="+server.URLIn(bucket, "run"))
		required = append(required, "s3")
		fmt.Fprintf(os.Stderr, "%s serves at %s\n", what, m.endpoint)
	}
	env = append(env, EnvRequire+"="+strings.Join(required, ","))
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

// runHDFS starts a cluster, unless the caller has one, and gives the variables that tell of it.
func runHDFS(ctx context.Context) (*hdfsCluster, []string, error) {
	if raw := os.Getenv(EnvHDFS); raw != "" {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "hdfs" || u.Host == "" {
			return nil, nil, fmt.Errorf("%s must be hdfs://HOST:PORT/DIRECTORY", EnvHDFS)
		}
		return nil, []string{EnvHDFSURL + "=" + u.JoinPath("run-"+randomText(4)).String()}, nil
	}
	began := time.Now()
	c, err := startHDFS(ctx, hdfsPlan{})
	if err != nil {
		return nil, nil, err
	}
	h := c.handle(false)
	fmt.Fprintf(os.Stderr, "HDFS serves at %s, after %v\n", c.rpc, time.Since(began).Round(100*time.Millisecond))
	return c, []string{EnvHDFS + "=" + h.base.String(), EnvHDFSWeb + "=" + c.http, EnvHDFSURL + "=" + h.URLIn("/run")}, nil
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
