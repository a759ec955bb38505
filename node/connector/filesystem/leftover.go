package filesystem

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// markerBytesMax bounds what is read of a marker.
const markerBytesMax = 1 << 10

// marker is a file that a writer of a lane makes before its first temporary file, holds locked while it lives and removes last. It holds
// the host's name: locks are not seen from everywhere, so only a writer on the same host can be known to be dead.
type marker struct {
	path string
	file *os.File
}

func markerName(prefix, opening string) string {
	return "." + prefix + "writer." + opening + temporarySuffix
}

func newMarker(d disk, path string) (*marker, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	f, err := d.create(path)
	if err != nil {
		return nil, err
	}
	m := &marker{path, f}
	// Locked before it says whose it is: who can read that finds it locked. Without locks it never says it.
	locked, err := lock(f)
	if err == nil && locked {
		_, err = d.writeAt(f, []byte(host), 0)
	}
	if err != nil {
		return nil, errors.Join(err, m.remove())
	}
	return m, nil
}

func (m *marker) remove() error {
	return errors.Join(removeIfThere(m.path), m.file.Close())
}

// removeLeftovers removes temporary files of the lane whose names begin with prefix: those of writers that are certainly dead, and those
// of rolls that were published. own is the asking writer's opening.
func (s *sink) removeLeftovers(prefix, own string) (err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	dead := map[string]bool{}
	var markers []*marker
	defer func() {
		for _, m := range markers {
			err = errors.Join(err, m.remove())
		}
	}()
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), temporarySuffix)
		if !ok || !strings.HasPrefix(name, "."+prefix) {
			continue
		}
		final, opening, ok := cutLast(name[1:])
		if !ok || opening == own {
			continue
		}
		if _, known := dead[opening]; !known {
			m, isDead, err := s.probe(prefix, opening)
			if err != nil {
				return err
			}
			if m != nil {
				markers = append(markers, m)
			}
			dead[opening] = isDead
		}
		if e.Name() == markerName(prefix, opening) {
			continue
		}
		published, err := exists(filepath.Join(s.dir, final))
		if err != nil {
			return err
		}
		if dead[opening] || published {
			if err := removeIfThere(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return err
}

// cutLast cuts at the last dot.
func cutLast(name string) (before, after string, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// probe says whether a writer is dead. Its marker, if there is one, is then locked by the caller, who removes it.
func (s *sink) probe(prefix, opening string) (m *marker, isDead bool, err error) {
	path := filepath.Join(s.dir, markerName(prefix, opening))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, false, nil // another user's: who knows
	}
	if err != nil {
		return nil, false, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	text, err := io.ReadAll(io.LimitReader(f, markerBytesMax))
	if err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	if string(text) != host {
		return nil, false, f.Close()
	}
	if locked, err := lock(f); err != nil || !locked {
		return nil, false, errors.Join(err, f.Close())
	}
	return &marker{path, f}, true, nil
}
