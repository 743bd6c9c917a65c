package testenv

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// guardScript is the parent of one server. It obeys lines on its standard input, and when that ends (the test process was done,
// crashed or was killed: the kernel closes the pipe) it kills the server and removes the folder. It is a shell and not this
// program because it has to outlive it. Signals of the terminal do not reach it: it is in a process group of its own.
const guardScript = `
dir=$1; shift
pid=
while read -r cmd; do
  case $cmd in
  run)  "$@" >>"$dir/server.log" 2>&1 </dev/null & pid=$!; echo "$pid" ;;
  kill) [ -n "$pid" ] && kill -9 "$pid" && wait "$pid" 2>/dev/null; pid=; echo gone ;;
  stop)
    kill -STOP "$pid"
    # The signal is only sent. A thread that runs on may still answer a request, so wait until each has stopped.
    running=1
    while [ -n "$running" ] && [ -d "/proc/$pid/task" ]; do
      running=
      for stat in /proc/"$pid"/task/*/stat; do
        # The thread's name is in parentheses and may hold spaces.
        read -r line <"$stat" && line=${line##*') '} && [ "${line%% *}" != T ] && running=1
      done
    done 2>/dev/null
    echo stopped ;;
  cont) kill -CONT "$pid"; echo running ;;
  esac
done
[ -n "$pid" ] && kill -9 "$pid" && wait "$pid" 2>/dev/null
for i in 1 2 3 4 5; do rm -rf "$dir" && break; done
`

// guard runs one server in one folder.
type guard struct {
	mu  sync.Mutex
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	dir string
}

// newGuard starts a guard for the command, whose server is not running yet. The guard removes dir in the end.
func newGuard(dir string, env []string, command ...string) (*guard, error) {
	cmd := exec.Command("sh", append([]string{"-c", guardScript, "forst-guard", dir}, command...)...)
	cmd.Env = env
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &guard{cmd: cmd, in: in, out: bufio.NewReader(out), dir: dir}, nil
}

// tell sends a command and waits for its answer: when it returns, the command was carried out.
func (g *guard) tell(command string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := io.WriteString(g.in, command+"\n"); err != nil {
		return "", fmt.Errorf("guard: %w", err)
	}
	line, err := g.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("guard did not answer to %q: %w", command, err)
	}
	return strings.TrimSpace(line), nil
}

// run starts the server and returns its process id.
func (g *guard) run() (int, error) {
	line, err := g.tell("run")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(line)
}

// end kills the server, removes the folder and waits for both.
func (g *guard) end() error {
	g.in.Close()
	return g.cmd.Wait()
}

// log is the end of what the server printed.
func (g *guard) log() string {
	b, err := os.ReadFile(g.dir + "/server.log")
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}
