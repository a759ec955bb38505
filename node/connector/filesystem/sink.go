package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	temporarySuffix = ".tmp"
	// flushBytes is how much a lane gathers before it writes.
	flushBytes = 256 << 10
)

type sink struct {
	config connector.Config
	dir    string
	format string
	epochs int64 // of a roll
}

func newSink(c connector.Config) (connector.Sink, error) {
	dir, err := tablePath(c)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(dir, "*?") {
		return nil, fmt.Errorf("table %s: option 'path' is a pattern, which only a table that is read can have", c.Table)
	}
	s := &sink{config: c, dir: filepath.Clean(dir), format: c.Get(definition, "format")}
	if s.epochs, err = rollingEpochs(c); err != nil {
		return nil, err
	}
	if _, err := format.Write(s.format, c); err != nil {
		return nil, err
	}
	return s, nil
}

// Open claims the directory and removes what an earlier writer of the lane left unfinished.
func (s *sink) Open(_ context.Context, number int) (connector.Lane, error) {
	writing, err := format.Write(s.format, s.config)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, s.failed(err)
	}
	claim := manifest{
		Version: 1, Incarnation: fmt.Sprintf("%016x", s.config.Incarnation), Table: s.config.Table, Format: s.format,
		Lanes: s.config.Lanes, RollingEpochs: s.epochs, Schema: s.config.Schema,
	}
	if err := claim.claim(s.dir); err != nil {
		return nil, s.failed(err)
	}
	l := &lane{sink: s, writing: writing, prefix: fmt.Sprintf("%016x-%04d-", s.config.Incarnation, number)}
	if err := l.removeLeftovers(); err != nil {
		return nil, s.failed(err)
	}
	return l, nil
}

func (s *sink) Close(bool) error { return nil }

func (s *sink) failed(err error) error {
	return fmt.Errorf("table %s: writing to %s: %w", s.config.Table, s.dir, err)
}

// lane writes the files of one lane. A file is begun with the first row of its roll.
type lane struct {
	sink    *sink
	writing *format.Writing
	prefix  string
	seen    topology.Epoch // the last one written, or 0
	roll    int64          // the open file's
	file    *os.File       // nil: none is open
	buffer  []byte
	err     error // the lane is broken
}

func (l *lane) removeLeftovers() error {
	entries, err := os.ReadDir(l.sink.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+l.prefix) && strings.HasSuffix(e.Name(), temporarySuffix) {
			if err := os.Remove(filepath.Join(l.sink.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// Write adds rows to the file of last's roll, and finishes files whose rolls have ended.
func (l *lane) Write(first, last topology.Epoch, rows []connector.Rows) error {
	if l.err != nil {
		return l.err
	}
	if first < 1 || last < first || l.seen != 0 && first != l.seen+1 {
		return l.broken(fmt.Errorf("epochs [%d,%d] do not follow epoch %d", first, last, l.seen))
	}
	if l.seen == 0 && int64(first-1)%l.sink.epochs != 0 {
		// Its file would hold a part of the roll and take the place of the whole.
		return l.broken(fmt.Errorf("epoch %d is not the first of a roll of %d epochs", first, l.sink.epochs))
	}
	l.seen = last
	roll := int64(last-1) / l.sink.epochs
	if l.file != nil && roll != l.roll {
		if err := l.finish(); err != nil {
			return l.broken(err)
		}
	}
	for _, r := range rows {
		for i := r.From; i < r.To; i++ {
			if err := l.row(roll, r.Batch, i); err != nil {
				return l.broken(err)
			}
		}
	}
	if l.file != nil && int64(last)%l.sink.epochs == 0 {
		if err := l.finish(); err != nil {
			return l.broken(err)
		}
	}
	return nil
}

func (l *lane) row(roll int64, b *batch.Batch, i int) (err error) {
	if b.Weight(i) != batch.Insert {
		return errors.New("a retraction, and files can only be added to")
	}
	if l.file == nil {
		if err := l.begin(roll); err != nil {
			return err
		}
	}
	if l.buffer, err = l.writing.Encoder.Append(l.buffer, b, i); err != nil {
		return err
	}
	l.buffer = append(l.buffer, '\n')
	if len(l.buffer) >= flushBytes {
		return l.flush()
	}
	return nil
}

// name is the name of a roll's file: incarnation, lane, first and last epoch.
func (l *lane) name(roll int64) string {
	return fmt.Sprintf("%s%012d-%012d%s", l.prefix, roll*l.sink.epochs+1, (roll+1)*l.sink.epochs, l.writing.Extension)
}

func (l *lane) begin(roll int64) (err error) {
	l.roll = roll
	l.buffer = append(l.buffer[:0], l.writing.Header...)
	l.file, err = createTemporary(l.sink.dir, l.name(roll))
	if err != nil {
		l.file = nil
	}
	return err
}

func (l *lane) flush() error {
	_, err := l.file.Write(l.buffer)
	l.buffer = l.buffer[:0]
	return err
}

// finish makes the open file durable and gives it its name. A file of that name holds the same rows and is replaced.
func (l *lane) finish() error {
	temporary := l.file.Name()
	err := l.flush()
	if err == nil {
		err = l.file.Sync()
	}
	err = errors.Join(err, l.file.Close())
	l.file = nil
	if err == nil {
		err = os.Rename(temporary, filepath.Join(l.sink.dir, l.name(l.roll)))
	}
	if err != nil {
		return errors.Join(err, removeIfThere(temporary))
	}
	return syncDirectory(l.sink.dir)
}

// End finishes the open file, whose roll has not ended but will get no further rows.
func (l *lane) End() error {
	if l.err != nil {
		return l.err
	}
	if l.file == nil {
		return nil
	}
	if err := l.finish(); err != nil {
		return l.broken(err)
	}
	return nil
}

// broken ends the lane: after a failure nobody knows what the file holds, so it goes.
func (l *lane) broken(err error) error {
	l.err = errors.Join(l.sink.failed(err), l.discard())
	return l.err
}

func (l *lane) discard() error {
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Close(), removeIfThere(l.file.Name()))
	l.file = nil
	return err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Close throws an unfinished file away.
func (l *lane) Close() error {
	if err := l.discard(); err != nil {
		return l.sink.failed(err)
	}
	return nil
}
