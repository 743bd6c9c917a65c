package disk

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrNoCache says that a directory is not a cache: check the path.
var ErrNoCache = errors.New("not a cache directory")

// Report says what a cache directory holds.
type Report struct {
	ID           [16]byte
	BlockSize    int
	Segments     int
	Bytes        int64 // of the files
	Slots        int
	Blocks       int   // slots with a block
	BlockBytes   int64 // of the objects, in these blocks
	Damaged      int   // segments and records that are neither sound nor empty
	Verified     int   // blocks whose bytes were read and are right
	Bad          int   // blocks whose bytes are not those that were written: the cache would fetch them again
	InUse        bool  // a process has the directory open
	ClosedInTime bool  // the last process closed it: it will be as warm as it was
	Volumes      map[[16]byte]VolumeReport
}

// VolumeReport is the part of one volume.
type VolumeReport struct {
	Objects int
	Blocks  int
	Bytes   int64
}

// Inspect reads a cache directory and changes nothing in it. Without verify it may run beside the process that uses the cache, whose latest
// writes it may miss. With verify it reads and checks every block, and needs the directory for itself: ErrLocked if somebody uses it.
// progress, if not nil, is told how many slots of how many were looked at.
func Inspect(dir string, verify bool, progress func(done, all int)) (Report, error) {
	r := Report{Volumes: map[[16]byte]VolumeReport{}}
	m, err := readMarker(dir)
	if err != nil {
		return r, err
	}
	unlock, err := lock(filepath.Join(dir, lockName))
	switch {
	case errors.Is(err, ErrLocked):
		r.InUse = true
		if verify {
			return r, fmt.Errorf("cache directory %s: %w: stop it first, or look without verifying", dir, err)
		}
	case err != nil:
		return r, fmt.Errorf("cache directory %s: %w", dir, err)
	default:
		defer unlock()
		_, err := os.Stat(filepath.Join(dir, heatName))
		r.ClosedInTime = err == nil
	}
	r.ID, r.BlockSize = m.id, int(m.blockSize)
	l := newLayout(int(m.blockSize), int(m.slots))
	var files []string
	for n := 0; ; n++ {
		path := filepath.Join(dir, segmentName(n))
		if _, err := os.Stat(path); err != nil {
			break
		}
		files = append(files, path)
	}
	r.Segments, r.Slots = len(files), len(files)*l.slots
	objects := map[ID]bool{}
	for n, path := range files {
		if err := r.segment(n, path, m, l, verify, objects, progress); err != nil {
			return r, err
		}
	}
	for id := range objects {
		v := r.Volumes[id.Volume]
		v.Objects++
		r.Volumes[id.Volume] = v
	}
	return r, nil
}

func readMarker(dir string) (marker, error) {
	b, err := os.ReadFile(filepath.Join(dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return marker{}, fmt.Errorf("%s: %w (it has no file %s)", dir, ErrNoCache, markerName)
	}
	if err != nil {
		return marker{}, fmt.Errorf("cache directory: %w", err)
	}
	m, err := decodeMarker(b)
	if err == nil && (m.blockSize < 512 || m.blockSize > 1<<20 || m.slots < 1 || m.slots > maxSegment/512) {
		err = errFormat
	}
	if err != nil {
		return m, fmt.Errorf("cache directory %s: its marker is %w; it can only be cleared", dir, err)
	}
	return m, nil
}

func (r *Report) segment(n int, path string, m marker, l layout, verify bool, objects map[ID]bool, progress func(done, all int)) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cache directory: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		r.Bytes += info.Size()
	}
	head := make([]byte, headerSize)
	if _, err := f.ReadAt(head, 0); err != nil {
		r.Damaged++
		return nil
	}
	if h, err := decodeHeader(head); err != nil || h != (header{m.id, uint32(n), m.blockSize, m.slots}) {
		r.Damaged++
		return nil
	}
	b := make([]byte, l.record)
	data := make([]byte, l.blockSize)
	sums := make([]uint32, l.pages)
	var rec record
	for i := range l.slots {
		if progress != nil {
			progress(n*l.slots+i, r.Slots)
		}
		if _, err := f.ReadAt(b, l.recordAt(i)); err != nil {
			r.Damaged++
			continue
		}
		if !l.decode(b, &rec, sums) {
			if strings.Trim(string(b), "\x00") != "" {
				r.Damaged++
			}
			continue
		}
		r.Blocks++
		r.BlockBytes += int64(rec.size)
		v := r.Volumes[rec.id.Volume]
		v.Blocks++
		v.Bytes += int64(rec.size)
		r.Volumes[rec.id.Volume] = v
		objects[rec.id] = true
		if !verify {
			continue
		}
		if _, err := f.ReadAt(data[:rec.size], l.blockAt(i)); err != nil || !pagesMatch(data[:rec.size], sums) {
			r.Bad++
		} else {
			r.Verified++
		}
	}
	return nil
}

func pagesMatch(b []byte, sums []uint32) bool {
	for i := 0; len(b) > 0; i++ {
		n := min(len(b), pageSize)
		if crc32.Checksum(b[:n], castagnoli) != sums[i] {
			return false
		}
		b = b[n:]
	}
	return true
}

// Clear removes the files of a cache from a directory, and gives their number of bytes. What is not of a cache stays, and so does the
// directory. ErrLocked if somebody uses it, ErrNoCache if it is none.
func Clear(dir string) (bytes int64, err error) {
	if _, err := readMarker(dir); err != nil && !errors.Is(err, errFormat) {
		return 0, err
	}
	unlock, err := lock(filepath.Join(dir, lockName))
	if err != nil {
		return 0, fmt.Errorf("cache directory %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !ownName(e.Name()) || e.IsDir() || e.Name() == lockName {
			continue
		}
		if info, ierr := e.Info(); ierr == nil {
			bytes += info.Size()
		}
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return bytes, errors.Join(err, unlock(), os.Remove(filepath.Join(dir, lockName)))
}
