package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// Put writes a temporary file, syncs it, gives it its name and syncs the directory. When it returns nil, bytes and name
// survive a power failure, as far as the disk keeps what it has confirmed.
func (s *Store) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	if err := s.checkKey("put", key); err != nil {
		return err
	}
	if err := s.beginWrite(ctx, "put", key); err != nil {
		return err
	}
	defer s.busy.Done()
	if o.IfAbsent {
		if fi, err := s.root.Lstat(key); err == nil && !fi.IsDir() { // do not write what cannot be placed
			return s.exists(key)
		}
	}
	temp, err := s.writeTemp(ctx, key, data)
	if err != nil {
		return err
	}
	err = s.place("put", temp, key, o.IfAbsent)
	if rerr := s.root.Remove(temp); err == nil && rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		return s.fail("put", key, kindOf(rerr), rerr)
	}
	return err
}

// Copy gives the file of src a second name. Files are never written after they have a name, so both stay what they are.
func (s *Store) Copy(ctx context.Context, src, dst string) error {
	if err := s.checkKey("copy", src); err != nil {
		return err
	}
	if err := s.checkKey("copy", dst); err != nil {
		return err
	}
	if err := s.beginWrite(ctx, "copy", dst); err != nil {
		return err
	}
	defer s.busy.Done()
	if fi, err := s.root.Lstat(src); missing(err) || err == nil && !fi.Mode().IsRegular() {
		return s.absent("copy", src)
	}
	if src == dst {
		return s.settleErr("copy", src)
	}
	temp := tempName()
	if err := s.root.Link(src, temp); err != nil {
		if missing(err) {
			return s.absent("copy", src)
		}
		return s.fail("copy", dst, linkKind(err), err)
	}
	err := s.place("copy", temp, dst, false)
	// A rename between two names of one file does nothing and leaves both.
	if rerr := s.root.Remove(temp); err == nil && rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		return s.fail("copy", dst, kindOf(rerr), rerr)
	}
	return err
}

// writeTemp makes a synced file with the bytes of data and gives its name. On an error there is no file.
func (s *Store) writeTemp(ctx context.Context, key string, data []byte) (_ string, err error) {
	name := tempName()
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrNotExist) {
		if aerr := s.rootAlive(); aerr != nil {
			return "", s.fail("put", key, driver.KindNoStore, aerr)
		}
		if err = s.root.MkdirAll(tempDir, 0o777); err == nil { // somebody tidied up
			f, err = s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		}
	}
	if err != nil {
		return "", s.fail("put", key, kindOf(err), err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = s.fail("put", key, kindOf(cerr), cerr)
		}
		if err != nil {
			s.root.Remove(name) // a leftover is removed at the next open
		}
	}()
	const step = 1 << 20 // so that a cancelled Put of a big object ends soon
	for rest := data; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return "", s.fail("put", key, driver.KindOther, err)
		}
		n, err := f.Write(rest[:min(step, len(rest))])
		if err != nil {
			return "", s.fail("put", key, kindOf(err), err)
		}
		rest = rest[n:]
	}
	if err := ctx.Err(); err != nil {
		return "", s.fail("put", key, driver.KindOther, err)
	}
	s.disk.fileSyncs.Add(1)
	if mutant.On(mutNoFileSync) {
		return name, nil
	}
	if err := s.disk.syncFile(f, false); err != nil {
		return "", s.fail("put", key, kindOf(err), err)
	}
	return name, nil
}

// place gives the file temp the name key and makes the name durable.
func (s *Store) place(op, temp, key string, ifAbsent bool) error {
	dir := path.Dir(key)
	for try := 0; ; try++ {
		err := s.disk.makeDir(s.root, dir)
		if err == nil {
			err = s.name(temp, key, ifAbsent)
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errTaken):
			return s.exists(key)
		case errors.Is(err, syscall.ENOTDIR):
			return s.fail(op, key, driver.KindInvalid, errors.New("a key must not be a /-prefix of another: a parent of this one is an object"))
		case errors.Is(err, errDir):
			if cerr := s.clearDir(key); cerr != nil {
				return s.fail(op, key, driver.KindInvalid, fmt.Errorf("a key must not be a /-prefix of another, and this one is a directory: %w", cerr))
			}
		case errors.Is(err, fs.ErrNotExist):
			// A directory was deleted by somebody else, or the root was.
			if aerr := s.rootAlive(); aerr != nil {
				return s.fail(op, key, driver.KindNoStore, aerr)
			}
			s.disk.forget(dir)
		default:
			return s.fail(op, key, linkKind(err), err)
		}
		if try == 100 {
			return s.fail(op, key, driver.KindTransient, fmt.Errorf("directories come and go: %w", err))
		}
	}
}

var (
	errTaken = errors.New("the name is taken")
	errDir   = errors.New("the name is a directory")
)

// name links or renames temp to key and syncs the directory, while readers of key wait.
func (s *Store) name(temp, key string, ifAbsent bool) error {
	s.disk.land(key)
	defer s.disk.landed(key)
	var err error
	if ifAbsent && !mutant.On(mutReplaces) {
		err = s.root.Link(temp, key)
	} else {
		err = s.root.Rename(temp, key)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.EISDIR) {
		if fi, serr := s.root.Lstat(key); serr == nil && fi.IsDir() {
			return errDir
		} else if serr == nil && ifAbsent {
			return errTaken
		} else if missing(serr) {
			return fs.ErrNotExist // gone again: try again
		}
	}
	if err != nil {
		return err
	}
	return s.disk.sync(s.root, path.Dir(key))
}

// exists is the answer to a create that lost. It comes when the winner is durable: its loser may build on it.
func (s *Store) exists(key string) error {
	if err := s.settle(key); err != nil {
		return s.fail("put", key, kindOf(err), err)
	}
	return s.fail("put", key, driver.KindExist, nil)
}

func (s *Store) settleErr(op, key string) error {
	if err := s.settle(key); err != nil {
		return s.fail(op, key, kindOf(err), err)
	}
	return nil
}

// clearDir removes the directory key and those in it if there is no file below: what deleted objects left. Without the
// guard it does not, for another process may count on the directory.
func (s *Store) clearDir(key string) error {
	if s.opt.NoGuard || s.opt.Beside {
		return errors.New("it may hold objects of other processes (guard=off, mode=beside)")
	}
	f, err := s.root.Open(key)
	if err != nil {
		if missing(err) {
			return nil
		}
		return err
	}
	entries, err := f.ReadDir(-1)
	f.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			return fmt.Errorf("%s/%s exists", key, e.Name())
		}
		if err := s.clearDir(key + "/" + e.Name()); err != nil {
			return err
		}
	}
	s.disk.forget(key)
	if err := s.root.Remove(key); err != nil && !missing(err) {
		return err
	}
	return nil
}

// linkKind is kindOf for link and rename.
func linkKind(err error) driver.Kind {
	for _, no := range []syscall.Errno{syscall.EPERM, syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.ENOTSUP, syscall.EMLINK} {
		if errors.Is(err, no) {
			return driver.KindUnsupported // this file system has no hard links
		}
	}
	return kindOf(err)
}

// Delete removes the files and then syncs each directory once. Directories stay.
func (s *Store) Delete(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if err := s.checkKey("delete", key); err != nil {
			return err
		}
	}
	if err := s.beginWrite(ctx, "delete", ""); err != nil {
		return err
	}
	defer s.busy.Done()
	dirs := map[string]bool{}
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return s.fail("delete", key, driver.KindOther, err)
		}
		// os.Root.Remove would take an empty directory, too, and that is no object.
		fi, err := s.root.Lstat(key)
		if err == nil && !fi.IsDir() {
			err = s.root.Remove(key)
			dirs[path.Dir(key)] = true
		}
		if err != nil && !missing(err) {
			return s.fail("delete", key, kindOf(err), err)
		}
	}
	if len(keys) > len(dirs) { // some were missing: be sure that it is the objects that are gone and not the root
		if err := s.rootAlive(); err != nil {
			return s.fail("delete", "", driver.KindNoStore, err)
		}
	}
	for dir := range dirs {
		if err := s.disk.sync(s.root, dir); err != nil && !missing(err) {
			return s.fail("delete", dir, kindOf(err), err)
		}
	}
	return nil
}
