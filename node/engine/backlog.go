package engine

import (
	"time"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// weighEvery is how often a source looks how many rows are due.
const weighEvery = 200 * time.Millisecond

// backlog is how many rows were due and not read when a source looked, and how many become due in the second after it.
type backlog struct {
	rows, next int64
	at         topology.Epoch // of the clock
}

// weighBacklog looks how many rows are due, now and then. Only readers with a rate know it, and only where a clock says when rows are due.
func (p *partition) weighBacklog() {
	s, q := p.source, p.query
	if s.replay != nil || !q.clocked() || p.begun.Sub(s.weighed) < weighEvery {
		return
	}
	s.weighed = p.begun
	b := &backlog{at: q.clockEpoch()}
	now, known := q.elapsedMs(b.at), false
	for i := range s.groups {
		g := &s.groups[i]
		for _, sp := range g.splits[g.first:] {
			r, ok := sp.reader.(connector.Backlog)
			if !ok {
				continue
			}
			rows, ok := r.Backlog(now)
			if !ok {
				continue
			}
			next, _ := r.Backlog(now + 1000)
			known, b.rows, b.next = true, b.rows+rows, b.next+next-rows
		}
	}
	if known {
		p.stats.backlog.Store(b)
	}
}

// backlogNow is how many rows are due and not read by now, with those that have become due since the source looked; -1 when that is not
// known.
func (p *partition) backlogNow() int64 {
	b := p.stats.backlog.Load()
	if b == nil || p.source == nil {
		return -1
	}
	since := max(0, p.query.clockEpoch()-max(b.at, topology.Epoch(p.stats.epoch.Load())))
	return b.rows + b.next*p.query.elapsedMs(since)/1000
}
