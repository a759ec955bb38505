package engine

import (
	"slices"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// narrowing is what the next entry of the logs says of key groups that were given away before it.
type narrowing struct {
	on     bool
	before []uint64 // by output: the sum of the chains, before the entry, of those that stay
}

func (n *narrowing) mark(output int, e *dataplane.Entry) {
	if !n.on {
		return
	}
	e.Narrowed, e.ChainBefore = true, n.before[output]
}

// narrow gives up the key groups that the placement has put on others meanwhile: between two epochs, whichever these are. The rest goes on
// undisturbed, with nothing restored. What was emitted so far stays as it is, and is marked as of more key groups: consumers take from it what
// is of the present ones.
func (p *partition) narrow() {
	if !p.narrows(p.placed.Range) {
		return
	}
	p.narrowTo(p.placed.Range)
	p.narrowed = narrowing{on: true}
	for o := range p.logs {
		p.narrowed.before = append(p.narrowed.before, topology.SumChains(p.rng.From, p.chains[o]))
	}
}

// narrowWithin gives up key groups of a source that went to another owner while an epoch was being sealed: what that says of them is the new
// owner's to decide, so what was read for them is thrown away. It says whether it did.
func (p *partition) narrowWithin() bool {
	to, ok := p.query.rangeOf(p.spec.ID, p.instance)
	if !ok || !p.narrows(to) {
		return false
	}
	for i := range p.tasks {
		x := p.tasks[i].x
		for o := range x.outputs {
			x.outputs[o] = dataplane.RowsFrom(x.outputs[o], to)
		}
		x.touch = slices.DeleteFunc(x.touch, func(t touchedGroup) bool { return !to.Contains(t.group.ID) })
	}
	at, end := to.From-p.rng.From, to.To-p.rng.From
	p.narrowTo(to)
	p.narrowed = narrowing{on: true}
	for o := range p.logs {
		p.narrowed.before = append(p.narrowed.before, topology.SumChains(to.From, p.chainsBefore[o][at:end]))
	}
	return true
}

// keepChains keeps the chains of a source's outputs as they stand before the epoch that it is about to seal: key groups may be given away while
// it does that.
func (p *partition) keepChains() {
	if p.query.sealing == nil {
		return
	}
	p.chainsBefore = resize(p.chainsBefore, len(p.logs))
	for o := range p.logs {
		p.chainsBefore[o] = append(p.chainsBefore[o][:0], p.chains[o]...)
	}
}

func (p *partition) narrows(to topology.Range) bool {
	return to != p.rng && to.From >= p.rng.From && to.To <= p.rng.To
}

// rangeOf is the range of an active instance in the placement as it was told last.
func (q *Query) rangeOf(stage topology.StageID, instance uint64) (topology.Range, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, pl := range q.placement.Stages[stage] {
		if pl.Instance == instance && pl.Role == Active {
			return pl.Range, true
		}
	}
	return topology.Range{}, false
}

func (p *partition) narrowTo(to topology.Range) {
	p.node.config.Logger.Info("key groups are given away", "query", p.query.config.Name, "partition", p.place().String(), "keeps", to.String())
	at, end, had := int(to.From-p.rng.From), int(to.To-p.rng.From), p.rng.Len()
	memory := make([]int64, 0, len(p.groups)*to.Len())
	for op, groups := range p.groups {
		sizes := p.memory[op*had : (op+1)*had]
		memory = append(memory, sizes[at:end]...)
		for i := range groups {
			if i < at || i >= end {
				p.stats.stateBytes.Add(-sizes[i])
				delete(p.replicas, &groups[i])
			}
		}
		if groups != nil {
			clear(groups[:at])
			clear(groups[end:])
			p.groups[op] = groups[at:end:end]
		}
	}
	p.narrowLanes(to, at, end)
	if p.source != nil {
		p.narrowKept(to)
		p.source.narrow(p, to)
	}
	for _, l := range p.logs {
		l.Narrow(to)
	}
	p.memory, p.changed, p.load = memory, p.changed[at:end:end], p.load[at:end:end]
	for i := range p.chains {
		p.chains[i] = p.chains[i][at:end:end]
	}
	if p.toForget > 0 {
		p.toForget = len(p.groups) * to.Len()
	}
	p.forgetAt = 0
	p.report.Lock()
	for i := range p.lineChains {
		p.lineChains[i].groups = p.lineChains[i].groups[at:end:end]
	}
	if p.loadShown != nil {
		p.loadShown = p.loadShown[at:end:end]
	}
	p.rng = to
	for g := range p.bases {
		if !to.Contains(g) {
			delete(p.bases, g)
		}
	}
	p.report.Unlock()
	for _, stream := range p.inlets {
		for _, in := range stream {
			in.close() // it takes less from now on
		}
	}
	p.wired = false
	p.query.statusChanged()
}

// narrowLanes closes the lanes of key groups that are given away, whose new owner has all that they had not shown yet.
func (p *partition) narrowLanes(to topology.Range, at, end int) {
	for k := range p.lanes {
		p.tails[k].Narrow(to)
		if p.spec.Ops[p.sinkOps[k]].Sink.Fused {
			if n, ok := p.lanes[k][0].(connector.Narrower); ok {
				n.Narrow(to)
			}
			continue
		}
		for i, l := range p.lanes[k] {
			if i >= at && i < end {
				continue
			}
			if err := l.Close(); err != nil {
				p.node.config.Logger.Warn("closing a sink", "query", p.query.config.Name, "partition", p.place().String(), "error", err)
			}
		}
		p.lanes[k] = p.lanes[k][at:end:end]
	}
}

// narrow forgets the splits of key groups that are given away.
func (s *source) narrow(p *partition, to topology.Range) {
	s.groups = slices.DeleteFunc(s.groups, func(g sourceGroup) bool {
		if to.Contains(g.group) {
			return false
		}
		for _, sp := range g.splits {
			sp.close()
			delete(s.known, sp.ID)
		}
		return true
	})
	s.found = slices.DeleteFunc(s.found, func(id string) bool { return s.known[id] == nil })
	if s.through != nil {
		s.through = s.through[to.From-p.rng.From : to.To-p.rng.From]
	}
}
