package local

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/forst-go/forst/forstfs/driver"
)

func TestSyncsPerPut(t *testing.T) {
	ctx := context.Background()
	s, err := Open(ctx, filepath.Join(t.TempDir(), "a/b"), &Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := func(key string) (files, dirs int64) {
		t.Helper()
		f0, d0 := s.Syncs()
		if err := s.Put(ctx, key, []byte(key), driver.PutOptions{IfAbsent: true}); err != nil {
			t.Fatal(err)
		}
		f1, d1 := s.Syncs()
		return f1 - f0, d1 - d0
	}
	if f, d := put("journal/0/1"); f != 1 || d != 3 {
		t.Errorf("first Put in two new directories: %d file syncs and %d directory syncs, want 1 and 3", f, d)
	}
	if f, d := put("journal/0/2"); f != 1 || d != 1 {
		t.Errorf("Put into a known directory: %d file syncs and %d directory syncs, want 1 and 1", f, d)
	}
	got, err := driver.ListAll(ctx, s, "", "")
	if err != nil || len(got) != 2 {
		t.Fatalf("%v %v", got, err)
	}
}
