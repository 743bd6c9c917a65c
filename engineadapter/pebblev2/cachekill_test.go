package pebblev2_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/forst-go/forst/cache/disk"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
)

// openHome opens a directory that processes share.
func openHome(ctx context.Context, dir string) (driver.Store, error) {
	return local.Open(ctx, dir, &local.Options{Create: true, NoGuard: true})
}

const cacheChild = "FORST_CACHE_CHILD" // STORE|CACHE|SEED|MUTANT: this process is one that TestCacheKills kills

// runCacheChild reports whether this process was such a one.
func runCacheChild() bool {
	what := strings.Split(os.Getenv(cacheChild), "|")
	if len(what) != 4 {
		return false
	}
	plant(what[3])
	seed, _ := strconv.ParseUint(what[2], 10, 64)
	fmt.Println("failed:", cachedChild(os.Stdout, what[0], what[1], seed))
	return true
}

// TestCacheKills kills a process with a database and a cache directory while it reads and writes, again and again. Each next one must get what the killed
// ones were acknowledged, read all of it right, and find the cache warm; "forst cache verify" must find no wrong block.
// FORST_KILL_ROUNDS sets the number of processes, FORST_CACHE_SEED repeats a run.
func TestCacheKills(t *testing.T) {
	rounds := 5
	switch {
	case nightly():
		rounds = 200
	case testing.Short():
		rounds = 2
	}
	if err := cacheKills(t, int(envNumber(t, "FORST_KILL_ROUNDS", uint64(rounds))), envNumber(t, "FORST_CACHE_SEED", rand.Uint64()), ""); err != nil {
		t.Fatal(err)
	}
}

func cacheKills(t *testing.T, rounds int, seed uint64, bug string) error {
	t.Logf("seed %d", seed)
	store, dir := t.TempDir(), t.TempDir()
	rnd := rand.New(rand.NewPCG(seed, 1))
	acked, blocks := 0, 0
	for round := range rounds {
		lines := 2 + rnd.IntN(25)
		if round == 0 {
			lines = 70
		}
		found, err := cacheLife(store, dir, seed+uint64(round), bug, lines, acked, round > 0)
		if err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		acked = found
		r, err := disk.Inspect(dir, true, nil)
		// At most the segment that was being made has no header yet.
		if err != nil || r.Bad > 0 || r.Damaged > 1 || r.Blocks == 0 {
			return fmt.Errorf("round %d: the cache after the kill (%v): %+v", round, err, r)
		}
		blocks += r.Blocks
	}
	t.Logf("%d operations over %d lives, %d cached blocks after a life", acked, rounds, blocks/rounds)
	return nil
}

// cacheLife runs one process until it has said so much, kills it, and gives the last operation that was acknowledged.
func cacheLife(store, dir string, seed uint64, bug string, lines, acked int, warm bool) (int, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s|%d|%s", cacheChild, store, dir, seed, bug))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	err = func() error {
		in := bufio.NewScanner(out)
		for n := 0; n < lines; n++ {
			if !in.Scan() {
				return errors.New("the process ended by itself")
			}
			line := in.Text()
			var found, loaded, hits, bad int
			switch _, err := fmt.Sscanf(line, "found %d loaded %d hits %d bad %d", &found, &loaded, &hits, &bad); {
			case err == nil:
				if found < acked {
					return fmt.Errorf("operation %d was acknowledged, and the next process finds %d", acked, found)
				}
				if warm && (loaded == 0 || hits == 0) || bad > 0 {
					return fmt.Errorf("the cache of a killed process is cold, or wrong: %s", line)
				}
				if err := busy(dir); err != nil {
					return err
				}
			case strings.HasPrefix(line, "wrote "):
				if acked, err = strconv.Atoi(line[6:]); err != nil {
					return err
				}
			default:
				return errors.New(line)
			}
		}
		return nil
	}()
	if e := cmd.Process.Kill(); e != nil && !errors.Is(e, os.ErrProcessDone) {
		err = errors.Join(err, e)
	}
	_ = cmd.Wait() // killed: its error is no news
	if err != nil {
		return 0, fmt.Errorf("%w %s", err, stderr.Bytes()[:min(stderr.Len(), 2000)])
	}
	return acked, nil
}

// busy opens a volume of this process with the cache directory of the other one, which must be refused with what to do.
func busy(dir string) error {
	s, err := memHomeOpen()
	if err != nil {
		return err
	}
	vol, err := forstfs.Open(context.Background(), s, volOptions(cachedOptions(dir)))
	if err == nil {
		return errors.Join(errors.New("two processes have one cache directory"), vol.Close())
	}
	if !errors.Is(err, forstfs.ErrCacheBusy) || !strings.Contains(err.Error(), "a cache directory of its own") {
		return fmt.Errorf("a second process on one cache directory: %w", err)
	}
	return nil
}
