package engine

import (
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/tail"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// openTail lets be followed what the k-th sink gets; a keeper shows itself what changes.
func (p *partition) openTail(k int, s *plan.Sink) {
	var part *tail.Part
	if !p.keeps[k] {
		t := p.query.plan.Tables[s.Table]
		part = p.node.config.Tails.Open(tail.Shape{Query: p.query.config.ID, Table: t.Name, Schema: t.Schema, UpsertKey: t.UpsertKey}, p.rng)
	}
	p.tails = append(p.tails, part)
}

// writeTail shows followers, if there are any, what the n-th sink has got of the epochs [p.next, last]. p.rows is free to be used.
func (p *partition) writeTail(n, op int, last topology.Epoch) {
	if !p.tails[n].Followed() {
		return
	}
	if p.spec.Ops[op].Sink.Fused {
		p.fusedRows(op, true)
	} else {
		p.rows = p.rows[:0]
		for k, rows := range p.laneRows {
			for _, r := range rows {
				p.rows = append(p.rows, connector.Rows{Batch: r.Batch, From: r.From, To: r.To, Group: p.rng.From + topology.KeyGroup(k)})
			}
		}
	}
	p.tails[n].Write(last, p.rows)
}
