package pebblev1_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/metamorphic"
	"github.com/cockroachdb/pebble/vfs"
	exprand "golang.org/x/exp/rand"

	"github.com/forst-go/forst/engineadapter/pebblev1"
	"github.com/forst-go/forst/forstfs"
)

// TestMetamorphic runs the random operations of Pebble's own metamorphic test under its standard and random options on a volume and on
// Pebble's file system in memory: the results must be the same. FORST_METAMORPHIC_SEED, _SEEDS and _OPS set the first seed (a failure
// prints it), the number of seeds and of operations; a nightly run has more of both.
//
// Version 1 makes operations and options only on the way to a run, so a run is let happen with a program that does nothing.
func TestMetamorphic(t *testing.T) {
	for _, h := range homes {
		t.Run(h.Name, func(t *testing.T) {
			seeds, ops := uint64(3), uint64(1000)
			if h.Name == "local" || h.Name == "s3" { // each synced write is a round trip there
				seeds = 1
			}
			if nightly() {
				seeds, ops = 24, 3000
			}
			first := envNumber(t, "FORST_METAMORPHIC_SEED", 1)
			seeds, ops = envNumber(t, "FORST_METAMORPHIC_SEEDS", seeds), envNumber(t, "FORST_METAMORPHIC_OPS", ops)
			for seed := first; seed < first+seeds; seed++ {
				t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { compareWithMem(t, h.New, seed, ops) })
			}
		})
	}
}

func envNumber(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	return must(strconv.ParseUint(text, 10, 64))(t)
}

// fixed is a number that is drawn from one.
type fixed uint64

func (n fixed) Uint64(*exprand.Rand) uint64 { return uint64(n) }

func compareWithMem(t *testing.T, newHome func(testing.TB) home, seed, n uint64) {
	root := t.TempDir()
	nothing := filepath.Join(root, "nothing")
	ok(t, os.WriteFile(nothing, []byte("#!/bin/sh\nfor a in \"$@\"; do case $a in -run-dir=*) : > \"${a#-run-dir=}/history\";; esac; done\n"), 0o755))
	generate(t, filepath.Join(root, "meta"), nothing, seed, n)
	dirs := must(filepath.Glob(filepath.Join(root, "meta", "*", "*", "OPTIONS")))(t)
	slices.Sort(dirs)
	if len(dirs) < 10 {
		t.Fatalf("only %d sets of options", len(dirs))
	}

	rng := rand.New(rand.NewPCG(1, seed))
	onMem := filepath.Join(root, "mem")
	var base string
	for _, f := range dirs {
		if strings.HasSuffix(f, "standard-000/OPTIONS") {
			base = filepath.Dir(f)
		}
	}
	metamorphic.RunOnce(t, base, seed, onMem)
	histories := []string{onMem}
	for _, i := range rng.Perm(len(dirs))[:4] {
		dir := filepath.Dir(dirs[i])
		text := string(must(os.ReadFile(dirs[i]))(t))
		if !strings.Contains(text, "[TestOptions]") {
			text += "\n[TestOptions]\n"
		}
		// The secondary cache needs files that can be written in place; a volume has a cache of its own.
		text = strings.ReplaceAll(text, "  secondary_cache_enabled=true\n", "")
		text = secondaryCache.ReplaceAllString(text, "secondary_cache_size_bytes=0")   // it is among the options of Pebble, too
		text = strings.ReplaceAll(text, "  use_disk=true\n", "") + "  use_disk=true\n" // the disk is the volume
		ok(t, os.WriteFile(dirs[i], []byte(text), 0o644))
		t.Logf("%s:\n%s", dir, text)
		history := filepath.Join(root, fmt.Sprint("volume", i))
		runOnVolume(t, newHome(t), metaOptions(rng), dir, seed, history)
		histories = append(histories, history)
	}
	if i, diff := metamorphic.CompareHistories(t, histories); diff != "" {
		t.Fatalf("seed %d: the history of %s differs from that in memory:\n%s", seed, histories[i], diff)
	}
}

var secondaryCache = regexp.MustCompile(`secondary_cache_size_bytes=\d+`)

// metaOptions make a volume do everything often: images, packs, trimming, objects smaller than a table.
func metaOptions(rng *rand.Rand) *forstfs.Options {
	return &forstfs.Options{ImageFrames: 20 + rng.IntN(200), ImageBytes: 1 << (14 + rng.IntN(8)), ObjectSize: 4096 << rng.IntN(8),
		CacheBytes: 1 << (17 + rng.IntN(10)), FrameLimit: 1 << (12 + rng.IntN(10))}
}

// runOnVolume puts a volume in the place of the operating system's file system, the only one that a run can be given from outside.
func runOnVolume(t *testing.T, h home, o *forstfs.Options, dir string, seed uint64, history string) {
	vol := openVol(t, h.Open(t), o)
	counted := &countedFS{FS: pebblev1.New(vol)}
	disk := vfs.Default
	defer func() { vfs.Default = disk }()
	vfs.Default = counted
	metamorphic.RunOnce(t, dir, seed, history)
	if counted.created.Load() < 5 {
		t.Fatal("the run did not use the volume")
	}
	ok(t, vol.Close())
}

type countedFS struct {
	vfs.FS
	created atomic.Int64
}

func (c *countedFS) Create(name string) (vfs.File, error) {
	c.created.Add(1)
	return c.FS.Create(name)
}

// generate writes the operations and the options of a run.
func generate(t *testing.T, root, program string, seed, n uint64) {
	t.Run("generate", func(t *testing.T) {
		metamorphic.RunAndCompare(t, root, metamorphic.Seed(seed), metamorphic.OpCount(fixed(n)), metamorphic.InnerBinary(program), metamorphic.KeepData{})
	})
}
