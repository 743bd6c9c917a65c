package namespace

import (
	"fmt"
	"io/fs"
	"math"
	"strings"
)

// plan is where an operation acts: what Check finds and Apply uses.
type plan struct {
	d, d2       *dir
	base, base2 string
	now, now2   node // what the names stand for
	f           *file
	nothing     bool   // legal, and changes nothing
	tree        *State // of a Restore
}

// Check says whether op would be legal now; it changes nothing. The error is an *fs.PathError for operations on paths and matches
// fs.ErrNotExist, fs.ErrExist, fs.ErrInvalid, ErrIsDir, ErrNotDir or ErrNotEmpty. The rules are those of POSIX but for these: Create
// replaces a file by a new one, Mkdir makes the parents too, a directory is never renamed onto another one.
func (s *State) Check(op *Op) error {
	_, err := s.plan(op)
	return err
}

func (s *State) plan(op *Op) (plan, error) {
	switch op.Kind {
	case Mkdir:
		return s.planMkdir(op)
	case Create:
		return s.planCreate(op)
	case Link, Rename:
		return s.planMove(op)
	case Remove, RemoveAll:
		return s.planRemove(op)
	case Append, Extend, Touch:
		return s.planFile(op)
	case Pack:
		for i := range op.Packs {
			if err := s.checkRepack(&op.Packs[i]); err != nil {
				return plan{}, fmt.Errorf("pack, entry %d: %w", i, err)
			}
		}
		return plan{}, nil
	case SnapBegin, SnapCommit, SnapDoom, SnapRemove, SnapMove:
		return s.planSnapshot(op)
	case Restore:
		return s.planRestore(op)
	}
	return plan{}, fmt.Errorf("operation of kind %d: %w", op.Kind, fs.ErrInvalid)
}

func pathErr(op *Op, path string, err error) error {
	return &fs.PathError{Op: op.Kind.String(), Path: path, Err: err}
}

func (s *State) planMkdir(op *Op) (p plan, err error) {
	if !validPath(op.Path) {
		return p, pathErr(op, op.Path, errPath)
	}
	n, err := s.find(op.Path)
	switch {
	case err == nil && n.d != nil:
		p.nothing = true
	case err == nil:
		return p, pathErr(op, op.Path, errFileInTheWay)
	case err == ErrNotDir:
		return p, pathErr(op, op.Path, err)
	}
	return p, nil // the missing ones are made from the root on
}

func (s *State) planCreate(op *Op) (p plan, err error) {
	switch {
	case !validPath(op.Path):
		return p, pathErr(op, op.Path, errPath)
	case op.Path == "/":
		return p, pathErr(op, op.Path, ErrIsDir)
	case op.Inode == 0 || op.Inode > maxInode:
		return p, pathErr(op, op.Path, fmt.Errorf("inode %d is out of range: %w", op.Inode, fs.ErrInvalid))
	case op.File > Local:
		return p, pathErr(op, op.Path, fmt.Errorf("file of kind %d: %w", op.File, fs.ErrInvalid))
	case op.Time < 0:
		return p, pathErr(op, op.Path, errTime)
	case s.files[op.Inode] != nil:
		return p, pathErr(op, op.Path, fmt.Errorf("inode %d is in use: %w", op.Inode, fs.ErrInvalid))
	}
	p.d, p.base, p.now, err = s.parent(op.Path)
	if err == nil && p.now.d != nil {
		err = ErrIsDir
	}
	if err != nil {
		return p, pathErr(op, op.Path, err)
	}
	return p, nil
}

// planMove serves Link and Rename.
func (s *State) planMove(op *Op) (p plan, err error) {
	for _, path := range [...]string{op.Path, op.Path2} {
		if !validPath(path) {
			return p, pathErr(op, path, errPath)
		}
	}
	if op.Path == "/" {
		if op.Kind == Link {
			return p, pathErr(op, op.Path, ErrIsDir)
		}
		return p, pathErr(op, op.Path, errRoot)
	}
	p.d, p.base, p.now, err = s.parent(op.Path)
	if err == nil && p.now.missing() {
		err = fs.ErrNotExist
	}
	if err == nil && op.Kind == Link && p.now.d != nil {
		err = ErrIsDir
	}
	if err != nil {
		return p, pathErr(op, op.Path, err)
	}
	if op.Path2 == "/" {
		p.now2 = node{d: s.root}
	} else if p.d2, p.base2, p.now2, err = s.parent(op.Path2); err != nil && !inside(op.Path, op.Path2) {
		return p, pathErr(op, op.Path2, err)
	}
	switch {
	case op.Kind == Link && !p.now2.missing():
		err = fs.ErrExist
	case op.Kind == Link:
	case p.now.d != nil && inside(op.Path, op.Path2):
		err = fmt.Errorf("%w: it is inside of %s", fs.ErrInvalid, op.Path)
	case err != nil: // a file on the way to Path2, namely Path
	case p.now2.missing():
	case p.now == p.now2: // the same name, or another one of the same file
		p.nothing = true
	case p.now.d != nil && p.now2.d != nil:
		err = fs.ErrExist
	case p.now.d != nil:
		err = ErrNotDir
	case p.now2.d != nil:
		err = ErrIsDir
	}
	if err != nil {
		return p, pathErr(op, op.Path2, err)
	}
	return p, nil
}

// inside reports whether path lies below dir.
func inside(dir, path string) bool {
	return len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}

func (s *State) planRemove(op *Op) (p plan, err error) {
	switch {
	case !validPath(op.Path):
		return p, pathErr(op, op.Path, errPath)
	case op.Path == "/":
		return p, pathErr(op, op.Path, errRoot)
	}
	p.d, p.base, p.now, err = s.parent(op.Path)
	if err == nil && p.now.missing() {
		err = fs.ErrNotExist
	}
	if op.Kind == RemoveAll && err != nil {
		p.nothing, err = true, nil // below a file there is nothing either
	}
	if op.Kind == Remove && err == nil && p.now.d != nil && len(p.now.d.entries) > 0 {
		err = ErrNotEmpty
	}
	if err != nil {
		return p, pathErr(op, op.Path, err)
	}
	return p, nil
}

// planFile serves Append, Extend and Touch.
func (s *State) planFile(op *Op) (p plan, err error) {
	var sum int64
	switch op.Kind {
	case Append:
		if op.Len <= 0 {
			err = fmt.Errorf("%d bytes: %w", op.Len, fs.ErrInvalid)
		}
		sum = op.Len
	case Extend:
		for i := range op.Extents {
			e := &op.Extents[i]
			if err = s.checkExtent(e); err == nil && e.Len > math.MaxInt64-sum {
				err = errTooLarge
			}
			if err != nil {
				break
			}
			sum += e.Len
		}
	case Touch:
		if op.Time < 0 {
			err = errTime
		}
	}
	if p.f = s.files[op.Inode]; p.f != nil && err == nil && sum > math.MaxInt64-p.f.size {
		err = errTooLarge
	}
	if p.f != nil && err == nil && p.f.kind == Local && sum > 0 {
		err = fmt.Errorf("its bytes are on a local disk: %w", fs.ErrInvalid)
	}
	if err != nil {
		return p, fmt.Errorf("%s to inode %d: %w", op.Kind, op.Inode, err)
	}
	p.nothing = p.f == nil
	return p, nil
}

func (s *State) checkContainer(c *Container) error {
	switch {
	case c.Kind < Object || c.Kind > Body:
		return fmt.Errorf("container of kind %d: %w", c.Kind, fs.ErrInvalid)
	case uint64(c.Owner) > uint64(len(s.owners)):
		return fmt.Errorf("container of foreign volume %d, of which there are %d: %w", c.Owner, len(s.owners), fs.ErrInvalid)
	}
	return nil
}

func (s *State) checkExtent(e *Extent) error {
	if e.Off < 0 || e.Len <= 0 || e.Off > math.MaxInt64-e.Len {
		return fmt.Errorf("extent of %d bytes at %d: %w", e.Len, e.Off, fs.ErrInvalid)
	}
	// Inside a frame the journal checks the range, which it alone knows; an object's size is part of its container.
	if c := &e.Container; c.Kind != Frame && e.Off+e.Len > int64(c.CRC) {
		return fmt.Errorf("extent of %d bytes at %d of an object or body of %d: %w", e.Len, e.Off, c.CRC, fs.ErrInvalid)
	}
	return s.checkContainer(&e.Container)
}

func (s *State) checkRepack(r *Repack) error {
	if err := s.checkExtent(&r.Old); err != nil {
		return err
	}
	if err := s.checkExtent(&r.New); err != nil {
		return err
	}
	if r.Old.Len != r.New.Len || r.FileOff < 0 {
		return fmt.Errorf("%d bytes at %d become %d: %w", r.Old.Len, r.FileOff, r.New.Len, fs.ErrInvalid)
	}
	return nil
}

// maxInode keeps inodes and their successor positive in any integer type.
const maxInode = math.MaxInt64 - 1

var (
	errPath         = fmt.Errorf("%w: not a clean absolute path of at most %d bytes", fs.ErrInvalid, MaxPath)
	errRoot         = fmt.Errorf("%w: the root directory stays", fs.ErrInvalid)
	errTime         = fmt.Errorf("%w: time before 1970", fs.ErrInvalid)
	errTooLarge     = fmt.Errorf("%w: file too large", fs.ErrInvalid)
	errFileInTheWay = fmt.Errorf("%w: %w", ErrNotDir, fs.ErrExist)
)
