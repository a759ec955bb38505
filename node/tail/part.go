package tail

import (
	"bytes"
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Part shows what some key groups of a sink get. It is of one goroutine. A nil Part is one that nobody follows.
type Part struct {
	hub    *Hub
	shape  Shape
	rng    topology.Range
	name   name
	sink   *followed
	closed bool

	pending []Event // ascending by epoch; not to be seen yet. The first may be what was dropped
	bytes   int

	before, after []byte // keys
}

// Followed says that somebody follows: only then is there something to write.
func (p *Part) Followed() bool {
	return p != nil && len(p.sink.list()) > 0
}

// Write takes a copy of what the sink got in an epoch, with the key group of each view. When the part holds too much, what is oldest goes: where
// another shows the same rows, as while an instance shadows another, it was most likely seen.
func (p *Part) Write(epoch topology.Epoch, views []connector.Rows) {
	rows := p.NewRows()
	for _, v := range views {
		rows.Batch.AppendRange(v.Batch, v.From, v.To)
		for range v.To - v.From {
			rows.Mark(Insert, v.Group)
		}
	}
	if len(rows.marks) == 0 {
		return
	}
	p.markRetractions(rows)
	e := Event{Epoch: epoch, Range: p.rng, rows: rows}
	p.pending = append(p.pending, e)
	p.bytes += e.size()
	first := Event{Range: p.rng}
	for p.bytes > p.hub.bytesMax() && len(p.pending) > 1 {
		oldest := &p.pending[0]
		first.Epoch, first.Dropped = oldest.Epoch, first.Dropped+oldest.count()
		p.bytes -= oldest.size()
		*oldest = Event{} // its rows go now, not when the array does
		p.pending = p.pending[1:]
	}
	if first.Dropped > 0 {
		p.pending = slices.Insert(p.pending, 0, first)
		p.bytes += first.size()
	}
}

// markRetractions tells updates from rows that go.
func (p *Part) markRetractions(r *Rows) {
	if r.Batch.Weights == nil {
		return
	}
	for i := range r.marks {
		if r.Batch.Weight(i) != batch.Retract {
			continue
		}
		r.marks[i].op = Delete
		if next := i + 1; next < len(r.marks) && r.marks[next].group == r.marks[i].group && r.Batch.Weight(next) == batch.Insert && p.sameKey(r.Batch, i) {
			r.marks[i].op, r.marks[next].op = UpdateBefore, UpdateAfter
		}
	}
}

// sameKey says whether rows i and i+1 are versions of one row, as far as is known.
func (p *Part) sameKey(b *batch.Batch, i int) bool {
	if p.shape.UpsertKey == nil {
		return false
	}
	p.before = batch.AppendKey(p.before[:0], b, p.shape.UpsertKey, i)
	p.after = batch.AppendKey(p.after[:0], b, p.shape.UpsertKey, i+1)
	return bytes.Equal(p.before, p.after)
}

// NewRows are none yet, for Send.
func (p *Part) NewRows() *Rows { return &Rows{shape: &p.shape, Batch: batch.New(p.shape.Schema)} }

// Send shows rows of an epoch that may be seen outside.
func (p *Part) Send(epoch topology.Epoch, rows *Rows) {
	if len(rows.marks) > 0 {
		p.send(Event{Epoch: epoch, Range: p.rng, rows: rows})
	}
}

func (p *Part) send(e Event) {
	for _, f := range p.sink.list() {
		f.put(e)
	}
}

// Publish says that what was written of the epochs up to through may be seen outside.
func (p *Part) Publish(through topology.Epoch) {
	if p == nil || len(p.pending) == 0 {
		return
	}
	if !p.Followed() {
		p.pending, p.bytes = nil, 0
		return
	}
	n := 0
	for ; n < len(p.pending) && p.pending[n].Epoch <= through; n++ {
		p.bytes -= p.pending[n].size()
		p.send(p.pending[n])
	}
	p.pending = slices.Delete(p.pending, 0, n)
}

// End publishes everything: nothing more comes.
func (p *Part) End() {
	p.Publish(topology.EpochForever)
	if p.Followed() {
		p.send(Event{Range: p.rng, Ended: true})
	}
}

// Narrow says that the key groups outside r are another's to show, with all that was not published of them.
func (p *Part) Narrow(r topology.Range) {
	if p == nil {
		return
	}
	p.rng = r
	for i := range p.pending {
		e := &p.pending[i]
		e.Range = r
		if e.rows == nil {
			continue
		}
		p.bytes -= e.size()
		e.rows = p.within(e.rows, r)
		p.bytes += e.size()
	}
	p.pending = slices.DeleteFunc(p.pending, func(e Event) bool {
		none := e.count() == 0
		if none {
			p.bytes -= e.size()
		}
		return none
	})
}

func (p *Part) within(all *Rows, r topology.Range) *Rows {
	kept := p.NewRows()
	for i, m := range all.marks {
		if r.Contains(m.group) {
			kept.Batch.AppendRow(all.Batch, i)
			kept.Mark(m.op, m.group)
		}
	}
	return kept
}

// Close says that the part is gone. Closing twice is fine.
func (p *Part) Close() {
	if p == nil || p.closed {
		return
	}
	p.closed = true
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	p.hub.unuse(p.name)
}
