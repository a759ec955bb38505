package tail

import (
	stdjson "encoding/json"
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format/json"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Event is what a part of a sink got in one epoch.
type Event struct {
	Epoch topology.Epoch `json:"epoch"`
	// Range are the part's key groups.
	Range   topology.Range `json:"range"`
	Changes []Change       `json:"changes,omitempty"`
	// Dropped are rows of the part that were left out: of epochs up to Epoch, behind those of the events before. The event has no Changes then.
	Dropped int64 `json:"dropped,omitempty"`
	// Ended: these key groups get nothing any more.
	Ended bool `json:"ended,omitempty"`

	rows *Rows // what becomes Changes
}

// Change is a row with +I, -U, +U or -D; -U is directly followed by its +U.
type Change struct {
	Op    string             `json:"op"`
	Group topology.KeyGroup  `json:"group"`
	Row   stdjson.RawMessage `json:"row"`
}

// Op is what happens to a row.
type Op uint8

// The Ops. UpdateBefore is directly followed by its UpdateAfter.
const (
	Insert Op = iota
	UpdateBefore
	UpdateAfter
	Delete
)

var opNames = [...]string{Insert: "+I", UpdateBefore: "-U", UpdateAfter: "+U", Delete: "-D"}

// Shape is what a sink's rows are like.
type Shape struct {
	Query  topology.QueryID
	Table  string
	Schema *batch.Schema
	// UpsertKey are the columns by which a retraction and an insert belong together; nil: unknown.
	UpsertKey []int
}

// Rows are rows of one epoch, in order. They are not changed once they are part of an Event.
type Rows struct {
	shape *Shape
	Batch *batch.Batch
	marks []mark // one for each row of Batch
}

type mark struct {
	op    Op
	group topology.KeyGroup
}

// Mark says of the row that was appended to Batch last what happened to it, and who produced it.
func (r *Rows) Mark(op Op, group topology.KeyGroup) { r.marks = append(r.marks, mark{op, group}) }

// eventBytes is about what an event takes beside its rows, and markBytes a mark.
const (
	eventBytes = 128
	markBytes  = 8
)

// size is about how much memory the event takes, in bytes.
func (e *Event) size() int {
	if e.rows == nil {
		return eventBytes
	}
	return eventBytes + e.rows.Batch.MemBytes() + markBytes*len(e.rows.marks)
}

// count is how many rows the event is about.
func (e *Event) count() int64 {
	if e.rows == nil {
		return e.Dropped
	}
	return int64(len(e.rows.marks))
}

// show makes Changes of the rows.
func (e *Event) show() error {
	if e.rows == nil {
		return nil
	}
	r := e.rows
	encoder, err := NewEncoder(r.shape.Table, r.shape.Schema)
	if err != nil {
		return err
	}
	e.Changes = make([]Change, len(r.marks))
	for i, m := range r.marks {
		row, err := encoder.Append(nil, r.Batch, i)
		if err != nil {
			return fmt.Errorf("table %s: showing a row: %w", r.shape.Table, err)
		}
		e.Changes[i] = Change{Op: opNames[m.op], Group: m.group, Row: row}
	}
	e.rows = nil
	return nil
}

// NewEncoder is what shows rows: JSON, timestamps as in RFC 3339 (those without a zone lack it here too), decimals as numbers, BYTES in
// base64, and NaN and infinities as strings.
func NewEncoder(table string, schema *batch.Schema) (*json.Encoder, error) {
	return json.NewEncoder(connector.Config{Table: table, Schema: schema, Options: map[string]string{
		"json.timestamp-format.standard": "ISO-8601", "json.map-null-key.mode": "LITERAL", "json.map-null-key.literal": "null"}})
}
