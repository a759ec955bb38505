package agent

import (
	"encoding/json"
	"sync"

	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm"
)

// plans are the compiled plans of the queries in the metadata, read once and not for every question about them. What it gives must not be
// changed.
type plans struct {
	mu   sync.Mutex
	read map[uint64]readPlan // by incarnation
}

// readPlan is the plan that some bytes are; nil when they are none.
type readPlan struct {
	of   *byte // the first of them: versions of the metadata share the bytes of a plan
	plan *plan.Plan
}

// of is the plan of a query in s, nil when it cannot be read. Queries that are gone are forgotten.
func (p *plans) of(s *raftfsm.State, q *raftfsm.Query) *plan.Plan {
	if len(q.Plan) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if have, ok := p.read[q.ID.Incarnation]; ok && have.of == &q.Plan[0] {
		return have.plan
	}
	for n := range p.read {
		if s.Incarnation(n) == nil {
			delete(p.read, n)
		}
	}
	if p.read == nil {
		p.read = map[uint64]readPlan{}
	}
	compiled := new(plan.Plan)
	if json.Unmarshal(q.Plan, compiled) != nil || len(compiled.Stages) != len(q.Stages) {
		compiled = nil
	}
	p.read[q.ID.Incarnation] = readPlan{&q.Plan[0], compiled}
	return compiled
}
