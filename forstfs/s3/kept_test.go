package s3_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/s3"
)

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
			const n = 20
			held, err := conformance.ContextsHeld(t.Context(), n, func(ctx context.Context) error { tc.call(ctx, s); return nil })
			if err != nil || held > n/2 {
				t.Errorf("the store holds %d of %d calls (%v)", held, n, err)
			}
		})
	}
}
