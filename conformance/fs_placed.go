package conformance

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs"
)

// Placed is how the volumes of RunPlaced are placed.
type Placed struct {
	Placement forstfs.Placement
	MaxLag    time.Duration
}

// placedHome is the local disk of the machine that a case runs on. Each mount gets a copy of what was there: so a process that the case has left
// behind goes on with its own disk, as one that was killed leaves its disk to its successor.
type placedHome struct {
	Placed
	mu  sync.Mutex
	dir string
}

func (h *placedHome) use(tb TB, o *forstfs.Options) {
	tb.Helper()
	if h == nil || o.LocalDir != "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := tb.TempDir()
	for h.dir != "" {
		err := os.CopyFS(fresh, os.DirFS(h.dir))
		if err == nil {
			break
		}
		if _, gone := os.Stat(h.dir); gone != nil || !errors.Is(err, fs.ErrNotExist) {
			tb.Fatalf("copying the local directory: %v", err)
		}
		fresh = tb.TempDir() // the process left behind has just deleted a file
	}
	h.dir = fresh
	o.Placement, o.MaxLag, o.LocalDir = h.Placement, h.MaxLag, filepath.Clean(fresh)
	if o.DirSync == forstfs.Ordered {
		o.Placement, o.MaxLag = forstfs.PlaceDurable, 0
	}
}

// unplaced are the cases of RunFS that are about what a placement changes: what is in the store at a moment, how many requests that takes, what
// another machine sees.
var unplaced = []string{
	"volume/checkpoints-run",         // waits for images, and local bytes make no frames
	"volume/two-writers-race",        // two machines cannot have one disk
	"open/while-it-is-being-created", // nor can they here
	"read/overtaken-by-a-pack",       // the journal has nothing to pack
	"read/a-missing-object",          // no object is missing where the bytes are local
	"link/one-file-two-names",        // their second names are of another class: then a link is a copy
	"link/to-a-file-that-is-being",   // and refused while the file is open for writing
	"rename/of-a-file-that-is-being", // so is a rename
	"garbage/pack-that-came",         // as above
	"garbage/refused-deletes",        // nor are there objects to delete
	"handle/removed-while-its-bytes", // which are local, and on no way
	"handle/two-files-of-one-object", // as above
	"readonly/",                      // another machine does not see local bytes; see place/
	"follow/",                        // nor does one that follows
	"snapshot/",                      // a snapshot is refused while bytes are only local: the engine's checkpoint copies them first
	"clone/",                         // and so is a clone of one
	"fsck/",                          // which looks from another machine
}

// RunPlaced runs the cases of RunFS on volumes with a local directory, but for those that are about what is in the store at which
// moment: names, bytes, links, renames, removals and reopening have to be the same whatever the placement.
func RunPlaced(t *testing.T, m Maker, p Placed) {
	for _, c := range FSCases() {
		if slices.ContainsFunc(unplaced, func(s string) bool { return strings.HasPrefix(c.Name, s) }) {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), watchdog)
			defer cancel()
			e := &fsEnv{TB: t, ctx: ctx, open: m.Fresh(t), last: new(sync.Map), home: &placedHome{Placed: p}}
			defer e.letGo()
			c.run(e)
		})
	}
}
