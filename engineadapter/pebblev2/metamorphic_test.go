package pebblev2_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/metamorphic"
	"github.com/cockroachdb/pebble/v2/objstorage/remote"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/forst-go/forst/engineadapter/pebblev2"
	"github.com/forst-go/forst/forstfs"
)

const metaDir = "data"

// TestMetamorphic runs Pebble's own random operations under random options on a volume and on Pebble's file system in memory: the
// results must be the same. FORST_METAMORPHIC_SEED, _SEEDS and _OPS set the first seed (a failure prints it), the number of seeds and of
// operations; a nightly run has more of both.
func TestMetamorphic(t *testing.T) {
	for _, h := range homes {
		t.Run(h.Name, func(t *testing.T) {
			seeds, ops := uint64(4), uint64(1200)
			switch h.Name {
			case "local":
				seeds = 2
			case "s3": // each synced write is a round trip there
				seeds, ops = 2, 1000
			}
			if nightly() {
				seeds, ops = 24, 3000
			}
			first := envNumber(t, "FORST_METAMORPHIC_SEED", 1)
			seeds, ops = envNumber(t, "FORST_METAMORPHIC_SEEDS", seeds), envNumber(t, "FORST_METAMORPHIC_OPS", ops)
			for seed := first; seed < first+seeds; seed++ {
				t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { compareWithMem(t, h.New(t), seed, ops) })
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

// metaRun is one run of the operations of a seed.
type metaRun struct {
	opts    *metamorphic.TestOptions
	history string
}

func compareWithMem(t *testing.T, h home, seed, n uint64) {
	// Half the seeds sync every write, and never restart inside, which would need a MemFS; the others sync nothing.
	strict := seed%2 == 0
	ops := func() metamorphic.Ops { // not shared: operations keep state
		cfg := metamorphic.DefaultOpConfig()
		if strict {
			cfg = cfg.WithOpWeight(metamorphic.OpDBRestart, 0)
		}
		return metamorphic.GenerateOps(rand.New(rand.NewPCG(0, seed)), n, metamorphic.TestkeysKeyFormat, cfg)
	}
	rng := rand.New(rand.NewPCG(1, seed))
	dir := t.TempDir()
	run := func(name string, fs vfs.FS) metaRun {
		o := randomOptions(rng, strict)
		o.Opts.FS = fs
		if o.Opts.WALFailover != nil {
			o.Opts.WALFailover.Secondary.FS = fs
		}
		// The secondary cache needs files that can be written in place; a volume has a cache of its own.
		o.Opts.Experimental.SecondaryCacheSizeBytes = 0
		r := metaRun{o, filepath.Join(dir, name)}
		f := must(os.Create(r.history))(t)
		defer f.Close()
		t.Logf("%s: %s", name, o.Opts.String())
		test, err := metamorphic.New(ops(), o, metaDir, f)
		ok(t, err)
		ok(t, metamorphic.Execute(test))
		return r
	}
	memFS := vfs.NewMem()
	machine, fs := start(t, h, metaOptions(rng))
	onMem := run("mem", memFS)
	onVol := run("volume", fs)
	if _, diff := metamorphic.CompareHistories(t, []string{onMem.history, onVol.history}); diff != "" {
		t.Fatalf("seed %d: the volume's history differs:\n%s", seed, diff)
	}
	if !strict {
		ok(t, machine.Vol.Close())
		return // not everything is durable: what is left is up to chance
	}
	machine.Die() // the database was closed, the volume was not
	vol2 := openVol(t, h.Open(t), nil)
	got := reopened(t, pebblev2.New(vol2), onVol.opts.Opts)
	want := reopened(t, memFS, onMem.opts.Opts)
	sameContents(t, fmt.Sprintf("seed %d, after the reopen", seed), got, want)
	ok(t, vol2.Close())
}

// metaOptions make a volume do everything often: images, packs, trimming, objects smaller than a table.
func metaOptions(rng *rand.Rand) *forstfs.Options {
	return &forstfs.Options{ImageFrames: 20 + rng.IntN(200), ImageBytes: 1 << (14 + rng.IntN(8)), ObjectSize: 4096 << rng.IntN(8),
		CacheBytes: 1 << (17 + rng.IntN(10)), FrameLimit: 1 << (12 + rng.IntN(10))}
}

// randomOptions draws Pebble's random options. Whether they are strict (every write is synced) is hidden, but a file system in memory
// that can crash comes with strict ones only.
func randomOptions(rng *rand.Rand, strict bool) *metamorphic.TestOptions {
	for {
		o := metamorphic.RandomOptions(rng, metamorphic.TestkeysKeyFormat, metamorphic.RandomOptionsCfg{AlwaysStrictFS: strict})
		if crashable(o.Opts.FS) == strict {
			return o
		}
		if o.Opts.Cache != nil {
			o.Opts.Cache.Unref()
		}
	}
}

func crashable(fs vfs.FS) (yes bool) {
	defer func() { yes = recover() == nil }()
	vfs.Root(fs).(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{})
	return true
}

// reopened opens the database that a run has left and reads all of it: points and range keys.
func reopened(t testing.TB, fs vfs.FS, ran *pebble.Options) map[string]string {
	t.Helper()
	o := ran.Clone()
	o.FS, o.Cache, o.CacheSize, o.FileCache, o.LoggerAndTracer = fs, nil, 1<<20, nil, nil
	o.Experimental.CompactionScheduler = nil
	if o.WALFailover != nil {
		o.WALFailover.Secondary.FS = fs
	}
	o.Experimental.RemoteStorage = remote.MakeSimpleFactory(map[remote.Locator]remote.Storage{
		"":         remote.NewLocalFS(fs.PathJoin(metaDir, "shared"), fs),
		"external": remote.NewLocalFS(fs.PathJoin(metaDir, "external"), fs),
	})
	o.ErrorIfNotExists = true
	db := openDB(t, metaDir, o)
	all := contents(t, db)
	it := must(db.NewIter(&pebble.IterOptions{KeyTypes: pebble.IterKeyTypeRangesOnly}))(t)
	ranges := map[string]string{}
	for valid := it.First(); valid; valid = it.Next() {
		start, end := it.RangeBounds()
		for _, k := range it.RangeKeys() {
			ranges[fmt.Sprintf("[%s, %s) @%s", start, end, k.Suffix)] = string(k.Value)
		}
	}
	ok(t, it.Error())
	ok(t, it.Close())
	ok(t, db.Close())
	maps.Copy(all, ranges)
	return all
}
