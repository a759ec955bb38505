package filesystem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// boundary is where paths may lead; nil: anywhere.
type boundary struct {
	allowed []string // as given
}

func newBoundary(allowed []string) *boundary {
	return &boundary{allowed: append([]string{}, allowed...)}
}

// check refuses a path, which need not be there yet, outside of the allowed directories. They are looked at anew each time: links change.
func (b *boundary) check(table, path string) error {
	if b == nil {
		return nil
	}
	where, err := resolve(path)
	if err != nil {
		return fmt.Errorf("table %s: option 'path': %w", table, err)
	}
	for _, dir := range b.allowed {
		allowed, err := resolve(dir)
		if err != nil {
			return fmt.Errorf("table %s: --allow-path %s: %w", table, dir, err)
		}
		if rest, err := filepath.Rel(allowed, where); err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator)) {
			return nil
		}
	}
	leads := ""
	if clean, err := filepath.Abs(path); err == nil && clean != where {
		leads = fmt.Sprintf(", which leads to %s,", where)
	}
	if len(b.allowed) == 0 {
		return fmt.Errorf("table %s: path %s%s is refused: this agent was started without --allow-path; start it with --allow-path DIR for each directory that queries may use", table, path, leads)
	}
	return fmt.Errorf("table %s: path %s%s is refused: it lies outside of what this agent allows (--allow-path %s)", table, path, leads, strings.Join(b.allowed, " --allow-path "))
}

// resolve is the absolute path with all links followed, of what is there of it.
func resolve(path string) (string, error) {
	clean, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for at, tries := clean, 0; ; {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(real, missing), nil
		}
		// A link that leads nowhere is there: what is made through it would be made at its end. What else is there was made just now, by another node's
		// lane of the same sink for one.
		info, lookErr := os.Lstat(at)
		switch {
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		case lookErr == nil && info.Mode()&fs.ModeSymlink == 0 && tries < resolveTries:
			tries++
			continue
		case !errors.Is(lookErr, fs.ErrNotExist) || at == filepath.Dir(at):
			return "", err
		}
		at, missing = filepath.Dir(at), filepath.Join(filepath.Base(at), missing)
	}
}

// resolveTries is how often what was not there may turn out to be there.
const resolveTries = 100
