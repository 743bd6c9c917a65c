package s3_test

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

// callContext is a caller's, to see when nobody holds it any more.
type callContext struct {
	context.Context
	_ [1 << 10]byte // by itself in its memory
}

// TestNothingIsKeptOfACall is kept/* of the store suite for answers that a real server does not give when it is asked to.
func TestNothingIsKeptOfACall(t *testing.T) {
	content := object([]byte("0123456789"), `"e"`, -1, false)
	read := func(ctx context.Context, s *s3.Store) {
		if r, err := s.Get(ctx, "k", 0, -1); err == nil {
			_, _ = io.ReadAll(r)
			_ = r.Close()
		}
	}
	for _, tc := range []struct {
		name string
		step http.HandlerFunc
		call func(context.Context, *s3.Store)
	}{
		{"refused put", status(403), func(ctx context.Context, s *s3.Store) { _ = s.Put(ctx, "k", []byte("v"), driver.PutOptions{}) }},
		{"get, not closed, read to its end", content, func(ctx context.Context, s *s3.Store) {
			if r, err := s.Get(ctx, "k", 0, -1); err == nil {
				_, _ = io.ReadAll(r)
			}
		}},
		{"get of a wrong answer", ok, read},
		{"list", refuse(404, "NoSuchBucket"), func(ctx context.Context, s *s3.Store) {
			for range s.List(ctx, "", "") {
			}
		}},
		{"warnings", refuse(403, "AccessDenied"), func(ctx context.Context, s *s3.Store) { s.Warnings(ctx) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, tc.step)
			s := f.store(t, nil)
			var gone atomic.Int64
			const n = 10
			for range n {
				ctx, cancel := context.WithCancel(t.Context())
				own := &callContext{Context: ctx}
				runtime.AddCleanup(own, func(struct{}) { gone.Add(1) }, struct{}{})
				tc.call(own, s)
				cancel()
			}
			// What a connection still holds of its last request is not a leak.
			for end := time.Now().Add(time.Minute); gone.Load() < n-2 && time.Now().Before(end); runtime.Gosched() {
				runtime.GC()
			}
			if got := gone.Load(); got < n-2 {
				t.Errorf("the store holds %d of %d calls", n-got, n)
			}
			runtime.KeepAlive(s)
		})
	}
}
