// Package automount opens the volumes that FORST_MOUNT names, for the packages below engineadapter/automount, which put them in the place of an
// engine's default file system. What it promises is documented there.
package automount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/forst-go/forst"
	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/internal/mutant"
)

// The environment variables.
const (
	Env       = "FORST_MOUNT"        // DIR=URL[,DIR=URL...]
	EnvCreate = "FORST_MOUNT_CREATE" // 1: make a volume where none is
)

// ExitStatus is that of a program whose mounts cannot be had.
const ExitStatus = 78 // EX_CONFIG

// Mount is one entry of FORST_MOUNT.
type Mount struct {
	Dir  string // where the volume appears: an absolute path
	Root string // the directory of the volume that appears there: the fragment of the URL, by default "/"

	url  string // with its secrets; never shown
	open func() (*forstfs.FS, error)
}

// Parse reads the value of FORST_MOUNT. No error shows what may be a secret.
func Parse(value string) ([]Mount, error) {
	var all []Mount
	for i, entry := range strings.Split(value, ",") {
		m, err := parseOne(strings.TrimSpace(entry))
		if err != nil {
			return nil, fmt.Errorf("%s, entry %d: %w", Env, i+1, err)
		}
		for _, other := range all {
			if other.Dir == m.Dir {
				return nil, fmt.Errorf("%s, entry %d: %s is mounted twice", Env, i+1, m.Dir)
			}
			if other.url == m.url {
				return nil, fmt.Errorf("%s, entry %d: the volume %s is mounted twice; mount it once, and give each database a directory of its own below", Env, i+1, m.Shown())
			}
		}
		all = append(all, m)
	}
	return all, nil
}

func parseOne(entry string) (Mount, error) {
	const want = "want DIR=URL, for example /data/db=s3://bucket/db"
	dir, raw, ok := strings.Cut(entry, "=")
	if !ok || dir == "" || raw == "" {
		return Mount{}, errors.New(want + "; entries are separated by commas, and a comma in a URL is written %2C")
	}
	if !filepath.IsAbs(dir) {
		return Mount{}, fmt.Errorf("the directory %s is not an absolute path: %s", dir, want)
	}
	u, err := url.Parse(raw)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // it repeats the URL, which may hold a password
			err = ue.Err
		}
		return Mount{}, fmt.Errorf("the URL for %s cannot be read (%v): %s", dir, err, want)
	}
	m := Mount{Dir: filepath.Clean(dir), Root: "/" + strings.Trim(u.Fragment, "/")}
	u.Fragment, u.RawFragment = "", ""
	m.url = u.String()
	switch {
	case u.Scheme == "" || u.Opaque != "":
		return Mount{}, fmt.Errorf("no URL for %s: %s", dir, want)
	case !known(u.Scheme):
		return Mount{}, fmt.Errorf("the URL for %s has the scheme %q; known are %s", dir, u.Scheme, strings.Join(forst.Drivers().Schemes(), ", "))
	}
	m.open = sync.OnceValues(m.openNow)
	return m, nil
}

func known(scheme string) bool {
	for _, s := range forst.Drivers().Schemes() {
		if s == scheme {
			return true
		}
	}
	return false
}

// Shown is the URL without what may be a secret.
func (m *Mount) Shown() string {
	u, err := url.Parse(m.url)
	if err != nil {
		return "(a URL)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// Open opens the volume when it is first called, which takes it over. The process ends with a message when it cannot be had: a program
// that goes on without its database may make a new one elsewhere.
func (m *Mount) Open() (*forstfs.FS, error) {
	v, err := m.open()
	if err != nil {
		if mutant.On("automount/no-volume-is-silent") {
			return nil, err
		}
		say("%v", err)
		os.Exit(ExitStatus)
	}
	return v, nil
}

func (m *Mount) openNow() (*forstfs.FS, error) {
	o := &forstfs.Options{Name: m.Shown(), Listener: &forstfs.EventListener{
		Failed: func(err error) {
			say("the volume %s can no longer be written: %v", m.Shown(), err)
		},
		Damaged: func(what string, err error) {
			say("the volume %s: %s is damaged and was worked around: %v", m.Shown(), what, err)
		},
	}}
	hint := ""
	if os.Getenv(EnvCreate) == "1" || mutant.On("automount/creates-unasked") {
		o.Create = forstfs.CreateIfMissing
	} else {
		hint = fmt.Sprintf(" (%s=1 makes a new volume)", EnvCreate)
	}
	v, err := forst.Open(context.Background(), m.url, o)
	switch {
	case errors.Is(err, forstfs.ErrNoVolume):
		return nil, fmt.Errorf("%s: %w%s", m.Dir, err, hint)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", m.Dir, err)
	}
	say("%s is the volume %s, epoch %d: what is synced there is in the store, and nothing of it on this machine", m.Dir, m.Shown()+fragment(m.Root), v.Epoch())
	return v, nil
}

func fragment(root string) string {
	if root == "/" {
		return ""
	}
	return "#" + root
}

var (
	once   sync.Once
	mounts []Mount
)

// Mounts gives the entries of FORST_MOUNT of this process, the same ones with every call: two engines in one program share the volumes. A value
// that cannot be right ends the process with a message.
func Mounts(engine string) []Mount {
	once.Do(func() {
		value := os.Getenv(Env)
		if value == "" {
			return
		}
		var err error
		if mounts, err = Parse(value); err != nil {
			if mutant.On("automount/nonsense-is-no-mount") {
				return
			}
			say("%v", err)
			os.Exit(ExitStatus)
		}
	})
	for _, m := range mounts {
		say("%s of %s goes to the volume %s, which is opened when it is first used", m.Dir, engine, m.Shown()+fragment(m.Root))
	}
	return mounts
}

// stderr is where messages go.
var stderr io.Writer = os.Stderr

func say(format string, args ...any) {
	fmt.Fprintf(stderr, "forst: "+format+"\n", args...)
}
