package filesystem

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format"
)

type sink struct {
	config connector.Config
	dir    string
	format string
	epochs int64 // of a roll
	within *boundary
	disk   disk
}

func newSink(c connector.Config) (connector.Sink, error) { return newSinkWithin(c, nil) }

func newSinkWithin(c connector.Config, within *boundary) (connector.Sink, error) {
	dir, err := tablePath(c)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(dir, "*?") {
		return nil, fmt.Errorf("table %s: option 'path' is a pattern, which only a table that is read can have", c.Table)
	}
	s := &sink{config: c, dir: filepath.Clean(dir), format: c.Get(definition, "format"), within: within, disk: systemDisk{}}
	if s.epochs, err = rollingEpochs(c); err != nil {
		return nil, err
	}
	if _, err := format.Write(s.format, c); err != nil {
		return nil, err
	}
	return s, s.within.check(c.Table, s.dir)
}

// Open claims the directory and removes what dead writers of the lane left unfinished.
func (s *sink) Open(_ context.Context, number int) (connector.Lane, error) {
	writing, err := format.Write(s.format, s.config)
	if err != nil {
		return nil, err
	}
	if err := s.within.check(s.config.Table, s.dir); err != nil {
		return nil, err
	}
	if err := makeDirectory(s.dir); err != nil {
		return nil, s.failed(err)
	}
	claim := manifest{
		Version: 1, Incarnation: fmt.Sprintf("%016x", s.config.Incarnation), Table: s.config.Table, Format: s.format,
		Lanes: s.config.Lanes, RollingEpochs: s.epochs, Schema: s.config.Schema,
	}
	if err := claim.claim(s.dir); err != nil {
		return nil, s.failed(err)
	}
	l := &lane{
		sink: s, writing: writing, number: number, prefix: s.prefix(s.config.Resealed, number),
		opening: fmt.Sprintf("%016x", rand.Uint64()),
	}
	if err := s.removeLeftovers(l.prefix, l.opening); err != nil {
		return nil, s.failed(err)
	}
	return l, nil
}

func (s *sink) Close(bool) error { return nil }

// failed is the error of a call that failed; one for want of room may be tried again.
func (s *sink) failed(err error) error {
	if isFull(err) {
		return s.blocked(err)
	}
	return fmt.Errorf("table %s: writing to %s: %w", s.config.Table, s.dir, err)
}
