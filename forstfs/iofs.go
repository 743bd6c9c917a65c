package forstfs

import (
	"context"
	"io"
	"io/fs"
)

// IOFS gives the volume as an io/fs file system with ReadDirFS, StatFS and ReadFileFS, for programs that only read. ctx is used by all its calls.
func (v *FS) IOFS(ctx context.Context) fs.FS { return ioFS{v, ctx} }

type ioFS struct {
	v   *FS
	ctx context.Context
}

func (i ioFS) check(op, name string) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

func (i ioFS) Open(name string) (fs.File, error) {
	if err := i.check("open", name); err != nil {
		return nil, err
	}
	f, err := i.v.Open(i.ctx, name, nil)
	if err != nil {
		return nil, pathErr("open", name, unwrapPath(err))
	}
	if !f.dir {
		return ioFile{f}, nil
	}
	defer f.Close()
	entries, err := i.ReadDir(name)
	if err != nil {
		return nil, err
	}
	info, err := i.Stat(name)
	if err != nil {
		return nil, err
	}
	return &ioDir{info: info, entries: entries}, nil
}

func (i ioFS) Stat(name string) (fs.FileInfo, error) {
	if err := i.check("stat", name); err != nil {
		return nil, err
	}
	info, err := i.v.Stat(i.ctx, name)
	if err != nil {
		return nil, pathErr("stat", name, unwrapPath(err))
	}
	if name == "." {
		info.name = "."
	}
	return info, nil
}

func (i ioFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := i.check("readdir", name); err != nil {
		return nil, err
	}
	infos, err := i.v.ReadDir(i.ctx, name)
	if err != nil {
		return nil, pathErr("readdir", name, unwrapPath(err))
	}
	out := make([]fs.DirEntry, len(infos))
	for k := range infos {
		out[k] = fs.FileInfoToDirEntry(infos[k])
	}
	return out, nil
}

func (i ioFS) ReadFile(name string) ([]byte, error) {
	f, err := i.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// unwrapPath takes the volume's own path off, as io/fs wants the caller's spelling.
func unwrapPath(err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return pe.Err
	}
	return err
}

type ioFile struct{ *File }

func (f ioFile) Stat() (fs.FileInfo, error) { return f.File.Stat() }

// ioDir is an open directory as io/fs sees it: a list taken at Open.
type ioDir struct {
	info    fs.FileInfo
	entries []fs.DirEntry
	closed  bool
}

func (d *ioDir) Stat() (fs.FileInfo, error) { return d.info, nil }

func (d *ioDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.Name(), Err: ErrIsDir}
}

func (d *ioDir) Close() error {
	if d.closed {
		return fs.ErrClosed
	}
	d.closed = true
	return nil
}

func (d *ioDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		all := d.entries
		d.entries = nil
		return all, nil
	}
	if len(d.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.entries))
	some := d.entries[:n:n]
	d.entries = d.entries[n:]
	return some, nil
}
