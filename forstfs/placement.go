package forstfs

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// Placement is a table: for each class of files, whether new ones live in the volume or on the disk of this machine (Options.LocalDir). The zero value
// keeps everything in the volume. See docs/placement.md for what each preset promises.
type Placement uint32

// The presets. Locks are held in process and never placed.
const (
	// PlaceDurable keeps every file in the volume: the machine is disposable.
	PlaceDurable Placement = 0
	// PlaceLocalWAL keeps logs on the local disk, so that a commit with Sync costs an fsync and no round trip. What of it survives the machine,
	// Options.MaxLag says.
	PlaceLocalWAL = Placement(1<<ClassWAL | 1<<ClassLog)
	// PlaceForSt keeps tables in the volume and everything else on the local disk, as ForSt does: durable are snapshots alone.
	PlaceForSt = PlaceLocalWAL | Placement(1<<ClassManifest|1<<ClassOptions|1<<ClassMarker|1<<ClassCurrent|1<<ClassTemp)
)

// placeable are the classes that a table may name.
const placeable = Placement(1<<ClassSST | 1<<ClassBlob | 1<<ClassWAL | 1<<ClassManifest | 1<<ClassOptions | 1<<ClassMarker | 1<<ClassCurrent |
	1<<ClassLog | 1<<ClassTemp | 1<<ClassOther)

// catalogue are the classes that Ordered directory syncs rest on.
const catalogue = Placement(1<<ClassWAL | 1<<ClassManifest | 1<<ClassMarker | 1<<ClassCurrent)

// PlaceLocally is the table that keeps these classes on the local disk and all others in the volume.
func PlaceLocally(classes ...Class) Placement {
	var p Placement
	for _, c := range classes {
		p |= 1 << c
	}
	return p
}

// Local reports whether new files of the class live on the local disk.
func (p Placement) Local(c Class) bool { return p>>c&1 == 1 }

// String is the name of a preset, or the classes on the local disk.
func (p Placement) String() string {
	switch p {
	case PlaceDurable:
		return "Durable"
	case PlaceLocalWAL:
		return "LocalWAL"
	case PlaceForSt:
		return "ForSt"
	}
	var local []string
	for c := range Class(len(classNames)) {
		if p.Local(c) {
			local = append(local, c.String())
		}
	}
	return "local(" + strings.Join(local, ",") + ")"
}

func (o *Options) validatePlacement() error {
	switch p := o.Placement; {
	case p&^placeable != 0:
		return fmt.Errorf("Options.Placement: %#x names classes that cannot be placed", uint32(p&^placeable))
	case p != PlaceDurable && o.LocalDir == "":
		return fmt.Errorf("Options.Placement: %v needs Options.LocalDir", p)
	case p&catalogue != 0 && o.DirSync == Ordered:
		return fmt.Errorf("Options.DirSync: Ordered rests on one order of WAL, MANIFEST and markers, and %v takes some of them out of the volume", p)
	case o.MaxLag < 0:
		return fmt.Errorf("Options.MaxLag: %v is negative", o.MaxLag)
	case o.MaxLag > 0 && !p.Local(ClassWAL):
		return fmt.Errorf("Options.MaxLag: it is for a WAL on the local disk, and %v keeps it in the volume", p)
	}
	return nil
}

// site is where one file is put.
type site uint8

const (
	siteByTable site = iota
	siteVolume
	siteLocal
)

// placedLocally says whether a new file lives on the local disk. FS.mu is held.
func (v *FS) placedLocally(p string, c Class, s site) bool {
	switch {
	case s != siteByTable:
		return s == siteLocal
	case !v.o.Placement.Local(c) || c == ClassWAL && v.o.MaxLag > 0: // a WAL that follows has its bytes in the volume
		return false
	}
	return !v.keptInVolume(p)
}

func (v *FS) follows(p string, c Class) bool {
	return c == ClassWAL && v.o.MaxLag > 0 && v.o.Placement.Local(c) && !v.keptInVolume(p)
}

func (v *FS) keptInVolume(p string) bool {
	if len(v.volumeDirs) == 0 {
		return false
	}
	for dir := path.Dir(p); ; dir = path.Dir(dir) {
		if v.volumeDirs[dir] > 0 {
			return true
		}
		if dir == "/" {
			return false
		}
	}
}

// KeepInVolume places files that are created, linked or renamed below a directory from now on in the volume, whatever their class, until release
// is called. That is how a checkpoint of a database with local files gets its own copies of them.
func (v *FS) KeepInVolume(dir string) (release func(), err error) {
	p, err := clean(dir)
	if err != nil {
		return nil, pathErr("keep in volume", dir, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.volumeDirs == nil {
		v.volumeDirs = map[string]int{}
	}
	v.volumeDirs[p]++
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.volumeDirs[p]--; v.volumeDirs[p] <= 0 {
			delete(v.volumeDirs, p)
		}
	}, nil
}

// Placement says how the volume was opened: its table, and MaxLag.
func (v *FS) Placement() (Placement, time.Duration) { return v.o.Placement, v.o.MaxLag }
