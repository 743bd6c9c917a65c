package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
)

const (
	rootMagic   = "forstvol"
	rootVersion = 1
	rootHeader  = 40

	rootLive      = 1
	rootTombstone = 2

	// DefaultRun is the length k of a fence run.
	DefaultRun = 4
)

// Root is the object that makes a prefix a volume. It never changes and is never deleted.
type Root struct {
	Volume    VolumeID
	Tombstone bool // born dead: an abandoned clone whose name must not come to life any more
	Run       int  // k, the length of a fence run: 1 to 255
	Created   time.Time
	Features  []string // "r:name" (a reader must know it) or "w:name" (a writer must know it)
}

// RootOptions describe a new volume.
type RootOptions struct {
	Volume    VolumeID // zero: random
	Tombstone bool
	Run       int // zero: DefaultRun
	Features  []string
	Created   time.Time     // information only; the zero time is stored as it is
	Budget    time.Duration // how long to try while the store does not answer; zero: a minute
	Nonce     func() uint64 // seeds the jitter of retries; default crypto/rand
}

// Encode returns the bytes of the root, which the caller owns.
func (r *Root) Encode() []byte {
	var features []byte
	for _, f := range r.Features {
		features = append(binary.AppendUvarint(features, uint64(len(f))), f...)
	}
	le := binary.LittleEndian
	b := append(make([]byte, 0, rootHeader+len(features)+4), rootMagic...)
	b = le.AppendUint16(b, rootVersion)
	state := byte(rootLive)
	if r.Tombstone {
		state = rootTombstone
	}
	b = append(b, state, byte(r.Run))
	b = append(b, r.Volume[:]...)
	var created int64
	if !r.Created.IsZero() {
		created = r.Created.UnixNano()
	}
	b = le.AppendUint64(b, uint64(created))
	b = le.AppendUint32(b, uint32(len(features)))
	b = append(b, features...)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeRoot reads the bytes of a root. The error wraps ErrDamaged, or ErrFormat for a sound root of a newer format.
func DecodeRoot(b []byte) (Root, error) {
	var r Root
	if _, err := checkEnvelope(b, "root", rootMagic, rootVersion, rootHeader+4); err != nil {
		return r, err
	}
	le := binary.LittleEndian
	r.Run = int(b[11])
	copy(r.Volume[:], b[12:])
	if t := int64(le.Uint64(b[28:])); t != 0 {
		r.Created = time.Unix(0, t).UTC()
	}
	switch b[10] {
	case rootLive:
	case rootTombstone:
		r.Tombstone = true
	default:
		return r, fmt.Errorf("%w: root in state %d: use a newer forst", ErrFormat, b[10])
	}
	rest := b[rootHeader : len(b)-4]
	if uint64(le.Uint32(b[36:])) != uint64(len(rest)) || r.Run == 0 || r.Volume == (VolumeID{}) {
		return r, fmt.Errorf("%w: root of %d bytes with wrong fields", ErrDamaged, len(b))
	}
	for len(rest) > 0 {
		n, w := binary.Uvarint(rest)
		if w <= 0 || n > uint64(len(rest)-w) || w > 1 && rest[w-1] == 0 {
			return r, fmt.Errorf("%w: root with a broken list of features", ErrDamaged)
		}
		f := string(rest[w : w+int(n)])
		if !strings.HasPrefix(f, "r:") && !strings.HasPrefix(f, "w:") {
			return r, fmt.Errorf("%w: root with feature %q, which is neither for readers nor for writers", ErrFormat, f)
		}
		r.Features = append(r.Features, f)
		rest = rest[w+int(n):]
	}
	return r, nil
}

// check refuses features that are not among known: for a reader those marked "r:", for a writer all.
func (r *Root) check(known []string, writer bool) error {
	for _, f := range r.Features {
		if (writer || strings.HasPrefix(f, "r:")) && !slices.Contains(known, f) {
			return fmt.Errorf("%w: the volume needs the feature %q: use a newer forst", ErrFormat, f)
		}
	}
	return nil
}

// CreateRoot makes the prefix of store a volume. On nil the root is durable, and this call, not another one, created it.
// ErrExists means that somebody else's root is there, which is returned if it can be read. After any other error
// the volume may exist, now or later.
func CreateRoot(ctx context.Context, store driver.Store, o RootOptions) (Root, error) {
	r := Root{Volume: o.Volume, Tombstone: o.Tombstone, Run: o.Run, Created: o.Created, Features: o.Features}
	if r.Run == 0 {
		r.Run = DefaultRun
	}
	if r.Run < 1 || r.Run > 255 {
		return Root{}, fmt.Errorf("journal: a fence run of %d: 1 to 255 are legal", r.Run)
	}
	for _, f := range r.Features {
		if !strings.HasPrefix(f, "r:") && !strings.HasPrefix(f, "w:") {
			return Root{}, fmt.Errorf("journal: feature %q: want a name with the prefix \"r:\" or \"w:\"", f)
		}
	}
	if r.Volume == (VolumeID{}) {
		if _, err := rand.Read(r.Volume[:]); err != nil {
			return Root{}, fmt.Errorf("journal: volume id: %w", err)
		}
	}
	if o.Budget == 0 {
		o.Budget = time.Minute
	}
	if o.Nonce == nil {
		o.Nonce = randomNonce
	}
	s := &sender{store: store, budget: o.Budget, hasty: true, wait: newBackoff(o.Nonce())}
	other, err := s.settle(driver.WithComponent(ctx, driver.CompOpen), RootKey, r.Encode(), nil)
	if err != nil {
		return Root{}, fmt.Errorf("create volume: %w", err)
	}
	if other == nil {
		return r, nil
	}
	there, err := DecodeRoot(other)
	switch {
	case errors.Is(err, ErrFormat):
		return Root{}, fmt.Errorf("%w: it is of a newer version: %w", ErrExists, err)
	case err != nil:
		return Root{}, fmt.Errorf("%w, but its root cannot be read, so choose another prefix: %w", ErrExists, err)
	}
	return there, fmt.Errorf("%w: volume %s", ErrExists, there.Volume)
}

// ReadRoot reads the root, of a live volume or of a tombstone. ErrNoVolume means that the store is well and certainly has
// none; ErrFormat names the version or the feature that this version does not know, apart from the known ones given.
func ReadRoot(ctx context.Context, store driver.Store, known ...string) (Root, error) {
	b, err := driver.ReadAll(driver.WithComponent(ctx, driver.CompOpen), store, RootKey)
	if err != nil {
		if driver.KindOf(err) == driver.KindNotExist {
			return Root{}, fmt.Errorf("%w: %w", ErrNoVolume, err)
		}
		return Root{}, fmt.Errorf("read the volume's root: %w", err)
	}
	r, err := DecodeRoot(b)
	if err == nil {
		err = r.check(known, false)
	}
	if err != nil {
		return Root{}, fmt.Errorf("the object %q: %w", RootKey, err)
	}
	return r, nil
}

// NewNonce gives a random number for a name.
func NewNonce() uint64 { return randomNonce() }

func randomNonce() uint64 {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand.Read never fails
	}
	return binary.LittleEndian.Uint64(b[:])
}
