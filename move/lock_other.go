//go:build !unix || solaris || aix

package move

import (
	"errors"
	"os"
)

// lockDatabase cannot tell here whether the database is open, so it refuses.
func lockDatabase(*os.Root) (unlock func(), err error) {
	return nil, errors.Join(errors.ErrUnsupported, errors.New("this system has no flock: import on another machine"))
}
