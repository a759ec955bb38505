package verify

import (
	"cmp"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// chains holds the chains of the run that is repeated against those of the checkpoints.
type chains struct {
	past     *Past
	from     topology.Epoch
	findings *findings
	stages   []stageChains
}

// stageChains is the comparing of one stage, by the goroutine that runs it.
type stageChains struct {
	mu    sync.Mutex
	lines []stageLine // ascending; those not yet compared
	// stood are the chains after the last step, by output and sink, then key group.
	stood       [][]uint64
	differ      map[[2]int]bool // (output, key group) of which a difference was told
	compared    int
	checkpoints int
}

// stageLine is a checkpoint with the key groups that have a delta of it.
type stageLine struct {
	at     topology.Epoch
	groups []topology.KeyGroup
}

func newChains(p *Past, from topology.Epoch, f *findings) *chains {
	c := &chains{past: p, from: from, findings: f, stages: make([]stageChains, len(p.stages))}
	for s, groups := range p.stages {
		byLine := map[topology.Epoch][]topology.KeyGroup{}
		for g := range groups {
			known := false
			for _, l := range groups[g].lines {
				if l.at > from {
					byLine[l.at] = append(byLine[l.at], topology.KeyGroup(g))
					known = known || l.at == p.through
				}
			}
			if !known { // it had ended before
				byLine[p.through] = append(byLine[p.through], topology.KeyGroup(g))
			}
		}
		st := &c.stages[s]
		for at, list := range byLine {
			st.lines = append(st.lines, stageLine{at, list})
		}
		slices.SortFunc(st.lines, func(a, b stageLine) int { return cmp.Compare(a.at, b.at) })
		st.differ = map[[2]int]bool{}
		for _, l := range groups[0].lines[:1] {
			for range l.chains {
				st.stood = append(st.stood, make([]uint64, len(groups)))
			}
		}
		if from > 0 {
			for g := range groups {
				if l, ok := groups[g].at(from); ok {
					for o, x := range l.chains {
						st.stood[o][g] = x
					}
				}
			}
		}
	}
	return c
}

// step takes the chains of a stage after the epochs up to e: it is engine.Options.TraceChains on one node, where one partition is the stage.
func (c *chains) step(stage topology.StageID, _ topology.Range, e topology.Epoch, now [][]uint64) {
	st := &c.stages[stage]
	st.mu.Lock()
	defer st.mu.Unlock()
	for len(st.lines) > 0 && st.lines[0].at < e {
		c.compare(stage, st, st.stood)
	}
	if len(st.lines) > 0 && st.lines[0].at == e {
		c.compare(stage, st, now)
	}
	for o := range now {
		copy(st.stood[o], now[o])
	}
}

// end compares what is left: nothing has changed since the last step.
func (c *chains) end() {
	for s := range c.stages {
		st := &c.stages[s]
		st.mu.Lock()
		for len(st.lines) > 0 {
			c.compare(topology.StageID(s), st, st.stood)
		}
		st.mu.Unlock()
	}
}

// compare holds chains against those of the first line, which is done then.
func (c *chains) compare(stage topology.StageID, st *stageChains, now [][]uint64) {
	l := st.lines[0]
	st.lines = st.lines[1:]
	spec := c.past.plan.Stages[stage]
	for _, g := range l.groups {
		want, ok := c.past.stages[stage][g].at(l.at)
		if !ok {
			continue
		}
		for o, x := range want.chains {
			st.compared++
			if now[o][g] == x || st.differ[[2]int{o, int(g)}] {
				continue
			}
			st.differ[[2]int{o, int(g)}] = true
			c.findings.add(Difference{Kind: KindChain, After: max(c.from, c.past.stages[stage][g].before(l.at)), Epoch: l.at, Stage: stage, StageName: spec.Name, Operator: engine.ChainOperator(spec, o),
				KeyGroup: g, output: o})
		}
	}
	st.checkpoints++
}

// count adds what was compared to a result.
func (c *chains) count(r *Result) {
	for s := range c.stages {
		st := &c.stages[s]
		st.mu.Lock()
		r.Chains += st.compared
		r.KeyGroups += len(c.past.stages[s])
		r.Checkpoints = max(r.Checkpoints, st.checkpoints)
		st.mu.Unlock()
	}
}
