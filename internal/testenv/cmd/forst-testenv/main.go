// Command forst-testenv builds and starts the servers that the tests need.
//
//	forst-testenv build s3                        # builds what is missing
//	forst-testenv run s3 -- go test ./...         # starts the servers around a command
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"

	"github.com/forst-go/forst/internal/testenv"
)

const usage = `usage:
  forst-testenv build SERVER...
  forst-testenv run SERVER... -- COMMAND [ARGUMENT...]
servers: s3; s3-container (the same server in a container); hdfs (Java 17 and Maven are needed); hdfs-container
`

func main() {
	status, err := do(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "forst-testenv:", err)
	}
	os.Exit(status)
}

func do(args []string) (int, error) {
	if len(args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
	switch args[0] {
	case "build":
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		if err := testenv.Build(ctx, args[1:]); err != nil {
			return 1, err
		}
		return 0, nil
	case "run":
		i := slices.Index(args, "--")
		if i >= 2 && i+1 < len(args) {
			return testenv.Run(args[1:i], args[i+1:])
		}
	}
	fmt.Fprint(os.Stderr, usage)
	return 2, nil
}
