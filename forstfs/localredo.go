package forstfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/forst-go/forst/internal/localdisk"
	"github.com/forst-go/forst/internal/mutant"
	"github.com/forst-go/forst/internal/namespace"
)

// A log that follows into the volume (Options.MaxLag) is a file of the volume like any other; what is special is that its Sync returns when its
// bytes are durable in a redo log on the local disk, and the journal takes them a little later, in the same order as ever. After
// a crash the next owner brings the bytes that are missing in the volume from the redo log.

const (
	redoMagic  = "frdo"
	redoHeader = 20
	redoMost   = 1 << 30 // bytes of one record: more is no record
)

type redoLog struct {
	d   *localDir
	ino namespace.Inode

	mu     sync.Mutex
	f      localdisk.File
	fresh  bool
	size   int64 // bytes of the file written
	synced int64
	buf    []byte
	err    error
}

func (d *localDir) redo(ino namespace.Inode) *redoLog { return &redoLog{d: d, ino: ino} }

// appendRedo appends the record of bytes at an offset.
func appendRedo(b []byte, off int64, p []byte) []byte {
	at := len(b)
	b = append(b, redoMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
	b = binary.LittleEndian.AppendUint64(b, uint64(off))
	sum := crc32.Update(crc32.Checksum(b[at:], castagnoli), castagnoli, p)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, p...)
}

// readRedo calls fn for each whole record, in order.
func readRedo(r io.Reader, fn func(off int64, p []byte) error) error {
	br := bufio.NewReaderSize(r, 1<<20)
	var h [redoHeader]byte
	var p []byte
	for {
		if _, err := io.ReadFull(br, h[:]); err != nil {
			return endOfRedo(err)
		}
		n, off := binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint64(h[8:])
		if string(h[:4]) != redoMagic || n == 0 || n > redoMost || off > 1<<62 {
			return nil
		}
		p = p[:0]
		for left := int(n); left > 0; { // as much as there is, not as much as a damaged header says
			k := min(left, 1<<20)
			p = append(p, make([]byte, k)...)
			if _, err := io.ReadFull(br, p[len(p)-k:]); err != nil {
				return endOfRedo(err)
			}
			left -= k
		}
		if crc32.Update(crc32.Checksum(h[:16], castagnoli), castagnoli, p) != binary.LittleEndian.Uint32(h[16:]) {
			return nil
		}
		if err := fn(int64(off), p); err != nil {
			return err
		}
	}
}

func endOfRedo(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

func (l *redoLog) write(p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if l.f == nil {
		f, err := l.d.root.OpenFile(localName(redoDir, l.ino), os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_TRUNC)
		if err != nil {
			return storeErr(l.d.failed(err))
		}
		l.f, l.fresh = f, true
		l.d.mu.Lock()
		l.d.logs[l.ino] = true
		l.d.mu.Unlock()
	}
	for len(p) > 0 {
		part := p[:min(len(p), 1<<20)]
		l.buf = appendRedo(l.buf[:0], l.size, part)
		if _, err := l.f.Write(l.buf); err != nil {
			l.err = l.d.failed(err) // for good: what follows a torn record would never be read
			return l.err
		}
		l.size += int64(len(part))
		p = p[len(part):]
	}
	return nil
}

// sync makes what was written durable on the local disk and returns how many bytes of it are new.
func (l *redoLog) sync() (fresh int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.f == nil || l.size == l.synced {
		return 0, l.err
	}
	if !mutant.On(mutRedoNoFsync) {
		err = l.f.Sync()
	}
	if err == nil && l.fresh {
		err = l.d.root.SyncDir(redoDir)
	}
	if err != nil {
		l.err = l.d.failed(err)
		return 0, l.err
	}
	l.fresh = false
	fresh, l.synced = l.size-l.synced, l.size
	return fresh, nil
}

// close ends the log of a file that is not written to any more; its bytes are in the journal's queue. It goes when the journal has taken them.
func (l *redoLog) close(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return
	}
	_ = l.f.Close()
	l.f = nil
	l.err = fs.ErrClosed
	l.d.mu.Lock()
	if l.d.logs[l.ino] {
		l.d.retire[l.ino] = size
	}
	l.d.mu.Unlock()
}

// syncFollowed is Sync of a log that follows: durable on the local disk, on its way into the volume, and nothing acknowledged longer ago than MaxLag is still on
// its way.
func (v *FS) syncFollowed(ctx context.Context, n *node) error {
	if err := v.Err(); err != nil {
		return err
	}
	if err := v.waitBorn(ctx, n); err != nil {
		return err
	}
	fresh, err := n.redo.sync()
	if err != nil {
		return storeErr(err)
	}
	at := time.Now()
	pos, err := v.flush(n, int64(v.o.FrameLimit)) // all of it inline: nobody waits for this frame
	if err != nil {
		return err
	}
	if err := v.Err(); err != nil { // the journal takes nothing any more: Close, perhaps, has just given up the redo log
		return err
	}
	v.home.lag.note(pos, fresh, at)
	return v.keepUp(ctx)
}

// keepUp waits until nothing that was acknowledged more than MaxLag ago is missing in the volume.
func (v *FS) keepUp(ctx context.Context) error {
	l := &v.home.lag
	for {
		pos := l.overdue(v.journal.AckedPosition(), time.Now().Add(-v.o.MaxLag))
		if pos == 0 || mutant.On(mutMaxLag) {
			return v.throttle(ctx)
		}
		l.waited()
		if err := v.journal.Wait(ctx, pos); err != nil {
			return storeErr(err)
		}
	}
}

// lag knows what is acknowledged by the local disk and not by the journal.
type lag struct {
	mu    sync.Mutex
	marks []mark // in the order of their positions
	waits int64
}

type mark struct {
	pos   uint64
	bytes int64
	at    time.Time
}

func (l *lag) note(pos uint64, bytes int64, at time.Time) {
	if pos == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := len(l.marks)
	for i > 0 && l.marks[i-1].pos > pos { // two logs at once
		i--
	}
	l.marks = append(l.marks, mark{})
	copy(l.marks[i+1:], l.marks[i:])
	l.marks[i] = mark{pos, bytes, at}
}

// prune forgets what the journal has. l.mu is held.
func (l *lag) prune(acked uint64) {
	i := 0
	for i < len(l.marks) && l.marks[i].pos <= acked {
		i++
	}
	l.marks = l.marks[i:]
	if len(l.marks) == 0 {
		l.marks = nil
	}
}

// overdue is the last position that was noted before a time and is not acknowledged, or 0.
func (l *lag) overdue(acked uint64, before time.Time) (pos uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(acked)
	for _, m := range l.marks {
		if m.at.Before(before) {
			pos = m.pos
		}
	}
	return pos
}

func (l *lag) waited() {
	l.mu.Lock()
	l.waits++
	l.mu.Unlock()
}

func (l *lag) now(acked uint64) (bytes int64, age time.Duration, waits int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(acked)
	for _, m := range l.marks {
		bytes += m.bytes
		age = max(age, time.Since(m.at))
	}
	return bytes, age, l.waits
}

// redoAll brings into the order what the redo logs have and the volume has not.
func (v *FS) redoAll(ctx context.Context) error {
	for ino := range v.home.logs {
		if err := v.redoOne(ctx, ino); err != nil {
			return fmt.Errorf("redo log of inode %d: %w", ino, err)
		}
	}
	return nil
}

func (v *FS) redoOne(ctx context.Context, ino namespace.Inode) error {
	v.mu.Lock()
	file, ok := v.live.File(ino)
	if !ok || file.Kind != namespace.Small {
		v.mu.Unlock()
		return nil // it was removed, or its creation never reached the volume: nothing of it was acknowledged
	}
	f := v.handle(ctx, v.nodeOf(file), fmt.Sprintf("inode %d", ino), AccessDefault, true)
	v.mu.Unlock()
	r, err := v.home.root.OpenFile(localName(redoDir, ino), os.O_RDONLY)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	defer r.Close()
	have := file.Size
	err = readRedo(r, func(off int64, p []byte) error {
		switch end := off + int64(len(p)); {
		case end <= have:
			return nil
		case off > have:
			return fmt.Errorf("%w: bytes %d to %d are neither in the volume nor in the log", ErrDamaged, have, off)
		default:
			k, err := f.Write(p[have-off:])
			have += int64(k)
			return err
		}
	})
	return errors.Join(err, f.Close())
}
