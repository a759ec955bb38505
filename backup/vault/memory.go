package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Memory is a file system in memory that behaves as a real one does at its worst: what was not fsynced is torn by a power
// loss, in sectors, and directory entries that were not fsynced may be gone. For tests of whole nodes.
type Memory struct {
	mu       sync.Mutex
	names    map[string]*inode // as processes see them
	durable  map[string]*inode
	changes  []change // to names since they were durable, in order
	locks    map[string]bool
	life     int   // handles of an earlier one are dead
	capacity int64 // bytes, 0 for no limit
	hook     func(op, path string) error
}

type inode struct {
	data    []byte
	durable []byte
}

type change struct {
	path string
	node *inode // nil: removed
}

// ErrPowerLost is what files opened before a PowerLoss or a Kill answer.
var ErrPowerLost = errors.New("vault: the process that opened the file is gone")

const sectorBytes = 512

// NewMemory makes an empty file system.
func NewMemory() *Memory {
	return &Memory{names: map[string]*inode{}, durable: map[string]*inode{}, locks: map[string]bool{}}
}

// SetCapacity bounds the bytes of all files; writes beyond are cut short with ENOSPC. 0 is no limit.
func (m *Memory) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// SetHook calls hook before each operation: "create", "open", "write", "sync", "truncate", "rename", "remove", "syncdir", "read".
// An error makes the operation fail; a write then leaves half of its bytes. hook must not use the file system.
func (m *Memory) SetHook(hook func(op, path string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// Used is the bytes of all files.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used()
}

func (m *Memory) used() int64 {
	var n int64
	for _, i := range m.names {
		n += int64(len(i.data))
	}
	return n
}

// Kill ends all processes that use the file system: files and locks are gone, what was written stays.
func (m *Memory) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life++
	clear(m.locks)
}

// PowerLoss is Kill, and what was not fsynced is torn: of each file some sectors are new and some old, its length is anything
// between, and of the changes to directories a prefix stays.
func (m *Memory) PowerLoss(r *rand.Rand) {
	m.Kill()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.changes[:r.IntN(len(m.changes)+1)] {
		m.durable[c.path] = c.node
		if c.node == nil {
			delete(m.durable, c.path)
		}
	}
	m.changes = nil
	m.names = map[string]*inode{}
	paths := make([]string, 0, len(m.durable))
	for path := range m.durable {
		paths = append(paths, path)
	}
	slices.Sort(paths) // so that a seed tears in one way
	for _, path := range paths {
		i := m.durable[path]
		i.tear(r)
		m.names[path] = i
	}
}

func (i *inode) tear(r *rand.Rand) {
	short, long := min(len(i.data), len(i.durable)), max(len(i.data), len(i.durable))
	n := short + r.IntN(long-short+1)
	out := make([]byte, n)
	copy(out, i.durable)
	for at := 0; at < n; at += sectorBytes {
		if at < len(i.data) && r.IntN(3) > 0 {
			copy(out[at:min(at+sectorBytes, n)], i.data[at:])
		}
	}
	i.data, i.durable = out, slices.Clone(out)
}

// Corrupt changes a byte of a file, fsynced.
func (m *Memory) Corrupt(path string, offset int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.names[path]
	if i == nil || offset >= int64(len(i.data)) {
		return &fs.PathError{Op: "corrupt", Path: path, Err: fs.ErrNotExist}
	}
	i.data[offset] ^= 0x55
	i.durable = slices.Clone(i.data)
	return nil
}

func (m *Memory) before(op, path string) error {
	if m.hook == nil {
		return nil
	}
	if err := m.hook(op, path); err != nil {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return nil
}

// MkdirAll does nothing: directories are there.
func (m *Memory) MkdirAll(string) error { return nil }

// List gives the names in dir.
func (m *Memory) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for path := range m.names {
		if filepath.Dir(path) == filepath.Clean(dir) {
			names = append(names, filepath.Base(path))
		}
	}
	slices.Sort(names)
	return names, nil
}

// Create makes an empty file.
func (m *Memory) Create(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("create", path); err != nil {
		return nil, err
	}
	i := m.names[path]
	if i == nil {
		i = &inode{}
		m.names[path] = i
		m.changes = append(m.changes, change{path, i})
	}
	i.data = nil
	return &memoryFile{m: m, i: i, path: path, life: m.life}, nil
}

// Open opens a file.
func (m *Memory) Open(path string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("open", path); err != nil {
		return nil, err
	}
	i := m.names[path]
	if i == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &memoryFile{m: m, i: i, path: path, life: m.life}, nil
}

// Rename renames a file.
func (m *Memory) Rename(oldPath, newPath string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("rename", oldPath); err != nil {
		return err
	}
	i := m.names[oldPath]
	if i == nil {
		return &fs.PathError{Op: "rename", Path: oldPath, Err: fs.ErrNotExist}
	}
	delete(m.names, oldPath)
	m.names[newPath] = i
	// In this order, so that a power loss never takes both names away.
	m.changes = append(m.changes, change{newPath, i}, change{oldPath, nil})
	return nil
}

// Remove removes a file.
func (m *Memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("remove", path); err != nil {
		return err
	}
	if m.names[path] == nil {
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	delete(m.names, path)
	m.changes = append(m.changes, change{path, nil})
	return nil
}

// SyncDir makes the directory's entries durable.
func (m *Memory) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("syncdir", dir); err != nil {
		return err
	}
	var rest []change
	for _, c := range m.changes {
		switch {
		case filepath.Dir(c.path) != filepath.Clean(dir):
			rest = append(rest, c)
		case c.node == nil:
			delete(m.durable, c.path)
		default:
			m.durable[c.path] = c.node
		}
	}
	m.changes = rest
	return nil
}

// Lock takes a lock that Close, Kill and PowerLoss give back.
func (m *Memory) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[path] {
		return nil, &LockedError{filepath.Dir(path), errors.New("the lock is taken")}
	}
	m.locks[path] = true
	return &memoryLock{m, path, m.life}, nil
}

type memoryLock struct {
	m    *Memory
	path string
	life int
}

func (l *memoryLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.life == l.m.life {
		delete(l.m.locks, l.path)
	}
	return nil
}

// Free is what is left of the capacity.
func (m *Memory) Free(string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.capacity == 0 {
		return 1 << 40, nil
	}
	return uint64(max(0, m.capacity-m.used())), nil
}

type memoryFile struct {
	m    *Memory
	i    *inode
	path string
	life int
}

func (f *memoryFile) enter(op string) error {
	if f.life != f.m.life {
		return &fs.PathError{Op: op, Path: f.path, Err: ErrPowerLost}
	}
	return f.m.before(op, f.path)
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.enter("read"); err != nil {
		return 0, err
	}
	if off >= int64(len(f.i.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.i.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.enter("write")
	if f.life != f.m.life {
		return 0, err
	}
	if err != nil {
		p = p[:len(p)/2]
	}
	if f.m.capacity > 0 {
		room := f.m.capacity - f.m.used() + max(0, int64(len(f.i.data))-off)
		if int64(len(p)) > room {
			p = p[:max(0, room)]
			err = &fs.PathError{Op: "write", Path: f.path, Err: fmt.Errorf("memory: %w", syscall.ENOSPC)}
		}
	}
	if end := off + int64(len(p)); end > int64(len(f.i.data)) {
		f.i.data = append(f.i.data, make([]byte, end-int64(len(f.i.data)))...)
	}
	return copy(f.i.data[off:], p), err
}

func (f *memoryFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.enter("sync"); err != nil {
		return err
	}
	f.i.durable = slices.Clone(f.i.data)
	return nil
}

func (f *memoryFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.enter("truncate"); err != nil {
		return err
	}
	if size < int64(len(f.i.data)) {
		f.i.data = f.i.data[:size:size]
	}
	return nil
}

func (f *memoryFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.i.data)), nil
}

func (f *memoryFile) Close() error { return nil }
