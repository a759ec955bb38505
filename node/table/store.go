package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/tail"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Store is all that a node holds of tables. Its methods may be called concurrently.
type Store struct {
	definition *connector.Definition
	shown      signal // some lane shows more, or there is another one
	hub        tail.Hub

	mu     sync.RWMutex
	tables map[name]*held
}

// signal wakes all who wait for a change. Where nobody does it costs next to nothing: lanes give one each epoch.
type signal struct {
	waits atomic.Bool
	mu    sync.Mutex
	wake  chan struct{}
}

// next gives a channel that is closed by the next tell. Take it before looking.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake == nil {
		s.wake = make(chan struct{})
		s.waits.Store(true)
	}
	return s.wake
}

func (s *signal) tell() {
	if !s.waits.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
		s.waits.Store(false)
	}
}

// name is a table of a query.
type name struct {
	query topology.QueryID
	table string
}

// held are the lanes of one table on this node.
type held struct {
	lanes []*lane      // newest first
	given atomic.Int64 // the newest epoch of which rows were read here
}

// NewStore makes the store of a node.
func NewStore() *Store {
	s := &Store{tables: map[name]*held{}}
	s.definition = &connector.Definition{
		Name: "table",
		Doc: "A materialized table: rows by primary key, kept in memory by the cluster, saved with its checkpoints and read from any node at " +
			"a consistent epoch.",
		Check: check,
		NewSink: func(c connector.Config) (connector.Sink, error) {
			if err := check(c); err != nil {
				return nil, err
			}
			return &sink{store: s, config: c, layout: newLayout(c.Schema, c.Primary)}, nil
		},
		Fused:   true,
		Updates: true,
	}
	return s
}

// Definition declares the connector; what its sinks write is read from this store.
func (s *Store) Definition() *connector.Definition { return s.definition }

func check(c connector.Config) error {
	if len(c.Primary) == 0 {
		return errors.New("connector 'table' needs a primary key: add PRIMARY KEY (column, ...) NOT ENFORCED to the table")
	}
	_, err := tail.NewEncoder(c.Table, c.Schema)
	return err
}

// Hub is where the changes of tables can be followed. Others may show there what their sinks get.
func (s *Store) Hub() *tail.Hub { return &s.hub }

// Tables lists the tables of which lanes are here, by query and name.
func (s *Store) Tables() []TableInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	infos := make([]TableInfo, 0, len(s.tables))
	for n, h := range s.tables {
		if len(h.lanes) == 0 {
			continue
		}
		info := TableInfo{Query: n.query, Table: n.table, Columns: h.lanes[0].sink.columns()}
		for _, l := range h.lanes {
			info.Ranges = append(info.Ranges, l.answering())
			info.Bytes += l.bytes.Load()
			info.Rows += l.rows.Load()
		}
		slices.SortFunc(info.Ranges, func(a, b topology.Range) int { return int(a.From) - int(b.From) })
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b TableInfo) int {
		switch {
		case a.Query.Incarnation != b.Query.Incarnation:
			return compare(a.Query.Incarnation, b.Query.Incarnation)
		case a.Query.Generation != b.Query.Generation:
			return compare(a.Query.Generation, b.Query.Generation)
		}
		return compare(a.Table, b.Table)
	})
	return infos
}

func compare[T uint32 | uint64 | string](a, b T) int {
	if a < b {
		return -1
	} else if a > b {
		return 1
	}
	return 0
}

// TableInfo is what a node holds of a table.
type TableInfo struct {
	Query   topology.QueryID `json:"query"`
	Table   string           `json:"table"`
	Columns []Column         `json:"columns"`
	Ranges  []topology.Range `json:"ranges"`
	Rows    int64            `json:"rows"`  // as of the last write
	Bytes   int64            `json:"bytes"` // of memory, as of the last write
}

// Column is a column of a table, for people.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // as SQL writes it
	Key  bool   `json:"key,omitempty"`
}

func (s *Store) open(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := l.sink.name()
	h := s.tables[n]
	if h == nil {
		h = &held{}
		s.tables[n] = h
	}
	h.lanes = slices.Insert(h.lanes, 0, l)
	s.shown.tell()
}

func (s *Store) close(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := l.sink.name()
	h := s.tables[n]
	if h == nil {
		return
	}
	h.lanes = slices.DeleteFunc(h.lanes, func(o *lane) bool { return o == l })
	if len(h.lanes) == 0 {
		delete(s.tables, n)
	}
}

// gave notes that rows of an epoch are given to a reader.
func (s *Store) gave(n name, e topology.Epoch) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h := s.tables[n]
	if h == nil {
		return
	}
	for {
		old := h.given.Load()
		if int64(e) <= old || h.given.CompareAndSwap(old, int64(e)) {
			return
		}
	}
}

// given is the newest epoch of which rows were read here.
func (s *Store) given(n name) topology.Epoch {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if h := s.tables[n]; h != nil {
		return topology.Epoch(h.given.Load())
	}
	return 0
}

// piece are key groups of a range that one lane answers for.
type piece struct {
	lane *lane
	rng  topology.Range
}

// pieces finds who answers for each key group of r: the newest lane that shows anything yet, else the newest.
func (s *Store) pieces(n name, r topology.Range) ([]piece, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h := s.tables[n]
	if h == nil || len(h.lanes) == 0 || r.Len() == 0 {
		return nil, fmt.Errorf("table %s: key groups %v: %w", n.table, r, ErrNotHere)
	}
	var found []piece
	for g := r.From; g < r.To; g++ {
		var best *lane
		for _, l := range h.lanes {
			if !l.answering().Contains(g) {
				continue
			}
			if l.shows() {
				best = l
				break
			}
			if best == nil {
				best = l
			}
		}
		if best == nil {
			return nil, fmt.Errorf("table %s: key group %d: %w", n.table, g, ErrNotHere)
		}
		if k := len(found) - 1; k >= 0 && found[k].lane == best {
			found[k].rng.To = g + 1
		} else {
			found = append(found, piece{best, topology.Range{From: g, To: g + 1}})
		}
	}
	return found, nil
}

// sink is a table of one query being written on this node.
type sink struct {
	store  *Store
	config connector.Config
	layout *layout
}

func (s *sink) name() name { return name{s.config.Query, s.config.Table} }

func (s *sink) columns() []Column {
	columns := make([]Column, len(s.config.Schema.Fields))
	for i, f := range s.config.Schema.Fields {
		columns[i] = Column{Name: f.Name, Type: f.Type.String(), Key: slices.Contains(s.config.Primary, i)}
	}
	return columns
}

// Open is for sinks that know lanes by number only.
func (s *sink) Open(context.Context, int) (connector.Lane, error) {
	return nil, errors.New("connector 'table' is opened by ranges of key groups")
}

// OpenRange opens a lane that holds nothing and shows nothing until its first Commit.
func (s *sink) OpenRange(_ context.Context, r topology.Range) (connector.Lane, error) {
	if r.Len() <= 0 {
		return nil, fmt.Errorf("table %s: no key groups in %v", s.config.Table, r)
	}
	l := newLane(s, r)
	l.tailing.part = s.store.hub.Open(tail.Shape{Query: s.config.Query, Table: s.config.Table, Schema: s.config.Schema}, r)
	s.store.open(l)
	return l, nil
}

func (s *sink) Close(bool) error { return nil }
