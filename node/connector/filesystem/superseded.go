package filesystem

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// supersededPrefix begins the names of files that are no output any more. Like all names that begin with '_' they are hidden from
// whoever reads the directory as a table.
const supersededPrefix = "_superseded-"

// prefix begins the names of a lane's files. After a loss of seals was accepted they name the generation that sealed anew: its rows of an
// epoch are other rows than those in a file of the same epochs that an earlier generation may have published.
func (s *sink) prefix(resealed uint32, lane int) string {
	if resealed == 0 {
		return fmt.Sprintf("%016x-%04d-", s.config.Incarnation, lane)
	}
	return fmt.Sprintf("%016x.%d-%04d-", s.config.Incarnation, resealed, lane)
}

// earlierPrefixes are those under which generations before the one that sealed anew may have published.
func (l *lane) earlierPrefixes() (list []string) {
	for g := range l.sink.config.Resealed {
		if g != 1 { // the first generation has sealed nothing anew
			list = append(list, l.sink.prefix(g, l.number))
		}
	}
	return list
}

// supersede takes the names of all files of rolls from number from on that earlier generations published: the epochs are sealed anew,
// and their rows come again, in other files. The files stay, under names that nobody reads.
func (l *lane) supersede(from int64) error {
	for _, prefix := range l.earlierPrefixes() {
		numbers, err := l.published(prefix, from)
		if err != nil {
			return err
		}
		for _, number := range numbers {
			if err := l.supersedeRoll(prefix, number); err != nil {
				return err
			}
		}
		if err := l.sink.removeLeftovers(prefix, l.opening); err != nil {
			return err
		}
	}
	return nil
}

// supersedeRoll is supersede for one file, which need not be there.
func (l *lane) supersedeRoll(prefix string, number int64) error {
	name := l.named(prefix, number)
	err := os.Rename(filepath.Join(l.sink.dir, name), filepath.Join(l.sink.dir, supersededPrefix+name))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	l.unsafe = true
	if log := l.sink.config.Logger; log != nil {
		log.Warn("a file of an earlier generation is superseded: its seals were lost, and its epochs are sealed anew", "table", l.sink.config.Table,
			"directory", l.sink.dir, "file", name, "kept_as", supersededPrefix+name)
	}
	return nil
}

// published are the rolls from number from on of which files with a prefix are there, in the order of their names.
func (l *lane) published(prefix string, from int64) (numbers []int64, err error) {
	entries, err := os.ReadDir(l.sink.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var first int64
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok {
			continue
		}
		if _, err := fmt.Sscanf(rest, "%d-", &first); err != nil || first < 1 {
			continue
		}
		if number := (first - 1) / l.sink.epochs; number >= from && e.Name() == l.named(prefix, number) {
			numbers = append(numbers, number)
		}
	}
	return numbers, nil
}
