package filesystem

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// manifestName is the file that says whose output a directory holds. Sources do not read it.
const manifestName = "_seepnode_manifest.json"

// manifestBytesMax bounds a manifest that is read.
const manifestBytesMax = 16 << 20

// manifest is the same for all lanes of a table's sink, for as long as its query lives.
type manifest struct {
	Version       int           `json:"version"`
	Incarnation   string        `json:"incarnation"`
	Table         string        `json:"table"`
	Format        string        `json:"format"`
	Lanes         int           `json:"lanes"`
	RollingEpochs int64         `json:"rolling_epochs"`
	Schema        *batch.Schema `json:"schema"`
}

// claim makes dir the place of m's output alone: it writes the manifest, or finds it there already. A directory with anybody
// else's is refused. Lanes on several nodes may do so at once.
func (m manifest) claim(dir string) error {
	want, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	want = append(want, '\n')
	path := filepath.Join(dir, manifestName)
	held, err := readManifest(path)
	if errors.Is(err, fs.ErrNotExist) {
		// Another lane may have written the manifest and files after the look above, but not files before the manifest.
		stranger, listErr := foreignFile(dir)
		if listErr != nil {
			return listErr
		}
		held, err = readManifest(path)
		if errors.Is(err, fs.ErrNotExist) {
			if stranger != "" {
				return fmt.Errorf("directory %s holds files that no query of seepnode wrote, such as %s; empty it or give another path", dir, stranger)
			}
			if err = writeOnce(dir, manifestName, want); err != nil {
				return err
			}
			held, err = readManifest(path)
		}
	}
	if err != nil {
		return err
	}
	if bytes.Equal(held, want) {
		return nil
	}
	return m.differs(dir, held)
}

func (m manifest) differs(dir string, held []byte) error {
	var other manifest
	if err := json.Unmarshal(held, &other); err != nil {
		return fmt.Errorf("directory %s holds a manifest that cannot be read (%w); empty it or give another path", dir, err)
	}
	if other.Incarnation != m.Incarnation {
		return fmt.Errorf("directory %s holds the output of another query (incarnation %s); empty it or give another path", dir, other.Incarnation)
	}
	if other.Table != m.Table {
		return fmt.Errorf("directory %s holds the output of table %s of this query; give table %s another path", dir, other.Table, m.Table)
	}
	return fmt.Errorf("directory %s holds output of table %s in another shape (format, lanes, roll or columns); empty it or give another path", dir, other.Table)
}

func readManifest(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > manifestBytesMax {
		return nil, fmt.Errorf("%s is no manifest; remove it or give another path", path)
	}
	return os.ReadFile(path)
}

// foreignFile is the name of something in dir that is not hidden by a leading dot; "" without.
func foreignFile(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Name()[0] != '.' {
			return e.Name(), nil
		}
	}
	return "", nil
}

// writeOnce writes a file whole and durably, unless it is there already.
func writeOnce(dir, name string, content []byte) (err error) {
	f, err := createTemporary(dir, name)
	if err != nil {
		return err
	}
	defer func() {
		if removeErr := os.Remove(f.Name()); err == nil && !errors.Is(removeErr, fs.ErrNotExist) {
			err = removeErr
		}
	}()
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	final := filepath.Join(dir, name)
	if err = os.Link(f.Name(), final); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		// Not every file system has hard links; there two queries that begin in the same instant are told apart by the last one's name.
		if err = os.Rename(f.Name(), final); err != nil {
			return err
		}
	}
	return syncDirectory(dir)
}

// createTemporary makes a new hidden file of which nobody else has the name.
func createTemporary(dir, name string) (*os.File, error) {
	for {
		path := filepath.Join(dir, fmt.Sprintf(".%s.%016x%s", name, rand.Uint64(), temporarySuffix))
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// syncDirectory makes renames in dir durable, where the file system can.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
