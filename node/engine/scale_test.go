package engine_test

import (
	"slices"

	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// move begins to bring some key groups of a random stage up on other nodes: a partition, a part of one in one or two pieces, or several
// neighbours as one; or neighbours on one node as one there.
func (w *world) move() {
	w.change(func(p *engine.Placement) {
		if w.merge(p) {
			return
		}
		s := w.r.IntN(len(p.Stages))
		active := actives(p.Stages[s])
		if len(active) < len(p.Stages[s]) && slices.ContainsFunc(p.Stages[s], func(pl engine.Placed) bool { return pl.Role == engine.Shadow }) {
			return
		}
		at := w.r.IntN(len(active))
		old := active[at : at+1]
		if w.plan.Stages[s].Source < 0 && w.r.IntN(3) == 0 {
			old = active[at:min(len(active), at+1+w.r.IntN(3))]
		}
		rng := topology.Range{From: old[0].Range.From, To: old[len(old)-1].Range.To}
		parts := []topology.Range{rng}
		if n := rng.Len(); len(old) == 1 && n > 2 && w.r.IntN(3) > 0 {
			cut := rng.From + topology.KeyGroup(1+w.r.IntN(n-1))
			parts[0] = topology.Range{From: rng.From, To: cut}
			if w.r.IntN(2) == 0 {
				parts[0] = topology.Range{From: cut, To: rng.To}
			}
			if k := parts[0].Len(); k > 1 && w.r.IntN(2) == 0 {
				mid := parts[0].From + topology.KeyGroup(1+w.r.IntN(k-1))
				parts = []topology.Range{{From: parts[0].From, To: mid}, {From: mid, To: parts[0].To}}
			}
		}
		alive := slices.DeleteFunc(w.alive(), func(n *worldNode) bool {
			return slices.ContainsFunc(old, func(pl engine.Placed) bool { return pl.Node == n.place.Node })
		})
		if len(alive) == 0 {
			return
		}
		for _, part := range parts {
			to := alive[w.r.IntN(len(alive))]
			if next := slices.IndexFunc(active, func(a engine.Placed) bool { return a.Range.From == part.To || a.Range.To == part.From }); next >= 0 && w.r.IntN(2) == 0 {
				if k := slices.IndexFunc(alive, func(n *worldNode) bool { return n.place.Node == active[next].Node }); k >= 0 {
					to = alive[k] // to where it gets a neighbour
				}
			}
			w.instances++
			place := topology.Partition{Stage: topology.StageID(s), Range: part, Node: to.place.Node, Boot: to.place.Boot}
			p.Stages[s] = append(p.Stages[s], engine.Placed{Partition: place, Instance: w.instances, Role: engine.Shadow, Restore: p.Complete})
		}
	})
}

// merge begins to make one of neighbours on one node, of a random stage that has some, every other time.
func (w *world) merge(p *engine.Placement) bool {
	var runs [][]engine.Placed
	for s, stage := range p.Stages {
		active := actives(stage)
		if w.plan.Stages[s].Source >= 0 || len(placedAs(stage, engine.Shadow)) > 0 {
			continue
		}
		for at := 0; at < len(active); {
			run := sameNode(active, at)
			n := w.nodes[run[0].Node]
			if at += len(run); len(run) > 1 && n != nil && n.place.Boot == run[0].Boot {
				runs = append(runs, run)
			}
		}
	}
	if len(runs) == 0 || w.r.IntN(2) == 0 {
		return false
	}
	run := runs[w.r.IntN(len(runs))]
	w.instances++
	place := run[0].Partition
	place.Range.To = run[len(run)-1].Range.To
	s := place.Stage
	p.Stages[s] = append(p.Stages[s], engine.Placed{Partition: place, Instance: w.instances, Role: engine.Shadow, Restore: p.Complete})
	return true
}

// sameNode are the neighbours of a partition on its node, with itself.
func sameNode(active []engine.Placed, at int) []engine.Placed {
	same := func(i int) bool { return active[i].Node == active[at].Node && active[i].Boot == active[at].Boot }
	from, to := at, at+1
	for from > 0 && same(from-1) {
		from--
	}
	for to < len(active) && same(to) {
		to++
	}
	return active[from:to]
}

// actives are the active partitions of a stage, ascending.
func actives(stage []engine.Placed) []engine.Placed { return placedAs(stage, engine.Active) }

func placedAs(stage []engine.Placed, role engine.Role) []engine.Placed {
	var out []engine.Placed
	for _, pl := range stage {
		if pl.Role == role {
			out = append(out, pl)
		}
	}
	slices.SortFunc(out, func(a, b engine.Placed) int { return int(a.Range.From) - int(b.Range.From) })
	return out
}

// switchOver puts the shadows of a stage, when all of them have caught up, in the place of what is active there.
func (w *world) switchOver(have map[uint64]engine.PartitionStatus) {
	w.mu.Lock()
	placement := w.placement
	w.mu.Unlock()
	for s, stage := range placement.Stages {
		shadows := placedAs(stage, engine.Shadow)
		ready := len(shadows) > 0
		for _, sh := range shadows {
			phase := have[sh.Instance].Phase
			ready = ready && (phase == "running" || phase == "ended") && w.sameChains(s, sh, actives(stage), have)
		}
		if len(shadows) > 0 && slices.ContainsFunc(actives(stage), func(a engine.Placed) bool {
			return a.Range.From < shadows[0].Range.From && a.Range.To > shadows[len(shadows)-1].Range.To
		}) {
			// The rest of what was to be given away at once is lost: what stays would be in two pieces.
			w.change(func(p *engine.Placement) {
				p.Stages[s] = slices.DeleteFunc(p.Stages[s], func(pl engine.Placed) bool { return pl.Role == engine.Shadow })
			})
			continue
		}
		if ready {
			w.switches++
			if old := slices.IndexFunc(actives(stage), func(a engine.Placed) bool { return a.Range.From == shadows[0].Range.From }); old >= 0 &&
				actives(stage)[old].Node == shadows[0].Node {
				w.merges++
			}
			w.change(func(p *engine.Placement) { w.exchange(p, s, shadows) })
		}
	}
}

// sameChains says whether the chains of a shadow equal those of what is active at an epoch that all know; that they differ is an error.
func (w *world) sameChains(s int, sh engine.Placed, active []engine.Placed, have map[uint64]engine.PartitionStatus) bool {
	common := false
	for _, x := range have[sh.Instance].Chains {
		sum, next := uint64(0), sh.Range.From
		for _, a := range active {
			for _, c := range have[a.Instance].Chains {
				if c.Epoch == x.Epoch && c.Range.From == next && c.Range.To <= sh.Range.To {
					sum, next = sum+c.Sum, c.Range.To
					break
				}
			}
		}
		if next != sh.Range.To {
			continue
		}
		common = true
		if sum != x.Sum {
			w.t.Errorf("chains of stage %d %v differ at epoch %d", s, sh.Range, x.Epoch)
		}
	}
	return common
}

// exchange makes shadows active. Who had their key groups and others keeps the others.
func (w *world) exchange(p *engine.Placement, s int, shadows []engine.Placed) {
	rng := topology.Range{From: shadows[0].Range.From, To: shadows[len(shadows)-1].Range.To}
	var out []engine.Placed
	var adopt []topology.SealLog
	for _, pl := range p.Stages[s] {
		if pl.Role != engine.Active || !pl.Range.Overlaps(rng) {
			if pl.Role != engine.Shadow {
				out = append(out, pl)
			}
			continue
		}
		if w.plan.Stages[s].Source >= 0 {
			log := topology.SealLog(pl.Boot)
			adopt = append(slices.DeleteFunc(slices.Clone(pl.Adopt), func(l topology.SealLog) bool { return l == log }), log)
			w.terms[log]++
		}
		gone := pl
		gone.Role, gone.Range = engine.Retired, topology.Range{From: max(pl.Range.From, rng.From), To: min(pl.Range.To, rng.To)}
		out = append(out, gone)
		for _, rest := range []topology.Range{{From: pl.Range.From, To: rng.From}, {From: rng.To, To: pl.Range.To}} {
			if rest.From < rest.To {
				kept := pl
				kept.Range = rest
				out = append(out, kept)
				w.narrowed++
			}
		}
	}
	for _, sh := range shadows {
		sh.Role, sh.Adopt = engine.Active, adopt
		out = append(out, sh)
	}
	p.Stages[s] = out
}
