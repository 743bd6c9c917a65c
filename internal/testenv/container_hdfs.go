package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	// EnvHDFSImage names the image from which clusters are started as containers in place of processes; "forst-testenv run hdfs-container"
	// builds it and sets the variable.
	EnvHDFSImage = "FORST_TEST_HDFS_IMAGE"
	// EnvHDFSBase names an image with Java 17 to build that image on; deploy/hdfs/base makes one where no registry is reached.
	EnvHDFSBase = "FORST_HDFS_BASE"
	envHDFSRuns = "FORST_TEST_HDFS_RUNS" // the folder for the clusters' folders, which goes with the image
)

// hadoopImage builds the image of deploy/hdfs and gives the variables for it, which hold for this process, too. Ending it removes all
// containers of it.
func hadoopImage(ctx context.Context) (*container, []string, error) {
	root, err := Root()
	if err != nil {
		return nil, nil, err
	}
	jars, err := filepath.Glob(filepath.Join(HadoopPath(), "lib", "*.jar"))
	if err != nil || len(jars) == 0 {
		return nil, nil, fmt.Errorf("no jars in %s: %w", HadoopPath(), errors.Join(err, os.ErrNotExist))
	}
	files := map[string]string{}
	for _, j := range jars {
		files["lib/"+filepath.Base(j)] = j
	}
	var args []string
	if base := os.Getenv(EnvHDFSBase); base != "" {
		args = append(args, "BASE="+base)
	}
	c, err := newContainer(ctx, "hdfs", filepath.Join(root, "deploy", "hdfs", "Dockerfile"), files, args...)
	if err != nil {
		return nil, nil, fmt.Errorf("%w (where no registry is reached: deploy/hdfs/base NAME, and %s=NAME)", err, EnvHDFSBase)
	}
	runs := filepath.Join(c.dir, "runs")
	vars := []string{EnvHDFSImage + "=" + c.name, envHDFSRuns + "=" + runs}
	err = errors.Join(os.Mkdir(runs, 0o755), os.Setenv(EnvHDFSImage, c.name), os.Setenv(envHDFSRuns, runs))
	if err != nil {
		return nil, nil, errors.Join(err, c.end())
	}
	return c, vars, nil
}

// hadoopContainer is a server of a cluster in a container on the host's network, with its folder mounted at the same path.
type hadoopContainer struct {
	image, name, dir string
	args             []string // of java
	made, paused     bool
}

func (c *hadoopContainer) tell(command string) (string, error) {
	var words []string
	switch command {
	case "run":
		words = []string{"start", c.name}
		if !c.made {
			words = append([]string{"run", "-d", "--name", c.name, "--network", "host", "--label", "forst-test=" + c.image, "-v", c.dir + ":" + c.dir, c.image}, c.args...)
			c.made = true
		}
	case "kill":
		words = []string{"kill", c.name}
	case "stop":
		words = []string{"pause", c.name}
		c.paused = true
	case "cont":
		if !c.paused { // a signal to a process that runs is no error either
			return "", nil
		}
		c.paused = false
		words = []string{"unpause", c.name}
	}
	out, err := exec.Command(docker(), words...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s %s: %w\n%s", docker(), words[0], c.name, err, lastLines(out))
	}
	return "", nil
}

func (c *hadoopContainer) log() string {
	out, err := exec.Command(docker(), "logs", "--tail", "40", c.name).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, lastLines(out))
	}
	return lastLines(out)
}

// end removes the container and its folder, whose files may belong to the container's user.
func (c *hadoopContainer) end() error {
	var err error
	if c.made {
		if out, rerr := exec.Command(docker(), "rm", "-f", "-v", c.name).CombinedOutput(); rerr != nil {
			err = fmt.Errorf("%s rm %s: %w\n%s", docker(), c.name, rerr, lastLines(out))
		}
		_ = exec.Command(docker(), "run", "--rm", "--network", "none", "--entrypoint", "chmod", "-v", c.dir+":"+c.dir, c.image, "-R", "a+rwX", c.dir).Run()
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}
