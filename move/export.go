package move

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/forst-go/forst/forstfs"
)

// Databases lists the directories of a volume that hold a database.
func Databases(ctx context.Context, vol *forstfs.FS) (dirs []string, err error) {
	err = vol.Walk(ctx, func(p string, info forstfs.FileInfo) error {
		if !info.IsDir() && isMarker(path.Base(p)) {
			dirs = append(dirs, path.Dir(p))
		}
		return nil
	})
	slices.Sort(dirs)
	return slices.Compact(dirs), err
}

// Export copies a database out of a volume, or out of a snapshot that is open, into a local directory that does not exist or is empty. The engine opens it there
// as any other of its directories. nil: complete, read back, and durable on the disk. After an error nothing is at dir.
//
// Of a volume that is being written a moment is exported, and the writer may remove files meanwhile: that is forstfs.ErrStale; take a snapshot and export that.
func Export(ctx context.Context, vol *forstfs.FS, dir string, opts *Options) (res Result, err error) {
	o := opts.withDefaults()
	if res.Path, err = exportPath(ctx, vol, o.Path); err != nil {
		return res, fmt.Errorf("export: %w", err)
	}
	if err := mustBeFree(dir); err != nil {
		return res, fmt.Errorf("export: %w", err)
	}
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return res, fmt.Errorf("export: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".exporting-")
	if err != nil {
		return res, fmt.Errorf("export: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	ex := &exporter{vol: vol, from: res.Path}
	if ex.root, err = os.OpenRoot(tmp); err != nil {
		return res, err
	}
	defer ex.root.Close()
	err = vol.Walk(ctx, func(p string, info forstfs.FileInfo) error {
		rel, in := strings.CutPrefix(p, strings.TrimSuffix(res.Path, "/")+"/")
		switch {
		case !in || left(path.Base(p)):
		case info.IsDir():
			ex.dirs = append(ex.dirs, rel)
		case info.Local():
			return fmt.Errorf("%s is on another disk: export a checkpoint", p)
		default:
			ex.files = append(ex.files, rel)
			res.Files++
			res.Bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		return res, fmt.Errorf("export: %w", err)
	}
	ex.m = meter{total: 2 * res.Bytes, tell: o.Progress}
	if err := ex.all(ctx, o.Parallel); err != nil {
		return res, fmt.Errorf("export %s: %w", res.Path, err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // it is empty
		return res, fmt.Errorf("export: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return res, fmt.Errorf("export: %w", err)
	}
	return res, syncPath(filepath.Dir(dir))
}

func exportPath(ctx context.Context, vol *forstfs.FS, p string) (string, error) {
	dirs, err := Databases(ctx, vol)
	if err != nil {
		return "", err
	}
	if p != "" {
		p = path.Join("/", p)
		if !slices.Contains(dirs, p) {
			return "", fmt.Errorf("%w: %s; databases are in %q", ErrNoDatabase, p, dirs)
		}
		return p, nil
	}
	switch len(dirs) {
	case 0:
		return "", ErrNoDatabase
	case 1:
		return dirs[0], nil
	}
	return "", fmt.Errorf("the volume holds %d databases; name one of %q", len(dirs), dirs)
}

func mustBeFree(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%w: %s", ErrNotEmpty, dir)
	}
	return nil
}

type exporter struct {
	vol   *forstfs.FS
	root  *os.Root
	from  string
	dirs  []string
	files []string
	m     meter
}

func (ex *exporter) all(ctx context.Context, parallel int) error {
	for _, d := range ex.dirs {
		if err := ex.root.MkdirAll(d, 0o777); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, rel := range ex.files {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := ex.one(ctx, rel); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, d := range append(slices.Clone(ex.dirs), ".") {
		if err := syncPath(filepath.Join(ex.root.Name(), d)); err != nil {
			return err
		}
	}
	return nil
}

func (ex *exporter) one(ctx context.Context, rel string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	in, err := ex.vol.Open(ctx, under(ex.from, rel), &forstfs.OpenOptions{Access: forstfs.AccessSequential})
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := ex.root.OpenFile(rel, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer out.Close()
	sum, check := sha256.New(), sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(writer{ctx, out}, sum, &ex.m), reader{in}, make([]byte, 1<<20))
	if err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return err
	}
	k, err := io.CopyBuffer(io.MultiWriter(check, &ex.m), reader{out}, make([]byte, 1<<20))
	switch {
	case err != nil:
		return err
	case k != n || string(check.Sum(nil)) != string(sum.Sum(nil)):
		return verifyErr(rel, k, n)
	}
	return nil
}

func syncPath(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
