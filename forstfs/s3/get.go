package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/forst-go/forst/forstfs/driver"
)

const (
	// drainLimit is how much of an unread body is worth reading to keep its connection.
	drainLimit   = 64 << 10
	drainTimeout = 100 * time.Millisecond // for it to come
	// emptyResumes is how often in a row a body may break without having given a byte.
	emptyResumes = 6
)

// Get implements driver.Store: one GET. When its body breaks or stalls, the reader goes on with another ranged GET that names
// the ETag of the first, so what it gives is always of one object.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c := call{op: "get", key: key}
	if err := driver.CheckKey(key); err != nil {
		return nil, s.fail(c, driver.KindInvalid, err)
	}
	if off < 0 || n == 0 {
		return nil, s.fail(c, driver.KindInvalid, fmt.Errorf("range of %d bytes from %d", n, off))
	}
	r, err := s.begin(ctx, c)
	if err != nil {
		return nil, err
	}
	defer r.leave() // Close waits for calls, not for readers that their owners may have forgotten; it cancels those
	b := &body{s: s, run: r, call: c, first: off, next: off, end: -1}
	if n > 0 {
		b.end = math.MaxInt64
		if off <= math.MaxInt64-n {
			b.end = off + n
		}
	}
	b.stall = time.AfterFunc(math.MaxInt64, b.giveUp)
	if err := b.open(); err != nil {
		b.finish(err)
		return nil, err
	}
	return b, nil
}

// body reads the bytes [next, end) of an object over one or more GETs. It is used by one goroutine at a time.
type body struct {
	s    *Store
	run  *running
	call call

	first, next int64
	end         int64         // as asked for (-1: the object's end) until the first answer
	etag        string        // of the first answer
	rc          io.ReadCloser // nil: between two GETs
	attempt     *attempt
	current     atomic.Pointer[attempt] // the same, for the stall timer
	stall       *time.Timer             // runs while a Read waits
	empty       int                     // breaks in a row without a byte
	err         error                   // what every later Read returns
}

// giveUp ends a GET whose body has stalled.
func (b *body) giveUp() {
	if a := b.current.Load(); a != nil {
		a.cancel(errTimeout)
	}
}

// open sends a GET for what is still to be read.
func (b *body) open() error {
	resumed := b.etag != ""
	in := s3.GetObjectInput{Bucket: aws.String(b.s.cfg.Bucket), Key: aws.String(b.s.full(b.call.key))}
	switch {
	case b.end >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", b.next, b.end-1))
	case b.next > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", b.next))
	}
	if resumed {
		in.IfMatch = aws.String(b.etag)
	}
	return b.s.do(b.run.ctx, b.call, func(a *attempt) error {
		in := in
		out, err := b.s.client.GetObject(a.ctx, &in)
		if err != nil {
			if resumed && classify(err).kind == driver.KindExist {
				return &answerError{kind: driver.KindTransient, final: true, text: "the object was replaced while it was read: read it again"}
			}
			return err
		}
		if err := b.accept(out, in.Range != nil, resumed); err != nil {
			a.cancel(nil)
			out.Body.Close()
			return err
		}
		a.keep = true
		b.rc, b.attempt = out.Body, a
		b.current.Store(a)
		return nil
	})
}

// accept checks that an answer holds exactly what was asked for: a store or a proxy that ignores the range, or cuts it, must
// not pass for the object.
func (b *body) accept(out *s3.GetObjectOutput, ranged, resumed bool) error {
	wrong := func(format string, args ...any) error {
		return &answerError{kind: driver.KindCorrupt, text: fmt.Sprintf(format, args...)}
	}
	if out.ContentLength == nil || *out.ContentLength < 0 {
		return wrong("the answer to GET has no Content-Length")
	}
	length := *out.ContentLength
	end, total := b.next+length, length
	if ranged {
		if out.ContentRange == nil {
			return &answerError{kind: driver.KindUnsupported, final: true, text: "the store ignores Range: the answer to GET has no Content-Range"}
		}
		from, to, size, ok := parseContentRange(*out.ContentRange)
		if !ok || from != b.next || to != end-1 {
			return wrong("asked for bytes from %d, got Content-Range %q and Content-Length %d", b.next, clip(*out.ContentRange), length)
		}
		total = size
	}
	switch {
	case b.end < 0 && end != total, b.end >= 0 && end != min(b.end, total):
		return wrong("asked for bytes [%d, %d) of an object of %d, got [%d, %d)", b.next, b.end, total, b.next, end)
	case resumed && aws.ToString(out.ETag) != b.etag:
		return wrong("If-Match was ignored: ETag %q became %q", b.etag, clip(aws.ToString(out.ETag)))
	}
	b.end, b.etag = end, aws.ToString(out.ETag)
	return nil
}

// parseContentRange reads "bytes 0-9/100".
func parseContentRange(v string) (from, to, size int64, ok bool) {
	v, ok = strings.CutPrefix(v, "bytes ")
	if !ok {
		return 0, 0, 0, false
	}
	span, whole, ok1 := strings.Cut(v, "/")
	lo, hi, ok2 := strings.Cut(span, "-")
	if !ok1 || !ok2 {
		return 0, 0, 0, false
	}
	from, err1 := strconv.ParseInt(lo, 10, 64)
	to, err2 := strconv.ParseInt(hi, 10, 64)
	size, err3 := strconv.ParseInt(whole, 10, 64)
	return from, to, size, err1 == nil && err2 == nil && err3 == nil && 0 <= from && from <= to && to < size
}

// Read implements io.Reader. It never returns io.EOF before the last byte of the range.
func (b *body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for b.err == nil {
		if b.next == b.end {
			b.finish(b.verify())
			break
		}
		if b.rc == nil {
			if err := b.open(); err != nil {
				b.finish(err)
				break
			}
		}
		n, err := b.read(p[:min(int64(len(p)), b.end-b.next)], b.s.cfg.AttemptTimeout)
		b.next += int64(n)
		if n > 0 {
			b.empty = 0
			if err != nil && b.next < b.end {
				b.drop()
			}
			return n, nil
		}
		if err == nil {
			continue
		}
		b.drop()
		if err := b.pause(err); err != nil {
			b.finish(err)
		}
	}
	return 0, b.err
}

// read is one Read of the open body, which is given up when nothing comes for so long.
func (b *body) read(p []byte, patience time.Duration) (int, error) {
	b.stall.Reset(patience)
	n, err := b.rc.Read(p)
	b.stall.Stop()
	return n, err
}

// pause decides what a break without a byte means, and waits before the next GET.
func (b *body) pause(err error) error {
	ctx := b.run.ctx
	if ctx.Err() != nil {
		return b.s.ended(ctx, b.call)
	}
	kind := driver.KindTransient
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		kind = driver.KindCorrupt
	}
	err = fmt.Errorf("the body ended %d bytes early, %d times in a row: %w", b.end-b.next, b.empty+1, cause(err))
	if b.empty++; b.empty > emptyResumes {
		return b.s.fail(b.call, kind, err)
	}
	wait := b.s.wait(b.empty, failure{})
	b.s.retrying(ctx, b.call, b.empty, wait, err)
	if !sleep(ctx, wait) {
		return b.s.ended(ctx, b.call)
	}
	return nil
}

// cause keeps io.EOF out of the chain of an error that means anything but a good end.
func cause(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return plain(err)
}

// verify reads the end of the body, where the SDK compares the checksum of a whole object if the store sent one.
func (b *body) verify() error {
	if b.rc == nil {
		return io.EOF // a zero-length rest, or the last GET broke after its last byte
	}
	var one [1]byte
	n, err := b.read(one[:], b.s.cfg.AttemptTimeout)
	switch {
	case n > 0:
		return b.s.fail(b.call, driver.KindCorrupt, fmt.Errorf("the body goes on after its %d bytes", b.end-b.first))
	case b.run.ctx.Err() != nil:
		return b.s.ended(b.run.ctx, b.call)
	case err == nil, errors.Is(err, io.EOF), b.attempt.ctx.Err() != nil:
		return io.EOF
	}
	return b.s.fail(b.call, driver.KindCorrupt, plain(err))
}

// drop ends the current GET.
func (b *body) drop() {
	if b.rc == nil {
		return
	}
	b.current.Store(nil)
	b.attempt.end() // before Close, which would otherwise wait for the store
	b.rc.Close()
	b.rc, b.attempt = nil, nil
}

// finish makes err what every later Read returns and gives everything back.
func (b *body) finish(err error) {
	if b.err != nil {
		return
	}
	b.err = err
	b.stall.Stop()
	if b.rc != nil && errors.Is(err, io.EOF) {
		b.rc.Close() // at its end: the connection is free again
	}
	b.drop()
	b.run.end()
}

// Close implements io.Closer. It may read a short rest, so that the connection can be used again.
func (b *body) Close() error {
	if b.err == nil && b.rc != nil && b.end-b.next <= drainLimit {
		var buf [4096]byte
		for b.next < b.end {
			n, err := b.read(buf[:min(int64(len(buf)), b.end-b.next)], drainTimeout)
			b.next += int64(n)
			if err != nil {
				break
			}
		}
		if b.next == b.end {
			b.rc.Close()
		}
	}
	b.finish(&driver.Error{Op: "get", Path: b.s.path(b.call.key), Kind: driver.KindClosed})
	return nil
}
