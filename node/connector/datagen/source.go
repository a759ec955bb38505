package datagen

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
)

type source struct {
	name  string
	table *table
}

func newSource(c connector.Config) (connector.Source, error) {
	t, err := newTable(c)
	if err != nil {
		return nil, err
	}
	return &source{name: nameOf(c), table: t}, nil
}

// Discover lists the splits; their IDs are their numbers, padded so that they sort.
func (s *source) Discover(context.Context) ([]connector.Split, error) {
	splits := make([]connector.Split, s.table.splits)
	for i := range splits {
		splits[i].ID = fmt.Sprintf("%04d", i)
	}
	return splits, nil
}

func (s *source) Bounded() bool { return s.table.bounded }

func (s *source) MonitorInterval() time.Duration { return 0 }

// Open starts at the row of the split numbered offset.
func (s *source) Open(_ context.Context, split connector.Split, offset int64) (connector.Reader, error) {
	number, err := strconv.ParseUint(split.ID, 10, 32)
	if err != nil || number >= s.table.splits {
		return nil, fmt.Errorf("table %s: has no split %q", s.name, split.ID)
	}
	if offset < 0 || uint64(offset) > s.table.rows {
		return nil, fmt.Errorf("table %s: split %s has no offset %d", s.name, split.ID, offset)
	}
	r := &reader{table: s.table, split: number, next: uint64(offset), rows: share(s.table.rows, number, s.table.splits)}
	for _, g := range s.table.columns {
		r.columns = append(r.columns, g.clone())
	}
	return r, nil
}

// share is how many of the rows [0, rows) of the table belong to a split.
func share(rows, split, splits uint64) uint64 {
	if rows <= split {
		return 0
	}
	return (rows-split-1)/splits + 1
}

type reader struct {
	table   *table
	columns []*generator
	split   uint64
	next    uint64 // row of the split
	rows    uint64 // of the split
}

func (r *reader) Offset() int64 { return int64(r.next) }

func (r *reader) Close() error { return nil }

// Backlog implements connector.Backlog.
func (r *reader) Backlog(elapsedMs int64) (rows int64, known bool) {
	t := r.table
	if !t.limited || elapsedMs < 0 {
		return 0, false
	}
	due := min(r.rows, share(t.pace.rows(uint64(elapsedMs)), r.split, t.splits))
	return int64(due - min(due, r.next)), true
}

func (r *reader) Read(out *batch.Batch, limit connector.Limit) (connector.Status, error) {
	if r.next >= r.rows {
		return connector.End, nil
	}
	t := r.table
	due := r.rows
	if limit.ElapsedMs >= 0 && t.limited {
		due = min(due, share(t.pace.rows(uint64(limit.ElapsedMs)), r.split, t.splits))
	}
	if due <= r.next {
		return connector.Idle, nil
	}
	n := int(min(due-r.next, uint64(max(limit.Rows, 1)), uint64(max(limit.Bytes/t.rowBytes, 1))))
	first := r.next*t.splits + r.split
	for i, g := range r.columns {
		g.fill(&out.Cols[i], n, counter{first, t.splits}, counter{first, t.splits})
	}
	if out.Weights == nil {
		out.SetLen(out.Len() + n)
	} else {
		for range n {
			out.EndRow(batch.Insert)
		}
	}
	r.next += uint64(n)
	switch r.next {
	case r.rows:
		return connector.End, nil
	case due:
		return connector.Idle, nil
	}
	return connector.More, nil
}
