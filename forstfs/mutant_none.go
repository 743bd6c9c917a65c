//go:build !forstmutants

package forstfs

import (
	"context"

	"github.com/forst-go/forst/internal/namespace"
)

// These exist under the build tag forstmutants only.
func (v *FS) sweepEarly(context.Context)  {}
func (v *FS) packUnseen(op *namespace.Op) {}
