package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// filesMax bounds the files of one table.
const filesMax = 10_000_000

// foundFile is a regular file that a path stands for.
type foundFile struct {
	path string
	size int64
}

// finder lists the files of a table.
type finder struct {
	root    string   // what to look at or below
	pattern []string // names below root, "**" for any number of directories; nil: a file, or a directory with all below it
}

func newFinder(path string) (*finder, error) {
	clean := filepath.Clean(path)
	if !strings.ContainsAny(clean, "*?[") {
		return &finder{root: clean}, nil
	}
	if _, err := os.Lstat(clean); err == nil {
		// The file is there under that very name.
		return &finder{root: clean}, nil
	}
	root, names := cutPattern(clean)
	f := &finder{root: root, pattern: names}
	for _, name := range f.pattern {
		if _, err := filepath.Match(name, ""); err != nil {
			return nil, fmt.Errorf("%q is not a pattern: %w", path, err)
		}
		if strings.Contains(name, "**") && name != "**" {
			return nil, fmt.Errorf("%q is not a pattern: '**' must stand alone between slashes", path)
		}
	}
	return f, nil
}

// cutPattern cuts a clean path that holds a pattern into the directory above the pattern and the names from there on.
func cutPattern(clean string) (root string, pattern []string) {
	names := strings.Split(clean, string(filepath.Separator))
	fixed := 0
	for !strings.ContainsAny(names[fixed], "*?[") {
		fixed++
	}
	root = strings.Join(names[:fixed], string(filepath.Separator))
	if root == "" {
		root = "."
		if names[0] == "" && fixed > 0 {
			root = string(filepath.Separator)
		}
	}
	return root, names[fixed:]
}

// fixedPart is what all files of a table's path lie in, or are.
func fixedPart(path string) string {
	f, err := newFinder(path)
	if err != nil {
		return filepath.Clean(path) // no pattern, which whoever uses it says
	}
	return f.root
}

// find lists the files. Within a directory that is read as a whole, names that begin with '.' or '_' are hidden. A pattern hides
// nothing, as with find(1), except what a sink has not finished and its manifest. A link to a file stands for it; links to
// directories are followed only when the path itself is one. What is neither file nor directory is left out.
func (f *finder) find(ctx context.Context) ([]foundFile, error) {
	var found []foundFile
	info, err := os.Stat(f.root)
	if err != nil {
		if f.pattern != nil && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	if !info.IsDir() {
		if f.pattern != nil {
			return nil, nil
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is neither a regular file nor a directory", f.root)
		}
		return append(found, foundFile{f.root, info.Size()}), nil
	}
	pattern := f.pattern
	if pattern == nil {
		err = walkAll(ctx, f.root, &found)
	} else {
		err = walkPattern(ctx, f.root, pattern, &found)
	}
	return found, err
}

func walkAll(ctx context.Context, dir string, found *[]foundFile) error {
	return eachEntry(ctx, dir, func(e fs.DirEntry) error {
		if e.Name()[0] == '.' || e.Name()[0] == '_' {
			return nil
		}
		if e.IsDir() {
			return walkAll(ctx, filepath.Join(dir, e.Name()), found)
		}
		return addFile(filepath.Join(dir, e.Name()), e, found)
	})
}

// walkPattern looks for pattern below dir. Each file is found once although "**" can match in several ways: states are the places in pattern
// that dir can have come to.
func walkPattern(ctx context.Context, dir string, pattern []string, found *[]foundFile) error {
	return walkStates(ctx, dir, pattern, closure(pattern, []int{0}), found)
}

// closure adds to states those reached by letting "**" stand for nothing. States are ascending.
func closure(pattern []string, states []int) []int {
	reached := make([]bool, len(pattern)+1)
	for _, s := range states {
		for reached[s] = true; s < len(pattern) && pattern[s] == "**"; {
			s++
			reached[s] = true
		}
	}
	states = states[:0]
	for s, ok := range reached {
		if ok {
			states = append(states, s)
		}
	}
	return states
}

func walkStates(ctx context.Context, dir string, pattern []string, states []int, found *[]foundFile) error {
	return eachEntry(ctx, dir, func(e fs.DirEntry) error {
		var next []int
		for _, s := range states {
			if s < len(pattern) && matches(pattern[s], e.Name()) {
				if pattern[s] == "**" {
					next = append(next, s)
				} else {
					next = append(next, s+1)
				}
			}
		}
		if next == nil {
			return nil
		}
		next = closure(pattern, next)
		if e.IsDir() {
			return walkStates(ctx, filepath.Join(dir, e.Name()), pattern, next, found)
		}
		if next[len(next)-1] == len(pattern) {
			return addFile(filepath.Join(dir, e.Name()), e, found)
		}
		return nil
	})
}

func matches(pattern, name string) bool {
	if name == manifestName && pattern != manifestName || name[0] == '.' && strings.HasSuffix(name, temporarySuffix) {
		return false
	}
	if pattern == "**" {
		return true
	}
	ok, err := filepath.Match(pattern, name)
	return ok && err == nil
}

// eachEntry calls f for every entry of dir, sorted by name. A directory that goes away meanwhile is empty.
func eachEntry(ctx context.Context, dir string, f func(fs.DirEntry) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// addFile adds what is a regular file, by itself or through links.
func addFile(path string, e fs.DirEntry, found *[]foundFile) error {
	if !e.Type().IsRegular() && e.Type()&fs.ModeSymlink == 0 {
		return nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	if len(*found) >= filesMax {
		return fmt.Errorf("%s: more than %d files", path, filesMax)
	}
	*found = append(*found, foundFile{path, info.Size()})
	return nil
}
