package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/seepnode/seepnode/node/table"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// textBytesMax bounds how much of the rows of a table is kept to name what differs; beyond it hashes must do.
const textBytesMax = 32 << 20

// Rows are the rows of a materialized table at an epoch, as its readers see them.
type Rows struct {
	pieces []piece
	texts  int // bytes
	count  int64
}

// piece are the rows of a range of key groups, by primary key.
type piece struct {
	rng    topology.Range
	hashes []uint64
	rows   []json.RawMessage // nil when they were too much to keep
}

// ReadTable reads all key groups of a table with read, which reads a range of them at an epoch: in pieces when they are too much for
// one answer.
func ReadTable(groups int, read func(topology.Range) ([]table.Row, error)) (*Rows, error) {
	r := &Rows{}
	return r, r.read(topology.Range{To: topology.KeyGroup(groups)}, read)
}

func (r *Rows) read(rng topology.Range, read func(topology.Range) ([]table.Row, error)) error {
	rows, err := read(rng)
	var large *table.TooLargeError
	if errors.As(err, &large) && rng.Len() > 1 {
		middle := rng.From + topology.KeyGroup(rng.Len()/2)
		if err := r.read(topology.Range{From: rng.From, To: middle}, read); err != nil {
			return err
		}
		return r.read(topology.Range{From: middle, To: rng.To}, read)
	}
	if err != nil {
		return err
	}
	p := piece{rng: rng, hashes: make([]uint64, len(rows))}
	size := 0
	for i := range rows {
		p.hashes[i] = xxh3.Hash(rows[i].Values)
		size += len(rows[i].Values)
	}
	if r.texts+size <= textBytesMax {
		r.texts += size
		p.rows = make([]json.RawMessage, len(rows))
		for i := range rows {
			p.rows[i] = rows[i].Values
		}
	}
	r.pieces = append(r.pieces, p)
	r.count += int64(len(rows))
	return nil
}

// compare holds the rows against those of the run that was repeated, which read gives in the same order, and calls found with the first key
// that differs and how.
func (r *Rows) compare(key []string, read func(topology.Range) ([]table.Row, error), found func(key, text string)) error {
	for i := range r.pieces {
		p := &r.pieces[i]
		rows, err := read(p.rng)
		if err != nil {
			return err
		}
		k := 0
		for k < len(rows) && k < len(p.hashes) && xxh3.Hash(rows[k].Values) == p.hashes[k] {
			k++
		}
		if k < len(rows) || k < len(p.hashes) {
			found(p.differs(k, rows, key))
			return nil
		}
	}
	return nil
}

// differs names the row at place k, up to which all are the same.
func (p *piece) differs(k int, rows []table.Row, key []string) (string, string) {
	var again, held json.RawMessage
	if k < len(rows) {
		again = rows[k].Values
	}
	if k < len(p.rows) {
		held = p.rows[k]
	}
	switch {
	case again == nil && held != nil:
		return keyOf(held, key), fmt.Sprintf("the table has %s, the run that was repeated has no such row", held)
	case again == nil:
		return "unknown", fmt.Sprintf("the table has %d rows more than the run that was repeated", len(p.hashes)-k)
	case held == nil && k < len(p.hashes):
		return keyOf(again, key), fmt.Sprintf("the table has another row in the place of %s", again)
	case held == nil:
		return keyOf(again, key), fmt.Sprintf("the run that was repeated has %s, the table has no such row", again)
	}
	a, h := keyOf(again, key), keyOf(held, key)
	if a == h {
		return a, fmt.Sprintf("the table has %s, the run that was repeated %s", held, again)
	}
	for i := k; i < len(p.rows); i++ {
		if keyOf(p.rows[i], key) == a { // what the run has is further on: the table has one more before it
			return h, fmt.Sprintf("the table has %s, the run that was repeated has no such row", held)
		}
	}
	return a, fmt.Sprintf("the run that was repeated has %s, the table has no such row", again)
}

// keyOf is the primary key of a row as a JSON object.
func keyOf(row json.RawMessage, key []string) string {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(row, &values); err != nil {
		return string(row)
	}
	var b bytes.Buffer
	for i, k := range key {
		name, err := json.Marshal(k)
		if err != nil {
			return string(row)
		}
		b.WriteString([2]string{"{", ", "}[min(i, 1)])
		b.Write(name)
		b.WriteString(": ")
		b.Write(values[k])
	}
	b.WriteByte('}')
	return b.String()
}
