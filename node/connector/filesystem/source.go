package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format"
)

// splitsMax bounds the splits of one table.
const splitsMax = 20_000_000

type source struct {
	config    connector.Config
	settings  sourceSettings
	format    string
	multiline bool
	finder    *finder
	within    *boundary

	mu    sync.Mutex
	found []connector.Split // of a bounded source: the answer it stays with
	sums  []int64           // of a limited rate: bytes of the splits before each of found
}

func newSource(c connector.Config) (connector.Source, error) { return newSourceWithin(c, nil) }

func newSourceWithin(c connector.Config, within *boundary) (connector.Source, error) {
	path, err := tablePath(c)
	if err != nil {
		return nil, err
	}
	settings, err := sourceOptions(c)
	if err != nil {
		return nil, err
	}
	s := &source{config: c, settings: settings, format: c.Get(definition, "format"), within: within}
	reading, err := format.Read(s.format, c)
	if err != nil {
		return nil, err
	}
	s.multiline = reading.Multiline
	if s.finder, err = newFinder(path); err != nil {
		return nil, fmt.Errorf("table %s: option 'path': %w", c.Table, err)
	}
	return s, within.check(c.Table, s.finder.root)
}

func (s *source) Bounded() bool { return !s.settings.following }

func (s *source) MonitorInterval() time.Duration { return s.settings.interval }

// Discover lists the files. A bounded source keeps to what it found at first: later bytes are not its.
func (s *source) Discover(ctx context.Context) ([]connector.Split, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.found != nil {
		return s.found, nil
	}
	files, err := s.finder.find(ctx)
	if errors.Is(err, fs.ErrNotExist) && s.settings.following {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("table %s: looking for files: %w", s.config.Table, err)
	}
	if len(files) == 0 && s.finder.pattern != nil && !s.settings.following {
		return nil, fmt.Errorf("table %s: no file matches option 'path' = '%s'", s.config.Table, s.config.Get(definition, "path"))
	}
	splits := []connector.Split{}
	for _, f := range files {
		if s.settings.regex != nil && !s.settings.regex.MatchString(f.path) {
			continue
		}
		if splits = s.cut(splits, f); len(splits) > splitsMax {
			return nil, fmt.Errorf("table %s: more than %d splits; set 'source.split.bytes' higher", s.config.Table, splitsMax)
		}
	}
	sort.Slice(splits, func(i, j int) bool { return splits[i].ID < splits[j].ID })
	if !s.settings.following {
		s.found = splits
	}
	return splits, nil
}

// cut appends the splits of a file.
func (s *source) cut(splits []connector.Split, f foundFile) []connector.Split {
	if s.settings.following {
		return append(splits, connector.Split{ID: f.path + ":0-"})
	}
	length := s.settings.splitBytes
	if s.multiline || f.size == 0 {
		length = max(f.size, 1)
	}
	width := len(strconv.FormatInt(f.size, 10))
	for from := int64(0); from < max(f.size, 1); from += length {
		to := f.size
		if length < f.size-from {
			to = from + length
		}
		splits = append(splits, connector.Split{ID: fmt.Sprintf("%s:%0*d-%0*d/%d", f.path, width, from, width, to, f.size)})
	}
	return splits
}

// byteRange is what a split's ID says: records that start in [from, to) of the first size bytes of the file at path.
type byteRange struct {
	path           string
	from, to, size int64
	open           bool // no end: following
}

func parseSplit(id string) (r byteRange, err error) {
	colon := strings.LastIndexByte(id, ':')
	if colon < 0 {
		return r, fmt.Errorf("%q is not a split of files", id)
	}
	r.path = id[:colon]
	if id[colon+1:] == "0-" {
		r.open = true
		return r, nil
	}
	numbers, size, ok1 := strings.Cut(id[colon+1:], "/")
	from, to, ok2 := strings.Cut(numbers, "-")
	var errs [3]error
	r.from, errs[0] = strconv.ParseInt(from, 10, 64)
	r.to, errs[1] = strconv.ParseInt(to, 10, 64)
	r.size, errs[2] = strconv.ParseInt(size, 10, 64)
	if !ok1 || !ok2 || errors.Join(errs[:]...) != nil || r.from < 0 || r.to < r.from || r.size < r.to {
		return r, fmt.Errorf("%q is not a split of files", id)
	}
	return r, nil
}

// Open makes a reader; the file is opened by its first Read.
func (s *source) Open(ctx context.Context, split connector.Split, offset int64) (connector.Reader, error) {
	where, err := parseSplit(split.ID)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", s.config.Table, err)
	}
	if offset < 0 {
		return nil, fmt.Errorf("table %s: split %s has no offset %d", s.config.Table, split.ID, offset)
	}
	// The file found may be a link to one elsewhere.
	if err := s.within.check(s.config.Table, where.path); err != nil {
		return nil, err
	}
	reading, err := format.Read(s.format, s.config)
	if err != nil {
		return nil, err
	}
	r := &reader{source: s, split: split.ID, where: where, reading: reading, skip: s.settings.skip || reading.Lenient}
	r.offset, r.window.at = offset, offset
	if s.settings.rate > 0 {
		if r.before, err = s.before(ctx, split); err != nil {
			return nil, err
		}
	}
	// A split that is not a file's first begins in the middle of a record that is the split's before.
	r.seek = offset == 0 && where.from > 0
	r.header = offset == 0 && where.from == 0 && reading.Header
	return r, nil
}

// before is how many bytes the splits before one hold, which are due earlier.
func (s *source) before(ctx context.Context, split connector.Split) (int64, error) {
	splits, err := s.Discover(ctx)
	if err != nil {
		return 0, err
	}
	i, there := slices.BinarySearchFunc(splits, split.ID, func(s connector.Split, id string) int { return strings.Compare(s.ID, id) })
	if !there {
		return 0, fmt.Errorf("table %s: split %s is not among the files any more, or its file has changed", s.config.Table, split.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sums == nil {
		s.sums = make([]int64, len(splits))
		sum := int64(0)
		for k := range splits {
			where, err := parseSplit(splits[k].ID)
			if err != nil {
				return 0, fmt.Errorf("table %s: %w", s.config.Table, err)
			}
			s.sums[k] = sum
			sum += where.to - where.from
		}
	}
	return s.sums[i], nil
}
