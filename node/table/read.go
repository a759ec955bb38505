package table

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	formatjson "github.com/seepnode/seepnode/node/connector/format/json"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/tail"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// BytesMax bounds the rows of one answer, and what a read holds of rows that it may have to answer, in bytes.
	BytesMax = 64 << 20
	// KeysMax is the most keys of one request.
	KeysMax = 10_000
	// scanRows entries or scanBytes of rows are what a scan looks at before it lets the writer in.
	scanRows  = 1024
	scanBytes = 1 << 20
	// waitMax bounds the time that a peek waits.
	waitMax  = time.Second
	hitBytes = 24 // of a row that may be in the answer, beside its order
)

// Request asks for rows of a table.
type Request struct {
	Query topology.QueryID `json:"query"`
	Table string           `json:"table"`
	// Range are the key groups asked for; a Reader takes an empty one for all.
	Range topology.Range `json:"range"`
	// Epoch names the cut; 0: the newest that is visible.
	Epoch topology.Epoch `json:"epoch,omitempty"`
	// AtLeast is the newest epoch that the caller has seen: the Reader waits for it.
	AtLeast topology.Epoch `json:"at_least,omitempty"`
	// Peek asks for Epoch and Ended of the answer; with Keys for their rows at this epoch, too, once AtLeast is shown.
	Peek bool `json:"peek,omitempty"`
	// WaitMs is how long Store.Read may wait, when Peek is set, until it shows AtLeast; the Reader fills it in.
	WaitMs int64 `json:"wait_ms,omitempty"`
	// Keys are primary keys, each with one text per key column in the order of PRIMARY KEY, as SQL writes values (BYTES in base64). nil:
	// all rows are looked at.
	Keys [][]string `json:"keys,omitempty"`
	// Where is a condition over the columns, "" none.
	Where string `json:"where,omitempty"`
	// OrderBy is a column, "" none: rows come by primary key. Null is the least value. Rows that are equal there come by primary key.
	OrderBy string `json:"order_by,omitempty"`
	Desc    bool   `json:"desc,omitempty"` // of OrderBy
	Limit   int    `json:"limit,omitempty"`
}

// Response are rows at an epoch.
type Response struct {
	Epoch topology.Epoch `json:"epoch"`
	// Ended: nothing changes any more; every later epoch is like this one.
	Ended   bool     `json:"ended,omitempty"`
	Columns []Column `json:"columns,omitempty"`
	Rows    []Row    `json:"rows"`
	// Read says of the answer to a Peek that it has the rows.
	Read bool `json:"read,omitempty"`
	// Given is, after a Peek, the newest epoch of which rows were given by who answers.
	Given topology.Epoch `json:"given,omitempty"`
	// Count and Bytes of memory are, after a Peek, those of the parts that hold the range, as of their last write.
	Count int64 `json:"count,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
}

// Row is a row: an object with the columns in the table's order.
type Row struct {
	Values json.RawMessage `json:"values"`
	// Order sorts rows of several answers to one request bytewise.
	Order []byte `json:"order,omitempty"`
}

// Read answers for key groups that are on this node. Errors: ErrNotHere, *NotVisibleError, *TrimmedError, *RequestError, *TooLargeError,
// an *ast.Error for the condition,
// and ctx's. The answer is the caller's.
func (s *Store) Read(ctx context.Context, r Request) (Response, error) {
	if r.Peek {
		return s.peek(ctx, r)
	}
	for tried := topology.Epoch(-1); ; {
		response, err := s.read(ctx, r)
		// The newest epoch may be trimmed before it is pinned, when a newer one is visible: that is read then.
		trimmed := (*TrimmedError)(nil)
		if r.Epoch != 0 || !errors.As(err, &trimmed) || trimmed.Epoch <= tried {
			return response, err
		}
		tried = trimmed.Epoch
	}
}

// read answers for the newest epoch as it is found first, when none is named.
func (s *Store) read(ctx context.Context, r Request) (Response, error) {
	pieces, err := s.pieces(name{r.Query, r.Table}, r.Range)
	if err != nil {
		return Response{}, err
	}
	newest, ended, err := newestOf(pieces)
	if r.Epoch == 0 && err != nil {
		return Response{}, err
	}
	if r.Epoch == 0 {
		r.Epoch = newest
	}
	q, err := newScan(pieces[0].lane.sink, r)
	if err != nil {
		return Response{}, err
	}
	var pinned []*lane
	defer func() {
		for _, l := range pinned {
			l.unpin(r.Epoch)
		}
	}()
	for _, p := range pieces {
		if err := p.lane.pin(r.Epoch, p.rng); err != nil {
			return Response{}, err
		}
		pinned = append(pinned, p.lane)
	}
	for _, p := range pieces {
		for g := p.rng.From; g < p.rng.To; g++ {
			if err := ctx.Err(); err != nil {
				return Response{}, err
			}
			if err := q.group(p.lane.group(g)); err != nil {
				return Response{}, err
			}
		}
	}
	response := Response{Epoch: r.Epoch, Ended: ended && newest <= r.Epoch, Columns: pieces[0].lane.sink.columns()}
	if response.Rows, err = q.rows(); err == nil {
		s.gave(name{r.Query, r.Table}, min(r.Epoch, newest)) // one that has ended is asked for any epoch
	}
	return response, err
}

// peek tells what can be read, waiting for r.AtLeast as long as r.WaitMs allows.
func (s *Store) peek(ctx context.Context, r Request) (Response, error) {
	wait := time.NewTimer(min(time.Duration(r.WaitMs)*time.Millisecond, waitMax))
	defer wait.Stop()
	for last := r.WaitMs <= 0; ; {
		var shown <-chan struct{}
		if !last {
			shown = s.shown.next()
		}
		pieces, err := s.pieces(name{r.Query, r.Table}, r.Range)
		var answer Response
		if err == nil {
			answer.Columns = pieces[0].lane.sink.columns()
			answer.Epoch, answer.Ended, err = newestOf(pieces)
			answer.Count, answer.Bytes = sizeOf(pieces)
			answer.Given = s.given(name{r.Query, r.Table})
		}
		shows := err == nil && (answer.Ended || answer.Epoch >= r.AtLeast)
		if shows && r.Keys != nil && answer.Epoch > 0 {
			s.readAt(ctx, r, &answer)
		}
		if last || shows {
			return answer, err
		}
		select {
		case <-shown:
		case <-wait.C:
			last = true
		case <-ctx.Done():
			return Response{}, ctx.Err()
		}
	}
}

// readAt puts the rows that a peek asks for into its answer. One that cannot be given is left to the read that follows the peek: its epoch has
// just been trimmed, or the request is wrong.
func (s *Store) readAt(ctx context.Context, r Request, answer *Response) {
	r.Peek, r.Epoch = false, answer.Epoch
	if got, err := s.read(ctx, r); err == nil {
		answer.Rows, answer.Read = got.Rows, true
	}
}

// sizeOf adds up what the lanes of pieces hold.
func sizeOf(pieces []piece) (rows, bytes int64) {
	var seen []*lane
	for _, p := range pieces {
		if !slices.Contains(seen, p.lane) {
			seen = append(seen, p.lane)
			rows, bytes = rows+p.lane.rows.Load(), bytes+p.lane.bytes.Load()
		}
	}
	return rows, bytes
}

// newestOf is the newest epoch that all pieces show; the last one of all when all have ended.
func newestOf(pieces []piece) (newest topology.Epoch, ended bool, err error) {
	last := topology.Epoch(0)
	newest, ended = topology.EpochForever, true
	for _, p := range pieces {
		_, visible, over, ok := p.lane.bounds()
		if !ok {
			return 0, false, &NotVisibleError{}
		}
		last = max(last, visible)
		if !over {
			newest, ended = min(newest, visible), false
		}
	}
	if ended {
		newest = last
	}
	return newest, ended, nil
}

// scan is one Store.Read under way.
type scan struct {
	request   Request
	sink      *sink
	layout    *layout
	condition *expr.Program
	order     int      // column, -1 none
	keys      [][]byte // canonical, ascending; nil: all
	// decodes says that rows have to be decoded to be judged and ordered, rather than looked at by key alone.
	decodes bool

	batch    *batch.Batch
	at       []found // where the rows of batch are
	selected []uint32
	hits     []hit
	orders   []byte // what hits sort by
	scratch  []byte
}

type found struct {
	group *group
	entry uint32
}

// hit is a row that may be in the answer.
type hit struct {
	found
	from, to uint32 // of orders
}

func newScan(s *sink, r Request) (*scan, error) {
	q := &scan{request: r, sink: s, layout: s.layout, order: -1, batch: batch.New(s.config.Schema)}
	if r.Limit < 0 {
		return nil, &RequestError{fmt.Sprintf("the limit %d is negative", r.Limit)}
	}
	if r.OrderBy != "" {
		if q.order = s.config.Schema.Index(r.OrderBy); q.order < 0 {
			return nil, &RequestError{fmt.Sprintf("order by: table %s has no column %q; there are %s", r.Table, r.OrderBy, columnNames(s.config.Schema))}
		}
	}
	var err error
	if r.Where != "" {
		if q.condition, err = compileCondition(r.Where, r.Table, s.config.Schema); err != nil {
			return nil, err
		}
	}
	if r.Keys != nil {
		if q.keys, err = ParseKeys(s.config.Schema, s.config.Primary, r.Keys); err != nil {
			return nil, err
		}
	}
	q.decodes = q.condition != nil || q.order >= 0
	return q, nil
}

// group looks at one key group.
func (q *scan) group(g *group) error {
	for from, more := 0, true; more; {
		g.mu.RLock()
		var err error
		from, more, err = q.chunk(g, from)
		g.mu.RUnlock()
		if err != nil {
			return err
		}
		if err := q.judge(); err != nil {
			return err
		}
	}
	return nil
}

// chunk takes the rows of some entries or keys, from number from on, and says where to go on. g.mu is held.
func (q *scan) chunk(g *group, from int) (next int, more bool, err error) {
	end := len(g.keyAt)
	if q.keys != nil {
		end = len(q.keys)
	}
	size := 0
	for next = from; next < min(from+scanRows, end) && size < scanBytes; next++ {
		entry, ok := uint32(next), true
		if q.keys != nil {
			key := q.keys[next]
			_, entry, ok = g.find(batch.HashKey(key), key)
		}
		if !ok {
			continue
		}
		row, ok := g.at(entry, q.request.Epoch)
		if !ok {
			continue
		}
		size += len(row) + len(g.key(entry))
		if !q.decodes {
			q.hit(found{g, entry}, -1, g.key(entry))
			continue
		}
		if err := q.layout.decode(q.batch, g.key(entry), row); err != nil {
			return next, false, fmt.Errorf("table %s: a row in memory: %w", q.request.Table, err)
		}
		q.at = append(q.at, found{g, entry})
	}
	return next, next < end, nil
}

// judge decides about the rows of the batch and empties it.
func (q *scan) judge() (err error) {
	n := q.batch.Len()
	q.selected = q.selected[:0]
	switch {
	case n == 0:
	case q.condition != nil:
		if q.selected, err = q.condition.Filter(q.selected, q.batch, nil); err != nil {
			if row := (*expr.RowError)(nil); errors.As(err, &row) {
				return row.Err // the number of the row says nothing here
			}
			return err
		}
	default:
		for i := range n {
			q.selected = append(q.selected, uint32(i))
		}
	}
	for _, i := range q.selected {
		q.scratch = q.layout.appendKey(q.scratch[:0], q.batch, int(i))
		q.hit(q.at[i], int(i), q.scratch)
	}
	q.batch.Reset()
	q.at = q.at[:0]
	if used := len(q.orders) + hitBytes*len(q.hits); used > BytesMax || q.request.Limit > 0 && len(q.hits) >= 2*q.request.Limit+scanRows {
		if q.request.Limit > 0 {
			q.best()
			used = len(q.orders) + hitBytes*len(q.hits)
		}
		if used > BytesMax {
			return &TooLargeError{BytesMax}
		}
	}
	return nil
}

func (q *scan) hit(at found, row int, key []byte) {
	from := len(q.orders)
	if q.order >= 0 {
		q.orders = batch.AppendKeyColumn(q.orders, &q.batch.Cols[q.order], row, false)
		if q.request.Desc { // no encoding of a value begins another one's, so the complement turns the order
			for i := from; i < len(q.orders); i++ {
				q.orders[i] = ^q.orders[i]
			}
		}
	}
	q.orders = append(q.orders, key...)
	q.hits = append(q.hits, hit{at, uint32(from), uint32(len(q.orders))})
}

// best sorts the hits and leaves those within the limit.
func (q *scan) best() {
	slices.SortFunc(q.hits, func(a, b hit) int { return bytes.Compare(q.orders[a.from:a.to], q.orders[b.from:b.to]) })
	if q.request.Limit == 0 || len(q.hits) <= q.request.Limit {
		return
	}
	q.hits = q.hits[:q.request.Limit]
	var orders []byte
	for i := range q.hits {
		h := &q.hits[i]
		from := len(orders)
		orders = append(orders, q.orders[h.from:h.to]...)
		h.from, h.to = uint32(from), uint32(len(orders))
	}
	q.orders = orders
}

// rows shows the hits, in order.
func (q *scan) rows() ([]Row, error) {
	q.best()
	encoder, err := tail.NewEncoder(q.request.Table, q.sink.config.Schema)
	if err != nil {
		return nil, err
	}
	rows := make([]Row, 0, len(q.hits))
	total := 0
	for _, h := range q.hits {
		values, err := q.show(encoder, h.found)
		if err != nil {
			return nil, fmt.Errorf("table %s: showing a row: %w", q.request.Table, err)
		}
		order := q.orders[h.from:h.to:h.to]
		if total += len(values) + len(order); total > BytesMax {
			return nil, &TooLargeError{BytesMax}
		}
		rows = append(rows, Row{Values: values, Order: order})
	}
	return rows, nil
}

func (q *scan) show(encoder *formatjson.Encoder, at found) ([]byte, error) {
	q.batch.Reset()
	at.group.mu.RLock()
	row, ok := at.group.at(at.entry, q.request.Epoch)
	var err error
	if !ok {
		err = errBadRow
	} else {
		err = q.layout.decode(q.batch, at.group.key(at.entry), row)
	}
	at.group.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	return encoder.Append(nil, q.batch, 0)
}
