package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// EnvDocker names the program that speaks to the container engine; "docker" by default, "podman" understands the same words.
const EnvDocker = "FORST_DOCKER"

func docker() string {
	if name := os.Getenv(EnvDocker); name != "" {
		return name
	}
	return "docker"
}

// containerGuard waits until its standard input ends, which it does with the process that started it, however that ends. Then it
// removes the container with its data, those that were run from the image under other names, the image, and the folder with the image's files.
// They are known by a label: images of the same files are one image under several names, so by their image the containers of others would go, too.
const containerGuard = `
docker=$1; name=$2; dir=$3
while read -r _; do :; done
"$docker" rm -f -v "$name" >/dev/null 2>&1
for id in $("$docker" ps -aq --filter "label=forst-test=$name" 2>/dev/null); do "$docker" rm -f -v "$id" >/dev/null 2>&1; done
"$docker" rmi -f "$name" >/dev/null 2>&1
rm -rf "$dir"
`

// container is a container and an image of the same name, of which this process is the only user.
type container struct {
	name string
	dir  string // what the image is made of
	cmd  *exec.Cmd
	in   io.Closer
}

// newContainer builds an image from a Dockerfile and files next to it, given by name and path. Nothing runs yet. When newContainer
// fails, nothing is left.
func newContainer(ctx context.Context, kind, dockerfile string, files map[string]string, buildArgs ...string) (_ *container, err error) {
	if err := CheckEngine(ctx); err != nil {
		return nil, err
	}
	// In the cache, so that big files can be linked.
	base := filepath.Join(CacheDir(), "images")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return nil, err
	}
	c := &container{name: "forst-test-" + kind + "-" + randomText(6)}
	if c.dir, err = os.MkdirTemp(base, kind+"-"); err != nil {
		return nil, err
	}
	if err := c.guard(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	if err := c.build(ctx, dockerfile, files, buildArgs); err != nil {
		return nil, errors.Join(err, c.end())
	}
	return c, nil
}

// CheckEngine says what to do when no container engine answers.
func CheckEngine(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, docker(), "version", "--format", "{{.Server.Version}}")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		out = []byte("no such program")
	}
	return fmt.Errorf("no container engine answers to %q: install one (Debian: docker.io) and start it, or name its program in %s and its socket in DOCKER_HOST; "+
		"docs/testing.md, Containers, has the commands: %w: %s", docker(), EnvDocker, err, bytes.TrimSpace(out))
}

// guard starts the process that cleans up, in a group of its own: signals of the terminal do not reach it.
func (c *container) guard() error {
	c.cmd = exec.Command("sh", "-c", containerGuard, "forst-guard", docker(), c.name, c.dir)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return err
	}
	c.in = in
	return c.cmd.Start()
}

func (c *container) build(ctx context.Context, dockerfile string, files map[string]string, buildArgs []string) error {
	files["Dockerfile"] = dockerfile
	for name, from := range files {
		to := filepath.Join(c.dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := linkOrCopy(from, to); err != nil {
			return err
		}
	}
	words := []string{"build", "-q", "-t", c.name}
	for _, a := range buildArgs {
		words = append(words, "--build-arg", a)
	}
	return c.tell(ctx, nil, append(words, c.dir)...)
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// run starts the container on the host's network. Values of env are passed through the environment of the engine's program, so that
// no list of processes shows them.
func (c *container) run(ctx context.Context, env []string, args ...string) error {
	words := []string{"run", "-d", "--name", c.name, "--network", "host"}
	for _, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		words = append(words, "-e", key)
	}
	return c.tell(ctx, env, append(append(words, c.name), args...)...)
}

// again removes the container, so that it can run with other arguments.
func (c *container) again(ctx context.Context) error {
	return c.tell(ctx, nil, "rm", "-f", "-v", c.name)
}

func (c *container) tell(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, docker(), args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s %s: %w\n%s", docker(), args[0], c.name, err, lastLines(out))
	}
	return nil
}

// log is the end of what the container printed.
func (c *container) log() string {
	out, err := exec.Command(docker(), "logs", "--tail", "40", c.name).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, lastLines(out))
	}
	return lastLines(out)
}

// end removes the container, its data, its image and the folder, and waits for that.
func (c *container) end() error {
	c.in.Close()
	return c.cmd.Wait()
}
