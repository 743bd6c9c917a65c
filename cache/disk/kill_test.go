//go:build linux || darwin || freebsd || netbsd || openbsd

package disk

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FORST_CACHE_KILL_DIR"); dir != "" {
		writeForEver(dir)
		return
	}
	os.Exit(m.Run())
}

// writeForEver fills a cache, says how far it is, and goes on until it is killed.
func writeForEver(dir string) {
	c, err := Open(testOptions(dir, 64))
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	for i := uint64(0); ; i++ {
		num := i % 50
		for b := uint32(0); blockOf(num, b) != nil; b++ {
			c.Put(testID(num), objectSize(num), b, blockOf(num, b))
		}
		if i%7 == 0 {
			c.Drop(testID((i + 25) % 50))
		}
		fmt.Println("wrote", i)
	}
}

// A process that is killed at any moment leaves a cache that opens, with what it had and nothing wrong.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=XXX")
		cmd.Env = append(os.Environ(), "FORST_CACHE_KILL_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for left := 20 + rnd.IntN(200); left > 0 && lines.Scan(); left-- {
			if strings.HasPrefix(lines.Text(), "failed") {
				t.Error(lines.Text())
				break
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() // killed: its error is no news
		c, err := Open(testOptions(dir, 64))
		if err != nil {
			t.Fatal(err)
		}
		if m := c.Metrics(); m.Loaded < 20 {
			t.Errorf("only %d blocks survived: %v", m.Loaded, m)
		}
		for num := range uint64(50) {
			count(t, c, num)
		}
		if err := c.settled(); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
