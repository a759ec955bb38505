package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/seepnode/seepnode/node/connector"
)

// disk is what a lane does to a file system and what a full one may refuse. Tests put one in between that fails when it is told to.
type disk interface {
	// create makes a new file, to be read too.
	create(path string) (*os.File, error)
	writeAt(f *os.File, p []byte, at int64) (int, error)
	sync(f *os.File) error
	// link gives the file at from the name to as well, unless something has it; rename is for file systems that have no links.
	link(from, to string) error
	rename(from, to string) error
	syncDirectory(dir string) error
}

// systemDisk is the operating system's.
type systemDisk struct{}

func (systemDisk) create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
}

func (systemDisk) writeAt(f *os.File, p []byte, at int64) (int, error) { return f.WriteAt(p, at) }
func (systemDisk) sync(f *os.File) error                               { return f.Sync() }
func (systemDisk) link(from, to string) error                          { return os.Link(from, to) }
func (systemDisk) rename(from, to string) error                        { return os.Rename(from, to) }
func (systemDisk) syncDirectory(dir string) error                      { return syncDirectory(dir) }

// isFull says that a call failed for want of room.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// blocked is the error of a sink that waits for room.
func (s *sink) blocked(err error) error {
	what := fmt.Sprintf("table %s: the disk of %s is full: free space and the query goes on", s.config.Table, s.dir)
	if errors.Is(err, syscall.EDQUOT) {
		what = fmt.Sprintf("table %s: the quota for %s is used up: raise it or remove files and the query goes on", s.config.Table, s.dir)
	}
	return &connector.BlockedError{What: what, Err: err}
}

// makeDirectory makes dir and what is missing above it, durably.
func makeDirectory(dir string) error {
	var above []string
	for at := dir; ; {
		parent := filepath.Dir(at)
		if parent == at {
			break
		}
		above, at = append(above, parent), parent
		there, err := exists(parent)
		if err != nil {
			return err
		}
		if there {
			break
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, parent := range above {
		// Whoever may pass through a directory but not read it did not make anything in it.
		if err := syncDirectory(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
