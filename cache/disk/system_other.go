//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package disk

import "errors"

var errSystem = errors.ErrUnsupported

func lock(string) (func() error, error) { return nil, errSystem }

func noSpace(error) bool { return false }

type osSystem struct{}

func (osSystem) open(string, int64) (file, error) { return nil, errSystem }

func (osSystem) free(string) (int64, error) { return 0, errSystem }
