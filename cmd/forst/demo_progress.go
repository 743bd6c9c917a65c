package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// progress shows how far the work is: on a terminal as one line that changes in place, elsewhere as a plain line now and then.
// It is used by one goroutine.
type progress struct {
	w     io.Writer
	tty   bool
	every time.Duration
	last  time.Time
	dirty bool // an unfinished line is on the terminal
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, every: 2 * time.Second, last: time.Now()}
	if isTerminal(w) {
		p.tty, p.every = true, 100*time.Millisecond
	}
	return p
}

// isTerminal reports whether w is a character device and the terminal can move its cursor.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// update shows a passing state, unless the last one is too recent.
func (p *progress) update(format string, args ...any) {
	now := time.Now()
	if now.Sub(p.last) < p.every {
		return
	}
	p.last = now
	if p.tty {
		fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
		p.dirty = true
		return
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

// line shows something that stays.
func (p *progress) line(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *progress) clear() {
	if p.dirty {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.dirty = false
	}
}

// count prints 1234567 as 1,234,567.
func count[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size prints a number of bytes with a binary unit.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 1024 && unit < 5 {
		f /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, " KMGTP"[unit])
}

// brief rounds a duration to what a reader wants to see.
func brief(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(10 * time.Millisecond).String()
	}
}
