package filesystem

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seepnode/seepnode/node/connector"
)

// temporarySuffix ends the names of files that are not whole yet, which begin with a dot.
const temporarySuffix = ".tmp"

// copyBytes is how much of a file is in memory while it is compared or copied.
const copyBytes = 256 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// roll is the file of one roll before it has its name.
type roll struct {
	number int64
	path   string   // of the temporary file
	file   *os.File // nil: not begun, or released
	size   int64    // of what was written to it
	sum    uint32   // CRC32C of that
	synced bool
	// doubtful: a sync failed, after which the system may believe that pages are on disk which are not.
	doubtful bool
}

func (l *lane) newRoll(number int64) *roll {
	path := filepath.Join(l.sink.dir, "."+l.name(number)+"."+l.opening+temporarySuffix)
	return &roll{number: number, path: path}
}

// create begins the temporary file of r.
func (l *lane) create(r *roll) error {
	if l.marker == nil {
		m, err := newMarker(l.sink.disk, filepath.Join(l.sink.dir, markerName(l.prefix, l.opening)))
		if err != nil {
			return err
		}
		l.marker = m
	}
	f, err := l.sink.disk.create(r.path)
	if err == nil {
		r.file = f
	}
	return err
}

// append writes p behind what is there and says how much of it was written.
func (r *roll) append(d disk, p []byte) (int, error) {
	n, err := d.writeAt(r.file, p, r.size)
	r.sum = crc32.Update(r.sum, castagnoli, p[:n])
	r.size += int64(n)
	return n, err
}

// sync makes a whole roll durable.
func (r *roll) sync(d disk) error {
	if r.synced {
		return nil
	}
	if r.doubtful {
		if err := r.copyTo(d, r.file); err != nil {
			return err
		}
	}
	if err := d.sync(r.file); err != nil {
		r.doubtful = true
		return err
	}
	r.synced, r.doubtful = true, false
	return nil
}

// release makes a whole roll durable and closes its file, which is opened again when it is needed.
func (r *roll) release(d disk) error {
	if r.file == nil {
		return nil
	}
	if err := r.sync(d); err != nil {
		return err
	}
	err := r.file.Close()
	r.file = nil
	return err
}

// copyTo writes all of r's file to another one or, to have every page written again, to itself. It fails when the file does not hold what
// was written to it.
func (r *roll) copyTo(d disk, to *os.File) error {
	buf := make([]byte, copyBytes)
	var sum uint32
	for at := int64(0); at < r.size; {
		n, err := r.file.ReadAt(buf[:min(copyBytes, r.size-at)], at)
		if n == 0 && err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			break
		}
		sum = crc32.Update(sum, castagnoli, buf[:n])
		if _, err := d.writeAt(to, buf[:n], at); err != nil {
			return err
		}
		at += int64(n)
	}
	if sum != r.sum {
		return fmt.Errorf("%s does not hold what was written to it: the disk lost it, or somebody wrote to it", r.path)
	}
	return nil
}

// drop closes and removes the temporary file.
func (r *roll) drop() error {
	var err error
	if r.file != nil {
		err = r.file.Close()
		r.file = nil
	}
	return errors.Join(err, removeIfThere(r.path))
}

// place gives r its name, unless a file has it already: then that must hold the same.
func (l *lane) place(r *roll) error {
	if len(l.earlier) > 0 && l.earlier[0] < r.number {
		return l.unexpected(l.earlier[0])
	}
	there, err := exists(l.path(r.number))
	if err != nil {
		return err
	}
	if !there {
		if there, err = l.rename(r); err != nil {
			return err
		}
	}
	if there {
		if err := l.compare(r); err != nil {
			return err
		}
	}
	if len(l.earlier) > 0 && l.earlier[0] == r.number {
		l.earlier = l.earlier[1:]
	}
	return r.drop()
}

// rename gives r's durable file its name; there says that another one got it first.
func (l *lane) rename(r *roll) (there bool, err error) {
	d, final := l.sink.disk, l.path(r.number)
	for range 3 {
		if err := r.sync(d); err != nil {
			return false, err
		}
		// A link, unlike a rename, does not take the place of a file that another writer put there in this moment.
		err = d.link(r.path, final)
		switch {
		case err == nil:
			return false, nil
		case errors.Is(err, fs.ErrExist):
			return true, nil
		case isFull(err):
			return false, err
		case errors.Is(err, fs.ErrNotExist):
			if err := l.revive(r); err != nil {
				return false, err
			}
		default:
			// Not every file system has links. There a writer that was replaced may put the same bytes in place of the same bytes.
			return false, d.rename(r.path, final)
		}
	}
	return false, err
}

// revive makes the temporary file of r anew after somebody removed it, which is how a new writer of the lane tidies up after one
// it believes dead. An open file still holds what was written.
func (l *lane) revive(r *roll) error {
	if r.file == nil {
		return &connector.BlockedError{
			What: fmt.Sprintf("table %s: a temporary file of %s was removed: another process that writes this lane publishes its rows; "+
				"if there is none, restart this one", l.sink.config.Table, l.sink.dir),
			Err: &fs.PathError{Op: "link", Path: r.path, Err: fs.ErrNotExist},
		}
	}
	f, err := l.sink.disk.create(r.path)
	if err != nil {
		return err
	}
	if err := r.copyTo(l.sink.disk, f); err != nil {
		return errors.Join(err, f.Close(), removeIfThere(r.path))
	}
	old := r.file
	r.file, r.synced, r.doubtful = f, false, false
	return old.Close()
}

// compare holds the file that has r's name against r.
func (l *lane) compare(r *roll) (err error) {
	final := l.path(r.number)
	info, err := os.Stat(final)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return l.conflict(r.number, "it is no regular file")
	}
	theirs, err := os.Open(final)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, theirs.Close()) }()
	mine := r.file
	if mine == nil {
		if mine, err = os.Open(r.path); errors.Is(err, fs.ErrNotExist) {
			return l.compareSum(r, theirs)
		} else if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, mine.Close()) }()
	}
	at, same, err := firstDifference(theirs, io.NewSectionReader(mine, 0, r.size))
	if err != nil {
		return err
	}
	if !same {
		return l.conflict(r.number, fmt.Sprintf("the first difference is at byte %d; it has %d bytes, this query gives %d", at, info.Size(), r.size))
	}
	return nil
}

// compareSum is compare when nothing is left of r but length and checksum.
func (l *lane) compareSum(r *roll, theirs io.Reader) error {
	sum := crc32.New(castagnoli)
	size, err := io.Copy(sum, theirs)
	if err != nil {
		return err
	}
	if size != r.size || sum.Sum32() != r.sum {
		return l.conflict(r.number, fmt.Sprintf("it has %d bytes with checksum %08x, this query gives %d with %08x", size, sum.Sum32(), r.size, r.sum))
	}
	return nil
}

// firstDifference says at which byte a and b differ first, or that they are the same.
func firstDifference(a, b io.Reader) (at int64, same bool, err error) {
	bufA, bufB := make([]byte, copyBytes), make([]byte, copyBytes)
	for {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		for _, err := range []error{errA, errB} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return 0, false, err
			}
		}
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			i := 0
			for i < min(n, m) && bufA[i] == bufB[i] {
				i++
			}
			return at + int64(i), false, nil
		}
		if n < copyBytes {
			return 0, true, nil
		}
		at += int64(n)
	}
}

func (l *lane) unexpected(number int64) error {
	return l.conflict(number, "this query gives no rows there; the first difference is at byte 0")
}

func (l *lane) conflict(number int64, how string) error {
	return &connector.ConflictError{What: fmt.Sprintf("table %s: file %s, lane %d, epochs %d to %d, is there already and differs from what this query gives: %s. "+
		"Another query writes to the same directory, somebody changed the file, or an operator is not deterministic",
		l.sink.config.Table, l.path(number), l.number, number*l.sink.epochs+1, (number+1)*l.sink.epochs, how)}
}
