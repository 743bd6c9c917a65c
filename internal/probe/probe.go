// Package probe finds out whether a store keeps the promises that forst's safety rests on, before anything is trusted to it.
//
// It works on a scratch prefix, makes at most MaxRequests calls, and removes what it made. It cannot prove a store right
// (conformance.RunStore looks much closer); it finds the stores that are wrong in the ways that are known to happen.
package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

// MaxRequests is the most calls that Probe makes, the cleaning up included.
const MaxRequests = 12

// Folder is the prefix of the scratch prefixes. What a probe that was killed left behind is below it.
const Folder = "probe/"

// ErrUnsafe is in the chain of the error for a store that breaks the contract.
var ErrUnsafe = errors.New("the store is not safe for forst")

// Unsafe says what a store does wrong. It matches ErrUnsafe.
type Unsafe struct {
	Check string // the name of the check
	Saw   string // what the store did
	Risk  string // what would go wrong
	Do    string // what to do about it
}

// Error gives all four parts.
func (u *Unsafe) Error() string {
	return fmt.Sprintf("%v: %s (check %q). What would go wrong: %s. What to do: %s.", ErrUnsafe, u.Saw, u.Check, u.Risk, u.Do)
}

// Unwrap gives ErrUnsafe.
func (u *Unsafe) Unwrap() error { return ErrUnsafe }

// Report is what Probe did.
type Report struct {
	Prefix   string        // the scratch prefix
	Requests int           // calls made
	Passed   []string      // names of the checks that passed, in order
	Warnings []string      // settings of the store that may break the contract later
	Took     time.Duration // information only
}

// Warner is what a driver offers that can look at the settings of its bucket: rules that expire objects, object locks. It
// makes as few requests as it can and leaves out what it may not read.
type Warner interface {
	Warnings(ctx context.Context) []string
}

const (
	use   = "use a store with atomic conditional writes (If-None-Match: *): Amazon S3, a current MinIO, HDFS, a local directory; or update this one"
	twice = "two writers would both believe that they own the volume, and one would overwrite what the other has acknowledged: lost data"
	stale = "an opener would miss acknowledged frames and write over them: lost data"
)

// Probe checks s. An error that matches ErrUnsafe means that the store breaks the contract and must not be used; another error
// means that the probe could not be made (permissions, network), and says nothing about the store.
func Probe(ctx context.Context, s driver.Store) (Report, error) {
	begun := time.Now()
	ctx = driver.WithComponent(ctx, driver.CompProbe)
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	p := &probe{s: s, Report: Report{Prefix: Folder + hex.EncodeToString(id[:]) + "/"}}
	p.a, p.b = p.Prefix+"a", p.Prefix+"b-2"
	err := p.run(ctx)
	if err != nil && !p.cleaned {
		p.Requests++
		// Whatever the caller's context says: rubbish in somebody's bucket stays for ever.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if derr := s.Delete(clean, []string{p.a, p.b}); derr != nil {
			err = fmt.Errorf("%w (and what the probe made under %s could not be removed: %v)", err, p.Prefix, derr)
		}
	}
	if err == nil {
		if w, ok := driver.As[Warner](s); ok {
			p.Warnings = w.Warnings(ctx)
		}
	}
	p.Took = time.Since(begun)
	return p.Report, err
}

type probe struct {
	s driver.Store
	Report
	a, b    string
	cleaned bool
}

// run makes the checks in the order in which one needs what the other has shown: 12 calls.
func (p *probe) run(ctx context.Context) error {
	for _, check := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"missing object", p.missing},
		{"create if absent, two at once", p.race},
		{"create if absent, over an object", p.refuse},
		{"read after write", p.read},
		{"range", p.ranges},
		{"range past the end", p.past},
		{"list after write", p.list},
		{"start after", p.after},
		{"delete", p.remove},
	} {
		err := check.run(ctx)
		var u *Unsafe
		if errors.As(err, &u) {
			u.Check = check.name
		}
		if err != nil {
			return fmt.Errorf("probe: %w", err)
		}
		p.Passed = append(p.Passed, check.name)
	}
	return nil
}

// unexpected tells errors of the surroundings from answers that no store may give.
func unexpected(what string, err error, risk, do string) error {
	switch driver.KindOf(err) {
	case driver.KindInvalid, driver.KindUnsupported, driver.KindRange, driver.KindExist, driver.KindNotExist, driver.KindCorrupt:
		return &Unsafe{Saw: fmt.Sprintf("%s: %v", what, err), Risk: risk, Do: do}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (p *probe) missing(ctx context.Context) error {
	p.Requests++
	_, err := p.s.Stat(ctx, p.a)
	switch {
	case err == nil:
		return &Unsafe{Saw: "it describes an object that nobody made: " + p.a,
			Risk: "a writer would take its own frame for stored when it is not", Do: use}
	case driver.KindOf(err) != driver.KindNotExist:
		return unexpected("looking for an object that is not there", err, "a missing object could not be told from a failure", use)
	}
	return nil
}

// bytesOf makes 600 bytes that differ in every place for every name.
func bytesOf(name byte) []byte {
	data := make([]byte, 600)
	for i := range data {
		data[i] = byte(i) ^ byte(i>>8)*37 ^ name
	}
	return data
}

func (p *probe) race(ctx context.Context) error {
	var errs [2]error
	var wg sync.WaitGroup
	for i := range errs {
		p.Requests++
		wg.Go(func() { errs[i] = p.s.Put(ctx, p.a, bytesOf(byte(i)), driver.PutOptions{IfAbsent: true}) })
	}
	wg.Wait()
	for _, err := range errs {
		// Both may have lost: a driver's second attempt meets what its first one made.
		if err != nil && driver.KindOf(err) != driver.KindExist {
			return unexpected("creating an object", err, "no frame could be written", use)
		}
	}
	if errs[0] == nil && errs[1] == nil {
		return &Unsafe{Saw: "of two create-if-absent of one key at the same time both succeeded", Risk: twice, Do: use}
	}
	return nil
}

func (p *probe) refuse(ctx context.Context) error {
	p.Requests++
	err := p.s.Put(ctx, p.a, bytesOf(2), driver.PutOptions{IfAbsent: true})
	switch {
	case err == nil:
		return &Unsafe{Saw: "it ignores create-if-absent: an object that exists was overwritten, or the answer says so", Risk: twice, Do: use}
	case driver.KindOf(err) != driver.KindExist:
		return unexpected("creating an object that exists", err, "a lost race could not be told from a failure", use)
	}
	return nil
}

func (p *probe) read(ctx context.Context) error {
	p.Requests++
	got, err := driver.ReadAll(ctx, p.s, p.a)
	switch {
	case driver.KindOf(err) == driver.KindNotExist:
		return &Unsafe{Saw: "an object cannot be read right after it was written", Risk: stale, Do: use}
	case err != nil:
		return unexpected("reading an object", err, "no frame could be read", use)
	case bytes.Equal(got, bytesOf(2)):
		return &Unsafe{Saw: "a create-if-absent that was refused has overwritten the object", Risk: twice, Do: use}
	case !bytes.Equal(got, bytesOf(0)) && !bytes.Equal(got, bytesOf(1)):
		return &Unsafe{Saw: fmt.Sprintf("it gives other bytes (%d) than it was given (%d)", len(got), len(bytesOf(0))),
			Risk: "databases would be corrupt", Do: "look for a proxy or a gateway that changes bodies, or " + use}
	}
	return nil
}

func (p *probe) ranges(ctx context.Context) error {
	p.Requests++
	const off, n = 290, 100
	r, err := p.s.Get(ctx, p.a, off, n)
	if err != nil {
		return unexpected("reading a range", err, "no block of a table could be read", use)
	}
	defer r.Close()
	got := make([]byte, n+1)
	k := 0
	for k < len(got) && err == nil {
		var m int
		m, err = r.Read(got[k:])
		k += m
	}
	whole0, whole1 := bytesOf(0), bytesOf(1)
	if got = got[:k]; bytes.Equal(got, whole0[off:off+n]) || bytes.Equal(got, whole1[off:off+n]) {
		return nil
	}
	return &Unsafe{Saw: fmt.Sprintf("a range of %d bytes gives %d bytes or more, or wrong ones (%v)", n, k, err),
		Risk: "blocks of tables would be read as other blocks", Do: "look for a proxy that drops the Range header, or " + use}
}

func (p *probe) past(ctx context.Context) error {
	p.Requests++
	r, err := p.s.Get(ctx, p.a, 600, 10)
	switch {
	case err == nil:
		r.Close()
		return &Unsafe{Saw: "a range behind the end of an object is answered with success", Risk: "a truncated object would look like data", Do: use}
	case driver.KindOf(err) != driver.KindRange:
		return unexpected("reading behind the end", err, "the end of an object could not be told from a failure", use)
	}
	return nil
}

// keys lists the scratch prefix.
func (p *probe) keys(ctx context.Context, after string) ([]string, error) {
	p.Requests++
	infos, err := driver.ListAll(ctx, p.s, p.Prefix, after)
	if err != nil {
		return nil, unexpected("listing", err, "an opener could not find the journal", use)
	}
	var keys []string
	for _, info := range infos {
		keys = append(keys, fmt.Sprintf("%s:%d", strings.TrimPrefix(info.Key, p.Prefix), info.Size))
	}
	return keys, nil
}

func (p *probe) list(ctx context.Context) error {
	p.Requests++
	if err := p.s.Put(ctx, p.b, []byte("b"), driver.PutOptions{}); err != nil {
		return unexpected("writing an object", err, "no data could be written", use)
	}
	keys, err := p.keys(ctx, "")
	if err != nil {
		return err
	}
	if want := []string{"a:600", "b-2:1"}; !slices.Equal(keys, want) {
		return &Unsafe{Saw: fmt.Sprintf("right after two objects were written a list gives %q, want %q", keys, want),
			Risk: stale, Do: use + " (directory buckets of S3 Express list in no order and cannot be used)"}
	}
	return nil
}

func (p *probe) after(ctx context.Context) error {
	keys, err := p.keys(ctx, p.a)
	if err != nil {
		return err
	}
	if want := []string{"b-2:1"}; !slices.Equal(keys, want) {
		return &Unsafe{Saw: fmt.Sprintf("a list that starts after the first of two keys gives %q, want %q", keys, want), Risk: stale, Do: use}
	}
	return nil
}

func (p *probe) remove(ctx context.Context) error {
	p.Requests++
	p.cleaned = true
	if err := p.s.Delete(ctx, []string{p.a, p.Prefix + "missing", p.b}); err != nil {
		p.cleaned = false
		return unexpected("deleting two objects and a missing one", err, "space would never be freed", use)
	}
	keys, err := p.keys(ctx, "")
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		return &Unsafe{Saw: fmt.Sprintf("after deleting, a list still shows %q", keys),
			Risk: "deleted objects would be found again and trusted",
			Do:   "switch off caching of lists, object locks and retention rules for this prefix, or " + use}
	}
	return nil
}
