package conformance_test

import (
	"context"
	"testing"

	"github.com/forst-go/forst/conformance"
	"github.com/forst-go/forst/forstfs/driver"
	"github.com/forst-go/forst/forstfs/local"
	"github.com/forst-go/forst/forstfs/mem"
)

func memMaker() conformance.Maker {
	return conformance.Maker{Fresh: func(conformance.TB) func(context.Context) (driver.Store, error) {
		b := mem.NewBucket(nil)
		return func(context.Context) (driver.Store, error) { return b.Open("some/prefix") }
	}}
}

func localMaker() conformance.Maker {
	return conformance.Maker{Fresh: func(tb conformance.TB) func(context.Context) (driver.Store, error) {
		dir := tb.TempDir()
		return func(ctx context.Context) (driver.Store, error) { return local.Open(ctx, dir, nil) }
	}}
}

func TestStoreMem(t *testing.T)   { conformance.RunStore(t, memMaker()) }
func TestStoreLocal(t *testing.T) { conformance.RunStore(t, localMaker()) }
