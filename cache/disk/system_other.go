//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package disk

import "errors"

var errSystem = errors.ErrUnsupported

func lock(string) (func() error, error) { return nil, errSystem }

func noSpace(error) bool { return false }

type osSystem struct{}

func (osSystem) Open(string, int64) (File, error) { return nil, errSystem }

func (osSystem) Free(string) (int64, error) { return 0, errSystem }
