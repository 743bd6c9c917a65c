package forstfs_test

import (
	"context"
	"strings"
	"testing"

	"github.com/forst-go/forst/forstfs"
	"github.com/forst-go/forst/forstfs/driver"
)

// slowest is a store in which an upload succeeds only when nobody wants it any more.
type slowest struct {
	driver.Store
	started chan struct{} // capacity 1
}

func (s slowest) Put(ctx context.Context, key string, data []byte, o driver.PutOptions) error {
	if strings.HasPrefix(key, "data/") {
		select {
		case s.started <- struct{}{}:
		default:
		}
		<-ctx.Done()
		ctx = context.WithoutCancel(ctx)
	}
	return s.Store.Put(ctx, key, data, o)
}

// An upload for a file that has gone may end when Close has deleted everything else: its object goes, too.
func TestCloseDeletesWhatWasUploadedLast(t *testing.T) {
	b := bucket()
	s := slowest{store(t, b), make(chan struct{}, 1)}
	v, err := forstfs.Open(ctx, s, small())
	must(t, err)
	f, err := v.Create(ctx, "/1.sst", nil)
	must(t, err)
	_, err = f.Write(content(200<<10, 1))
	must(t, err)
	<-s.started
	must(t, v.Remove(ctx, "/1.sst"))
	must(t, f.Close())
	must(t, v.Close())
	if n := objects(t, b, "vol/data/"); n != 0 {
		t.Errorf("%d objects that no file needs are left", n)
	}
}
