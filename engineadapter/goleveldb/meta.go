package goleveldb

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/forst-go/forst/internal/mutant"
)

// oldTable is the name of a table before 2014.
func oldTable(fd storage.FileDesc) string { return fmt.Sprintf("%06d.sst", fd.Num) }

var extensions = map[string]storage.FileType{
	"log": storage.TypeJournal, "ldb": storage.TypeTable, "sst": storage.TypeTable, "tmp": storage.TypeTemp,
}

// parse reads the name of a file of a database.
func parse(name string) (storage.FileDesc, bool) {
	if rest, ok := strings.CutPrefix(name, "MANIFEST-"); ok {
		n, ok := number(rest)
		return storage.FileDesc{Type: storage.TypeManifest, Num: n}, ok
	}
	digits, ext, _ := strings.Cut(name, ".")
	n, ok := number(digits)
	t := extensions[ext]
	return storage.FileDesc{Type: t, Num: n}, ok && t != 0
}

func number(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// nextCurrent becomes CURRENT. What a crash leaves of it means nothing, unlike a CURRENT.N that was written to a disk by goleveldb itself.
const nextCurrent = "CURRENT.next"

// SetMeta makes CURRENT name a file: by a new file that takes CURRENT's place in one step of the volume's order. It is durable on return.
func (s *volume) SetMeta(fd storage.FileDesc) error {
	if err := s.usable(true, fd); err != nil {
		return err
	}
	next := s.at(nextCurrent)
	if mutant.On("goleveldb/current-in-place") {
		if err := s.vol.Remove(s.ctx(), s.at("CURRENT")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := s.vol.Sync(s.ctx()); err != nil {
			return err
		}
	}
	f, err := s.vol.Create(s.ctx(), next, nil)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(fd.String() + "\n"))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = s.vol.Rename(s.ctx(), next, s.at("CURRENT"))
	}
	if err == nil && !mutant.On("goleveldb/current-unsynced") {
		err = s.vol.Sync(s.ctx())
	}
	return err
}

// GetMeta gives what CURRENT names. A directory that was copied from a disk may hold what a crash leaves there: a CURRENT.N that was about to take
// CURRENT's place, and counts if it names a later file, and a CURRENT.bak from before. What is damaged, or names a file that is not there, does not
// count. os.ErrNotExist means that there is nothing at all; what goleveldb does then depends on whether there are other files.
func (s *volume) GetMeta() (storage.FileDesc, error) {
	if err := s.usable(false); err != nil {
		return storage.FileDesc{}, err
	}
	names, err := s.vol.List(s.ctx(), s.dir)
	if err != nil {
		return storage.FileDesc{}, err
	}
	type candidate struct {
		name string
		rank int // the order among equals
		fd   storage.FileDesc
	}
	var found []candidate
	var pending []string
	var damage error
	for _, n := range names {
		c := candidate{name: n}
		rest, ok := strings.CutPrefix(n, "CURRENT")
		switch _, isNumber := number(strings.TrimPrefix(rest, ".")); {
		case !ok:
			continue
		case rest == "":
			c.rank = 2
		case rest == ".bak":
			c.rank = 1
		case rest[0] == '.' && isNumber:
			c.rank = 0
			pending = append(pending, n)
		default:
			continue
		}
		var err error
		if c.fd, err = s.pointer(n); err == nil {
			found = append(found, c)
			continue
		}
		if corrupted := new(storage.ErrCorrupted); errors.As(err, &corrupted) {
			damage = err
		} else if !errors.Is(err, fs.ErrNotExist) {
			return storage.FileDesc{}, err
		}
	}
	// CURRENT before CURRENT.bak, whatever they name; then a pending one that names a later file.
	var best *candidate
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(b.fd.Num, a.fd.Num)) })
	for i := range found {
		if c := &found[i]; best == nil || c.rank == 0 && c.fd.Num > best.fd.Num {
			best = c
		}
	}
	switch {
	case best == nil && damage != nil:
		return storage.FileDesc{}, damage
	case best == nil:
		return storage.FileDesc{}, os.ErrNotExist
	}
	if s.vol.ReadOnly() {
		return best.fd, nil
	}
	if best.name != "CURRENT" {
		if err := s.SetMeta(best.fd); err != nil {
			return storage.FileDesc{}, err
		}
	}
	for _, c := range pending {
		if err := s.vol.Remove(s.ctx(), s.at(c)); err != nil {
			return storage.FileDesc{}, err
		}
	}
	return best.fd, nil
}

// unborn removes what a crash leaves of a database that was being created: a MANIFEST that no CURRENT names yet. goleveldb would take it for a database
// that has lost its CURRENT, for ever. Nothing can have been written to it: the first journal comes after CURRENT.
func (s *volume) unborn() error {
	names, err := s.vol.List(s.ctx(), s.dir)
	if err != nil {
		return err
	}
	var left []string
	for _, n := range names {
		fd, ok := parse(n)
		switch {
		case mutant.On("goleveldb/unborn-stays"):
		case n == nextCurrent || ok && fd.Type == storage.TypeManifest:
			left = append(left, n)
		case ok || strings.HasPrefix(n, "CURRENT"):
			return nil
		}
	}
	for _, n := range left {
		if err := s.vol.Remove(s.ctx(), s.at(n)); err != nil {
			return err
		}
	}
	return nil
}

// pointer reads a file like CURRENT.
func (s *volume) pointer(name string) (storage.FileDesc, error) {
	f, err := s.vol.Open(s.ctx(), s.at(name), nil)
	if err != nil {
		return storage.FileDesc{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	if err = errors.Join(err, f.Close()); err != nil {
		return storage.FileDesc{}, err
	}
	text, ended := strings.CutSuffix(string(b), "\n")
	fd, ok := parse(text)
	if !ended || !ok {
		return storage.FileDesc{}, &storage.ErrCorrupted{Err: fmt.Errorf("%s is damaged: it holds %q, no name of a file", s.at(name), b)}
	}
	if _, err := s.name(fd); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			s.log(fmt.Sprintf("%s names %s, which is not there", name, fd))
		}
		return storage.FileDesc{}, err
	}
	return fd, nil
}
