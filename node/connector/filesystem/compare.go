package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Comparison is a sink that writes nothing: it holds the files that a query has published against the rows that it is given. It may be used by
// several tables and lanes at once.
type Comparison struct {
	through topology.Epoch
	within  *boundary
	found   func(FileDifference)

	mu    sync.Mutex
	lanes []*comparing
	files int
	bytes int64
}

// FileDifference is where a published file is not what the rows give.
type FileDifference struct {
	Table       string
	File        string
	First, Last topology.Epoch // of the file
	Offset      int64          // of the first byte that differs
	Text        string
}

// NewComparison compares the files of the epochs up to through, and tells of what differs. allowed is what DefinitionWithin takes; nil: any path.
func NewComparison(through topology.Epoch, allowed []string, found func(FileDifference)) *Comparison {
	c := &Comparison{through: through, found: found}
	if allowed != nil {
		c.within = newBoundary(allowed)
	}
	return c
}

// Definition declares the connector with sinks that compare.
func (c *Comparison) Definition() *connector.Definition {
	d := *definition
	d.NewSink = func(config connector.Config) (connector.Sink, error) {
		s, err := newSinkWithin(config, c.within)
		if err != nil {
			return nil, err
		}
		return &comparingSink{s.(*sink), c}, nil
	}
	return &d
}

// Compared is how many files, with how many bytes, were held against rows.
func (c *Comparison) Compared() (files int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files, c.bytes
}

// Finish looks for files of which no row came. It is called when all rows of the epochs have been written.
func (c *Comparison) Finish() error {
	c.mu.Lock()
	lanes := slices.Clone(c.lanes)
	c.mu.Unlock()
	for _, l := range lanes {
		if err := l.unexpected(); err != nil {
			return err
		}
	}
	return nil
}

type comparingSink struct {
	*sink
	comparison *Comparison
}

func (s *comparingSink) Open(_ context.Context, number int) (connector.Lane, error) {
	writing, err := format.Write(s.format, s.config)
	if err != nil {
		return nil, err
	}
	if err := s.within.check(s.config.Table, s.dir); err != nil {
		return nil, err
	}
	l := &comparing{comparison: s.comparison, filling: -1, began: -1,
		names: &lane{sink: s.sink, writing: writing, number: number, prefix: s.prefix(s.config.Resealed, number)}}
	s.comparison.mu.Lock()
	s.comparison.lanes = append(s.comparison.lanes, l)
	s.comparison.mu.Unlock()
	return l, nil
}

// comparing is a lane that compares.
type comparing struct {
	comparison *Comparison
	names      *lane // of its files; nothing else of it is used

	began           int64 // the first roll; -1 before it is known
	seen, committed topology.Epoch
	filling         int64 // the roll whose rows come; -1 none
	buffer          []byte
	at              int64    // of the file, where the buffer belongs
	file            *os.File // nil: there is none, or it differs
	rolls           []int64  // that had rows, ascending
}

// Write encodes rows as the sink would and compares.
func (l *comparing) Write(first, last topology.Epoch, rows []connector.Rows) error {
	epochs := l.names.sink.epochs
	if l.began < 0 {
		l.began = int64(first-1) / epochs
	}
	number := int64(last-1) / epochs
	if l.filling >= 0 && l.filling != number {
		if err := l.finish(); err != nil {
			return err
		}
	}
	for _, r := range rows {
		for i := r.From; i < r.To; i++ {
			if err := l.row(number, r.Batch, i); err != nil {
				return err
			}
		}
	}
	l.seen = last
	if l.filling >= 0 && int64(last)%epochs == 0 {
		return l.finish()
	}
	return nil
}

func (l *comparing) row(number int64, b *batch.Batch, i int) (err error) {
	if b.Weight(i) != batch.Insert {
		return errors.New("a retraction, and files can only be added to")
	}
	if l.filling < 0 {
		if err := l.open(number); err != nil {
			return err
		}
		l.buffer = append(l.buffer[:0], l.names.writing.Header...)
	} else if len(l.buffer) >= flushBytes {
		if err := l.compare(); err != nil {
			return err
		}
	}
	if l.buffer, err = l.names.writing.Encoder.Append(l.buffer, b, i); err != nil {
		return err
	}
	l.buffer = append(l.buffer, '\n')
	return nil
}

// open finds the file of a roll. What was published before seals were lost has the name of an earlier generation.
func (l *comparing) open(number int64) error {
	l.filling, l.at = number, 0
	l.rolls = append(l.rolls, number)
	prefixes := l.names.earlierPrefixes()
	slices.Reverse(prefixes)
	for _, prefix := range append([]string{l.names.prefix}, prefixes...) {
		f, err := os.Open(filepath.Join(l.names.sink.dir, l.names.named(prefix, number)))
		if err == nil {
			l.file = f
			l.comparison.mu.Lock()
			l.comparison.files++
			l.comparison.mu.Unlock()
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("table %s: %w", l.names.sink.config.Table, err)
		}
	}
	l.differs(l.names.path(number), 0, "it is missing")
	return nil
}

// compare holds the buffer against its place in the file, and empties it.
func (l *comparing) compare() error {
	n := len(l.buffer)
	defer func() { l.buffer, l.at = l.buffer[:0], l.at+int64(n) }()
	if l.file == nil {
		return nil
	}
	theirs := make([]byte, n)
	m, err := l.file.ReadAt(theirs, l.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("table %s: %w", l.names.sink.config.Table, err)
	}
	l.comparison.mu.Lock()
	l.comparison.bytes += int64(m)
	l.comparison.mu.Unlock()
	if m == n && bytes.Equal(l.buffer, theirs) {
		return nil
	}
	i := 0
	for i < m && l.buffer[i] == theirs[i] {
		i++
	}
	text := fmt.Sprintf("the first difference is at byte %d, in line %s of the run that was repeated", l.at+int64(i), excerpt(l.buffer, i))
	if i < m {
		text += ", which is " + excerpt(theirs[:m], i) + " in the file"
	} else {
		text = fmt.Sprintf("it ends at byte %d, and line %s of the run that was repeated is missing", l.at+int64(i), excerpt(l.buffer, i))
	}
	l.differs(l.file.Name(), l.at+int64(i), text)
	return l.close()
}

// excerptBytes is the most that a message shows of a line.
const excerptBytes = 120

// excerpt quotes the line around byte i.
func excerpt(b []byte, i int) string {
	from := bytes.LastIndexByte(b[:i], '\n') + 1
	to := len(b)
	if n := bytes.IndexByte(b[i:], '\n'); n >= 0 {
		to = i + n
	}
	if to-from > excerptBytes {
		from = max(from, i-excerptBytes/2)
		to = min(to, from+excerptBytes)
	}
	return fmt.Sprintf("%q", b[from:to])
}

// finish ends a roll: its file holds no more than its rows.
func (l *comparing) finish() error {
	if err := l.compare(); err != nil {
		return err
	}
	if l.file != nil {
		info, err := l.file.Stat()
		if err != nil {
			return err
		}
		if info.Size() != l.at {
			l.differs(l.file.Name(), l.at, fmt.Sprintf("it has %d bytes, the run that was repeated gives %d", info.Size(), l.at))
		}
	}
	l.filling = -1
	return l.close()
}

func (l *comparing) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func (l *comparing) differs(path string, offset int64, text string) {
	number := l.filling
	l.comparison.found(l.difference(path, number, offset, text))
}

func (l *comparing) difference(path string, number, offset int64, text string) FileDifference {
	epochs := l.names.sink.epochs
	return FileDifference{Table: l.names.sink.config.Table, File: path, First: topology.Epoch(number*epochs + 1), Last: topology.Epoch((number + 1) * epochs),
		Offset: offset, Text: text}
}

// unexpected tells of published files of rolls without rows.
func (l *comparing) unexpected() error {
	if l.began < 0 {
		return nil
	}
	var there []int64
	for _, prefix := range append([]string{l.names.prefix}, l.names.earlierPrefixes()...) {
		numbers, err := l.names.published(prefix, l.began)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("table %s: %w", l.names.sink.config.Table, err)
		}
		there = append(there, numbers...)
	}
	slices.Sort(there)
	for _, number := range there {
		if _, had := slices.BinarySearch(l.rolls, number); had || (number+1)*l.names.sink.epochs > int64(l.comparison.through) {
			continue
		}
		l.comparison.found(l.difference(l.names.path(number), number, 0, "it is there, and the run that was repeated gives no rows of its epochs"))
	}
	return nil
}

// Commit has nothing to show.
func (l *comparing) Commit(through topology.Epoch) error {
	l.committed = max(l.committed, topology.Epoch(int64(through)/l.names.sink.epochs*l.names.sink.epochs))
	return nil
}

func (l *comparing) Committed() topology.Epoch { return l.committed }

// End ends the last roll.
func (l *comparing) End() error {
	l.committed = max(l.committed, l.seen)
	if l.filling < 0 {
		return nil
	}
	return l.finish()
}

func (l *comparing) Close() error { return l.close() }
