//go:build forstmutants

package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/internal/mutant"
)

// TestMutants plants each bug and wants its check to see it; without the bug every check passes.
func TestMutants(t *testing.T) {
	for _, m := range []struct {
		id    mutant.ID
		check func(t *testing.T) error
	}{
		{mutNoFileSync, checkSyncs},
		{mutNoDirSync, checkSyncs},
		{mutReplaces, checkRace},
		{mutSeenSoon, checkSeen},
	} {
		t.Run(string(m.id), func(t *testing.T) {
			if err := m.check(t); err != nil {
				t.Fatalf("without the bug: %v", err)
			}
			defer mutant.Activate(m.id)()
			err := m.check(t)
			if err == nil {
				t.Fatal("nobody has noticed")
			}
			t.Logf("caught: %v", err)
		})
	}
}

// checkSyncs: the bytes are synced before the name exists, the name before Put returns.
func checkSyncs(t *testing.T) error {
	s := open(t, t.TempDir(), nil)
	mustPut(t, s, "d/other", "x")
	var events []string
	s.disk.syncFile = func(f *os.File, dir bool) error {
		_, err := os.Stat(filepath.Join(s.dir, "d/key"))
		events = append(events, fmt.Sprintf("directory %t, visible %t", dir, err == nil))
		return f.Sync()
	}
	mustPut(t, s, "d/key", "12345")
	if got := strings.Join(events, "; "); got != "directory false, visible false; directory true, visible true" {
		return fmt.Errorf("syncs: %s", got)
	}
	return nil
}

// checkRace: what is created while a create writes its bytes is not replaced.
func checkRace(t *testing.T) error {
	s := open(t, t.TempDir(), nil)
	first := true
	s.disk.syncFile = func(f *os.File, dir bool) error {
		if first {
			first = false
			if err := s.Put(t.Context(), "d/key", []byte("winner"), driver.PutOptions{IfAbsent: true}); err != nil {
				return err
			}
		}
		return f.Sync()
	}
	if err := s.Put(t.Context(), "d/key", []byte("loser"), driver.PutOptions{IfAbsent: true}); driver.KindOf(err) != driver.KindExist {
		return fmt.Errorf("the loser is told %v", err)
	}
	got, err := driver.ReadAll(t.Context(), s, "d/key")
	if err != nil || string(got) != "winner" {
		return fmt.Errorf("the object is %q, %v", got, err)
	}
	return nil
}

// checkSeen: what an earlier process left is synced before it is seen.
func checkSeen(t *testing.T) error {
	dir := t.TempDir()
	s := open(t, dir, nil)
	mustPut(t, s, "d/key", "x")
	s.Close()
	s = open(t, dir, nil)
	_, before := s.Syncs()
	if _, err := driver.ReadAll(t.Context(), s, "d/key"); err != nil {
		return err
	}
	if _, after := s.Syncs(); after == before {
		return fmt.Errorf("seen without a sync of its directory")
	}
	return nil
}
