//go:build !(linux || darwin || freebsd)

package vault

import (
	"errors"
	"os"
	"syscall"
)

var errQuota error = syscall.ENOSPC

func lockFile(*os.File) error {
	return errors.New("locking a vault's directory is not supported on this system")
}

func freeBytes(string) (uint64, error) {
	return 0, errors.New("free bytes are not supported on this system")
}
