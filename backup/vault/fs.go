package vault

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is what a vault needs of a file system. OS is the real one, Memory one that loses power on demand.
type FS interface {
	MkdirAll(dir string) error
	// List gives the names in dir, in any order.
	List(dir string) ([]string, error)
	// Create makes an empty file for reading and writing, or empties the one that is there.
	Create(path string) (File, error)
	// Open opens a file for reading.
	Open(path string) (File, error)
	// Rename replaces newPath by oldPath at once.
	Rename(oldPath, newPath string) error
	Remove(path string) error
	// SyncDir makes creations, renames and removals in dir survive power loss.
	SyncDir(dir string) error
	// Lock takes the lock at path for this process; closing gives it back. It never waits.
	Lock(path string) (io.Closer, error)
	// Free is how many bytes may be written where dir is.
	Free(dir string) (uint64, error)
}

// File is an open file. It may be read while it is written.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes everything written so far survive power loss.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
}

// OS is the operating system's file system.
type OS struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// MkdirAll makes dir and what is above it, readable by its owner only.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

// List gives the names in dir.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Create makes an empty file.
func (OS) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Open opens a file for reading.
func (OS) Open(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename renames a file.
func (OS) Rename(oldPath, newPath string) error { return os.Rename(oldPath, newPath) }

// Remove removes a file.
func (OS) Remove(path string) error { return os.Remove(path) }

// SyncDir fsyncs a directory.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock locks the file at path, which is created and stays.
func (OS) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(&LockedError{Dir: filepath.Dir(path), Err: err}, f.Close())
	}
	return f, nil
}

// Free asks the file system that dir is on.
func (OS) Free(dir string) (uint64, error) { return freeBytes(dir) }

func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, errQuota)
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
