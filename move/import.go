package move

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/forst-go/forst/forstfs"
)

const (
	staging  = ".importing" // appended to the directory until everything is in
	partial  = ".part"      // appended to a file until it is verified
	planFile = "FORST-IMPORT"
)

// source is a file to import; the list of them is in the staging directory, so that a later run knows which of the files there are still those of the source.
type source struct {
	Rel   string `json:"rel"`
	Size  int64  `json:"size"`
	MTime int64  `json:"mtime"` // Unix nanoseconds
}

// Import copies the database in a local directory into a volume, verifies every byte by reading it back, and then gives the directory its name in one step:
// nil means that it is there, whole and durable. The volume must be writable, and should be open without a cache (forstfs.CacheOff), so that what is read back comes from the
// store.
//
// The database must not be open anywhere: its LOCK is held meanwhile. A database that this very process has open is not noticed.
//
// After an error or a kill, the same call goes on where the other one stopped: tables that were verified and have not changed are not copied again.
func Import(ctx context.Context, vol *forstfs.FS, dir string, opts *Options) (res Result, err error) {
	o := opts.withDefaults()
	if o.Path == "" {
		o.Path = "/db"
	}
	res.Path = path.Join("/", o.Path)
	if res.Path == "/" {
		return res, fmt.Errorf("import: a database has a directory of its own in the volume: %w", fs.ErrInvalid)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return res, fmt.Errorf("import: %w", err)
	}
	defer root.Close()
	unlock, err := lockDatabase(root)
	if err != nil {
		return res, fmt.Errorf("import %s: %w", dir, err)
	}
	defer unlock()
	files, err := survey(root)
	if err != nil {
		return res, fmt.Errorf("import %s: %w", dir, err)
	}
	switch _, err := vol.Stat(ctx, res.Path); {
	case err == nil:
		return res, fmt.Errorf("import: %w: %s is in the volume already", ErrNotEmpty, res.Path)
	case !errors.Is(err, fs.ErrNotExist):
		return res, err
	}
	im := &importer{vol: vol, root: root, o: o, dir: res.Path + staging}
	for _, f := range files {
		im.m.total += 2 * f.Size
	}
	im.m.tell = o.Progress
	if err := im.prepare(ctx, files); err != nil {
		return res, fmt.Errorf("import: %w", err)
	}
	if err := im.all(ctx, files); err != nil {
		return res, fmt.Errorf("import %s: %w", dir, err)
	}
	again, err := survey(root)
	if err != nil {
		return res, err
	}
	if !sameFiles(files, again) {
		return res, fmt.Errorf("import %s: %w: stop what writes there, and import again", dir, ErrChanged)
	}
	for _, f := range files {
		res.Files++
		res.Bytes += f.Size
	}
	res.Resumed = im.resumed
	if err := vol.Remove(ctx, path.Join(im.dir, planFile)); err != nil {
		return res, err
	}
	if err := vol.Rename(ctx, im.dir, res.Path); err != nil {
		return res, err
	}
	return res, vol.Sync(ctx)
}

// survey lists the files of a database.
func survey(root *os.Root) (files []source, err error) {
	database := false
	err = fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is no regular file: put the database's files in one place first", p)
		case left(path.Base(p)):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		database = database || !strings.Contains(p, "/") && isMarker(p)
		files = append(files, source{p, info.Size(), info.ModTime().UnixNano()})
		return nil
	})
	if err == nil && !database {
		err = ErrNoDatabase
	}
	return files, err
}

func sameFiles(a, b []source) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

type importer struct {
	vol     *forstfs.FS
	root    *os.Root
	o       Options
	dir     string
	m       meter
	kept    map[string]bool
	resumed int64
}

// prepare makes the staging directory, or finds out what an earlier run has left in it that is still good.
func (im *importer) prepare(ctx context.Context, files []source) error {
	im.kept = map[string]bool{}
	var old []source
	f, err := im.vol.Open(ctx, path.Join(im.dir, planFile), nil)
	if err == nil {
		b, rerr := io.ReadAll(f)
		if err := errors.Join(rerr, f.Close()); err != nil {
			return err
		}
		if err := json.Unmarshal(b, &old); err != nil {
			old = nil // it was being written: nothing is behind it
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	was := map[string]source{}
	for _, s := range old {
		was[s.Rel] = s
	}
	for _, s := range files {
		if was[s.Rel] != s || !forstfs.Classify(s.Rel).Bulk() {
			continue
		}
		if info, err := im.vol.Stat(ctx, path.Join(im.dir, s.Rel)); err == nil && info.Size() == s.Size {
			im.kept[s.Rel] = true
		}
	}
	var stray []string
	err = im.vol.Walk(ctx, func(p string, info forstfs.FileInfo) error {
		if rel, in := strings.CutPrefix(p, im.dir+"/"); in && !info.IsDir() && !im.kept[rel] {
			stray = append(stray, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range stray {
		if err := im.vol.Remove(ctx, p); err != nil {
			return err
		}
	}
	if err := im.vol.MkdirAll(ctx, im.dir); err != nil {
		return err
	}
	b, err := json.Marshal(files)
	if err != nil {
		return err
	}
	w, err := im.vol.Create(ctx, path.Join(im.dir, planFile), nil)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return errors.Join(err, w.Sync(), w.Close())
}

// all copies the files, those that make it a database last.
func (im *importer) all(ctx context.Context, files []source) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, last := range []bool{false, true} {
		var wg sync.WaitGroup
		slots := make(chan struct{}, im.o.Parallel)
		for _, s := range files {
			if isMarker(path.Base(s.Rel)) != last {
				continue
			}
			if im.kept[s.Rel] {
				im.resumed += s.Size
				im.m.tell(im.m.done.Add(2*s.Size), im.m.total)
				continue
			}
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				if err := im.one(ctx, s); err != nil {
					cancel(err)
				}
			})
		}
		wg.Wait()
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (im *importer) one(ctx context.Context, s source) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	final := path.Join(im.dir, s.Rel)
	if err := im.vol.MkdirAll(ctx, path.Dir(final)); err != nil {
		return err
	}
	in, err := im.root.Open(s.Rel)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := final + partial
	out, err := im.vol.Create(ctx, tmp, &forstfs.CreateOptions{Class: forstfs.Classify(s.Rel), Category: "import"})
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(writer{ctx, out}, sum, &im.m), reader{in}, make([]byte, 1<<20))
	if err == nil && n != s.Size {
		err = fmt.Errorf("%w: %s has %d bytes, %d were listed", ErrChanged, s.Rel, n, s.Size)
	}
	if err == nil {
		err = out.Sync()
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	back, err := im.vol.Open(ctx, tmp, &forstfs.OpenOptions{Access: forstfs.AccessSequential})
	if err != nil {
		return err
	}
	defer back.Close()
	check := sha256.New()
	k, err := io.CopyBuffer(io.MultiWriter(check, &im.m), reader{back}, make([]byte, 1<<20))
	switch {
	case err != nil:
		return fmt.Errorf("read back %s: %w", s.Rel, err)
	case k != n || string(check.Sum(nil)) != string(sum.Sum(nil)):
		return verifyErr(s.Rel, k, n)
	}
	return im.vol.Rename(ctx, tmp, final)
}

// writer and reader hide what io.Copy would otherwise look for.
type writer struct {
	ctx context.Context
	w   io.Writer
}

func (w writer) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

type reader struct{ r io.Reader }

func (r reader) Read(p []byte) (int, error) { return r.r.Read(p) }
