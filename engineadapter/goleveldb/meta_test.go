package goleveldb_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/forst-go/forst/engineadapter/goleveldb"
	"github.com/forst-go/forst/engineadapter/internal/enginetest"
	"github.com/forst-go/forst/forstfs"
)

func TestMeta(t *testing.T) {
	s, vol := open(t)
	if _, err := s.GetMeta(); err != os.ErrNotExist {
		t.Fatalf("GetMeta of nothing: %v", err)
	}
	for _, n := range []int64{1, 9, 3, 1 << 60} {
		write(t, s, manifest(n), "x")
		ok(t, s.SetMeta(manifest(n)))
		if fd, err := s.GetMeta(); fd != manifest(n) || err != nil {
			t.Fatalf("GetMeta: %v, %v; want %d", fd, err, n)
		}
	}
	ok(t, s.Remove(manifest(1<<60)))
	if _, err := s.GetMeta(); err != os.ErrNotExist {
		t.Fatalf("GetMeta that names nothing: %v", err)
	}
	_ = vol
}

// What a crash leaves on a disk and is brought into a volume. "p5" is a CURRENT.5, "c" CURRENT, "b" CURRENT.bak; a second number is the MANIFEST it
// names, "!" damages it, and "-" means that the MANIFEST is not there.
// On a machine that sends nothing by itself and dies, SetMeta has moved CURRENT for good.
func TestMetaIsDurable(t *testing.T) {
	after := dead(t, func(s storage.Storage) {
		for n := int64(1); n <= 2; n++ {
			write(t, s, manifest(n), "x")
			ok(t, s.SetMeta(manifest(n)))
		}
	})
	if fd, err := after.GetMeta(); err != nil || fd != manifest(2) {
		t.Errorf("CURRENT on another machine: %v, %v", fd, err)
	}
}

// TestMetaIsOneStep: whoever opens the directory, at any moment, finds what CURRENT named before or what it names now.
func TestMetaIsOneStep(t *testing.T) {
	home := enginetest.MemHome()
	store := &enginetest.Watched{Store: home.Open(t)}
	s := must(goleveldb.Open(enginetest.OpenVol(t, store, &forstfs.Options{FlushDelay: -1}), "/db", nil))(t)
	write(t, s, manifest(1), "x")
	ok(t, s.SetMeta(manifest(1)))
	write(t, s, manifest(2), "x")
	looked := 0
	look := func() {
		looked++
		v, err := forstfs.OpenReadOnly(t.Context(), home.Open(t), nil)
		if err == nil {
			_, err = v.Stat(t.Context(), "/db/CURRENT")
			err = errors.Join(err, v.Close())
		}
		if err != nil {
			t.Errorf("look %d: %v", looked, err)
		}
	}
	store.Look.Store(&look)
	ok(t, s.SetMeta(manifest(2)))
	store.Look.Store(nil)
	if looked == 0 {
		t.Error("nothing was sent")
	}
}

// TestSyncIsDurable: so has Sync of any file.
func TestSyncIsDurable(t *testing.T) {
	for _, fd := range []storage.FileDesc{manifest(3), {Type: storage.TypeJournal, Num: 3}, table(3)} {
		after := dead(t, func(s storage.Storage) {
			write(t, s, manifest(1), "x")
			ok(t, s.SetMeta(manifest(1))) // else what is there is a database that was never finished
			w := must(s.Create(fd))(t)
			must(w.Write([]byte("synced")))(t)
			ok(t, w.Sync())
		})
		if got := read(t, after, fd); got != "synced" {
			t.Errorf("%v on another machine: %q", fd, got)
		}
	}
}

// dead gives what another machine finds after do.
func dead(t *testing.T, do func(storage.Storage)) storage.Storage {
	t.Helper()
	h := enginetest.MemHome()
	m := enginetest.Start(t, h, &forstfs.Options{FlushDelay: -1})
	do(must(goleveldb.Open(m.Vol, "/db", nil))(t))
	m.Die()
	return must(goleveldb.Open(enginetest.OpenVol(t, h.Open(t), nil), "/db", nil))(t)
}

func TestMetaAfterACrashElsewhere(t *testing.T) {
	for _, c := range []struct {
		files string
		want  int64 // -1: not exist, -2: damaged
	}{
		{"b2 c1-", 2},
		{"b2 c1", 1},
		{"p2 p3 c4", 4},
		{"p2 p3 c4!", 3},
		{"p2 p3 c5! b4", 4},
		{"p4 p3 c2", 4},
		{"p4! p3 c2", 3},
		{"p4! p3! c2", 2},
		{"p4- p3 c2", 3},
		{"p4- p3 c6- b5", 5},
		{"p4- p3- c6- b5-", -1},
		{"p4! p3- c6- b5-", -2},
		{"c1!", -2},
		{"p7", 7},
		{"b7", 7},
	} {
		s, vol := open(t)
		for _, f := range strings.Fields(c.files) {
			var n int64
			must(fmt.Sscanf(f[1:], "%d", &n))(t)
			name := map[byte]string{'p': fmt.Sprint("CURRENT.", n), 'c': "CURRENT", 'b': "CURRENT.bak"}[f[0]]
			content := manifest(n).String() + "\n"
			switch f[len(f)-1] {
			case '!':
				content = content[:len(content)-1]
			case '-':
			}
			if f[len(f)-1] != '-' {
				put(t, vol, "/db/"+manifest(n).String(), "x")
			}
			put(t, vol, "/db/"+name, content)
		}
		fd, err := s.GetMeta()
		switch c.want {
		case -1:
			if err != os.ErrNotExist {
				t.Errorf("%s: %v, %v", c.files, fd, err)
			}
			continue
		case -2:
			var corrupted *storage.ErrCorrupted
			if !errors.As(err, &corrupted) || os.IsNotExist(err) {
				t.Errorf("%s: %v, %v", c.files, fd, err)
			}
			continue
		}
		if fd != manifest(c.want) || err != nil {
			t.Errorf("%s: %v, %v", c.files, fd, err)
		}
		for _, n := range must(vol.List(t.Context(), "/db"))(t) {
			if strings.HasPrefix(n, "CURRENT.") && n != "CURRENT.bak" {
				t.Errorf("%s: %s is left", c.files, n)
			}
		}
		if fd, err := s.GetMeta(); fd != manifest(c.want) || err != nil {
			t.Errorf("%s, again: %v, %v", c.files, fd, err)
		}
	}
}
