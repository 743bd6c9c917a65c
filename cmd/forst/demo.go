package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/spf13/cobra"
)

// demoConfig is what the flags of forst demo say.
type demoConfig struct {
	Store   string
	Input   string
	Records int64
	Writers int
	Kills   int
	Seed    uint64
	Keep    bool
	Plant   string
}

// demoRecords is the default size of the data set: small enough for a demo of seconds, large enough for flushes and compactions.
const demoRecords = 60_000

func (a *app) demoCommand() *cobra.Command {
	var c demoConfig
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Kill a database again and again and check that no acknowledged commit is lost",
		Long: `demo loads a data set into a Pebble database whose only home is a store. A writer
process commits with Sync from many goroutines and reports every commit after it
was acknowledged. It is killed with SIGKILL at random moments, its local files are
deleted, and the database is opened again from the store by another process, which
checks every record: all acknowledged commits are there with the right bytes, the
commits of each goroutine have no hole, and nothing is there that was never written.

The run lives under a new name in the store, forst-demo-<random>, which is removed at
the end; when something is found lost it is kept. Exit status 1 if anything was lost.`,
		Args: nargs(0, 0),
	}
	f := cmd.Flags()
	f.StringVar(&c.Store, "store", "", "`URL` of the store, for example s3://bucket or file:///dir (default: a temporary local directory)")
	f.StringVar(&c.Input, "input", "", "load the lines of this `file` instead of YCSB records")
	f.Int64Var(&c.Records, "records", 0, fmt.Sprintf("number of records (default %s, or all lines of --input)", count(demoRecords)))
	f.IntVar(&c.Writers, "writers", 64, "number of goroutines that commit")
	f.IntVar(&c.Kills, "kills", 3, "number of kills at random moments, before the load is finished")
	f.Uint64Var(&c.Seed, "seed", 0, "seed of records and kill moments (default: random)")
	f.BoolVar(&c.Keep, "keep", false, "leave the volume in the store")
	f.StringVar(&c.Plant, "plant", "", "plant a fault to see that it is found: "+strings.Join(plants, ", "))
	f.Lookup("plant").Hidden = true
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.validate(cmd); err != nil {
			return err
		}
		res, err := runDemo(cmd.Context(), &c, newProgress(a.err))
		if res == nil {
			return err
		}
		if *asJSON {
			err = errors.Join(err, printJSON(a.out, res))
		} else {
			fmt.Fprintln(a.out, res)
		}
		if err == nil && !res.OK {
			err = fmt.Errorf("the demo found a loss: %s; the volume is kept: %s", &res.Finding, res.Store)
		}
		return err
	}
	return cmd
}

func (c *demoConfig) validate(cmd *cobra.Command) error {
	switch {
	case c.Records < 0:
		return usagef("--records %d: must be at least 1", c.Records)
	case c.Records == 0 && cmd.Flags().Changed("records"):
		return usagef("--records 0: must be at least 1")
	case c.Writers < 1 || c.Writers > 100_000:
		return usagef("--writers %d: must be from 1 to 100,000", c.Writers)
	case c.Kills < 0 || c.Kills > 10_000:
		return usagef("--kills %d: must be from 0 to 10,000", c.Kills)
	case c.Plant != "" && !slices.Contains(plants, c.Plant):
		return usagef("--plant %q: known are %s", c.Plant, strings.Join(plants, ", "))
	}
	if c.Records == 0 && c.Input == "" {
		c.Records = demoRecords
	}
	if c.Input != "" {
		abs, err := filepath.Abs(c.Input)
		if err != nil {
			return err
		}
		c.Input = abs
	}
	if !cmd.Flags().Changed("seed") {
		var b [8]byte
		rand.Read(b[:]) // never fails, see its documentation
		c.Seed = binary.LittleEndian.Uint64(b[:])
	}
	return nil
}

// demoResult is what forst demo --json prints.
type demoResult struct {
	OK           bool      `json:"ok"`
	Store        string    `json:"store"`
	DataSet      string    `json:"data_set"`
	Seed         uint64    `json:"seed"`
	Records      int64     `json:"records"`
	Writers      int       `json:"writers"`
	Kills        int       `json:"kills"`
	Acknowledged int64     `json:"acknowledged"`
	Finding      finding   `json:"last_check"`
	ReopenMillis []float64 `json:"reopen_ms"`
	Use          usage     `json:"use"`
	Seconds      float64   `json:"seconds"`
}

// String is the line that a demo ends with.
func (r *demoResult) String() string {
	var slowest float64
	for _, ms := range r.ReopenMillis {
		slowest = max(slowest, ms)
	}
	return fmt.Sprintf("%s commits acknowledged, %s lost, %d kills; reopened %d times, slowest %s; %s requests, %s sent, %s received; %.1f s",
		count(r.Acknowledged), count(r.Finding.Lost), r.Kills, len(r.ReopenMillis), brief(time.Duration(slowest*float64(time.Millisecond))),
		count(r.Use.Requests), size(r.Use.Sent), size(r.Use.Received), r.Seconds)
}

// demoVolume is the volume of one demo: a new name in the user's store.
type demoVolume struct {
	url string
	dir string // the local directory that belongs to it alone, or ""
}

// makeDemoVolume finds a new name in the store, or in the local directory for temporary files, and creates a volume there.
func makeDemoVolume(ctx context.Context, store string) (_ *demoVolume, _ usage, err error) {
	if store == "" {
		store = (&url.URL{Scheme: "file", Path: filepath.ToSlash(os.TempDir())}).String()
	}
	// The store itself is opened first, so that a wrong URL is reported as the user wrote it.
	s, err := openStore(ctx, readOnlyURL(store))
	if err != nil {
		return nil, usage{}, err
	}
	if err := s.Close(); err != nil {
		return nil, usage{}, err
	}
	u, err := url.Parse(store)
	if err != nil {
		return nil, usage{}, err
	}
	id := make([]byte, 6)
	rand.Read(id)
	u.Path = path.Join("/", u.Path, "forst-demo-"+hex.EncodeToString(id))
	v := &demoVolume{url: u.String()}
	if u.Scheme == "file" {
		v.dir = filepath.FromSlash(u.Path)
		if err := os.Mkdir(v.dir, 0o700); err != nil {
			return nil, usage{}, err
		}
	}
	use, err := v.create(ctx)
	if err != nil {
		if rerr := v.remove(context.WithoutCancel(ctx)); driver.KindOf(rerr) != driver.KindOf(err) {
			err = errors.Join(err, rerr)
		}
		return nil, usage{}, err
	}
	return v, use, nil
}

func (v *demoVolume) create(ctx context.Context) (usage, error) {
	m, err := openMetered(ctx, v.url)
	if err != nil {
		return usage{}, err
	}
	vol, err := forstfs.Open(ctx, m, &forstfs.Options{Name: display(v.url), Create: forstfs.CreateNew})
	if err != nil {
		return usage{}, err
	}
	err = vol.Close()
	return usageOf(m), err
}

// removeTimeout bounds the clean-up of a demo that was interrupted: the user wants the shell back.
const removeTimeout = time.Minute

// remove drops the volume and deletes every object of it. Its name is random, so nobody will use the prefix again, and the fences
// that a dropped volume keeps may go, too.
func (v *demoVolume) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	err := v.drop(ctx)
	if err == nil {
		err = deleteAll(ctx, v.url)
	}
	if v.dir != "" {
		err = os.RemoveAll(v.dir)
	}
	if err != nil {
		return fmt.Errorf("could not remove %s, delete it yourself: %w", display(v.url), err)
	}
	return nil
}

func (v *demoVolume) drop(ctx context.Context) error {
	vol, err := openVolume(ctx, v.url, forstfs.Options{Force: true, RetryBudget: removeTimeout / 2})
	if errors.Is(err, forstfs.ErrNoVolume) {
		return nil // its creation had failed
	}
	if err != nil {
		return err
	}
	return errors.Join(vol.Drop(ctx), vol.Close())
}

func deleteAll(ctx context.Context, url string) error {
	s, err := openStore(ctx, url)
	if err != nil {
		return err
	}
	infos, err := driver.ListAll(ctx, s, "", "")
	if err == nil {
		keys := make([]string, len(infos))
		for i, info := range infos {
			keys[i] = info.Key
		}
		err = s.Delete(ctx, keys)
	}
	return errors.Join(err, s.Close())
}
