package coordinator

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Standby keeps shadows of every stateful partition up for queries that want some, each on another node: recovery makes the one that is farthest
// active when the partition is lost, and the others stay. With fewer nodes there are fewer, and a node gets none that its memory does not hold. A source
// has no state but positions, which its successor gets from the seals.
func Standby(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	if q.Standby == 0 || q.State != raftfsm.Running {
		return d
	}
	h := v.newHosts(q.Fingerprint, nil)
	var held map[topology.Process]int64
	for s, st := range q.Stages {
		stage := topology.StageID(s)
		if st.Source || Changing(st) || !m.mayTry(stage, changeStandby, v.NowMs) {
			continue
		}
		k := &raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: stage, Restore: q.Complete, Purpose: topology.ForStandby, What: "standby",
			Why: fmt.Sprintf("standbys of each partition: %d", q.Standby)}
		for i := range st.Partitions {
			a := &st.Partitions[i]
			if n, others := standbys(st, a.Range); n >= q.Standby || others || v.goes(a.Process) {
				continue
			}
			if held == nil {
				held = v.held()
			}
			bytes := v.rangeBytes(q, stage, a.Range)
			if able := v.standbyHosts(h, q, stage, a, m, held, bytes); !able.none() {
				p := able.choose(false, 0, blockMembers(st, a.Range), q.ID.Incarnation, uint64(s), uint64(a.Range.From))
				held[p] += bytes
				k.Parts = append(k.Parts, raftfsm.Part{Range: a.Range, Process: p})
			}
		}
		if len(k.Parts) > 0 {
			d.command(k)
			return d
		}
		if v.allStandBy(q, stage) {
			m.Tried = slices.DeleteFunc(slices.Clone(m.Tried), func(t Tried) bool { return t.Stage == stage && t.Kind == changeStandby })
		}
	}
	return d
}

// standbyHosts are the hosts that can keep a standby of a partition up; the one on which the last came to nothing is among them when there is no other.
func (v *View) standbyHosts(h *hosts, q *raftfsm.Query, s topology.StageID, a *topology.Assignment, m *QueryMemory, held map[topology.Process]int64, bytes int64) *hosts {
	var have []topology.Process // those that run key groups of it, or bring some up
	for i := range q.Stages[s].Partitions {
		if b := &q.Stages[s].Partitions[i]; b.Range.Overlaps(a.Range) {
			have = append(have, b.Process)
		}
	}
	for i := range q.Stages[s].Shadows {
		if b := &q.Stages[s].Shadows[i]; b.Range.Overlaps(a.Range) {
			have = append(have, b.Process)
		}
	}
	able := h.only(func(x *host) bool {
		return !slices.Contains(have, x.process) && v.holds(x.process, held[x.process]+bytes)
	})
	if i := m.tried(s, changeStandby); i >= 0 {
		if others := able.only(func(x *host) bool { return x.process != m.Tried[i].Process }); !others.none() {
			return others
		}
	}
	return able
}

// allStandBy says whether all standby shadows of a stage are as far as they must be.
func (v *View) allStandBy(q *raftfsm.Query, s topology.StageID) bool {
	for i := range q.Stages[s].Shadows {
		if sh := &q.Stages[s].Shadows[i]; sh.Purpose == topology.ForStandby && !v.standsBy(q, s, sh) {
			return false
		}
	}
	return true
}

// held is the memory that processes are known to hold, of shadows at least what is active in their ranges holds: they are to have it.
func (v *View) held() map[topology.Process]int64 {
	out := map[topology.Process]int64{}
	for _, received := range v.Reports {
		for _, q := range received.Report.Queries {
			for i := range q.Partitions {
				out[received.Report.Process] += q.Partitions[i].heldBytes()
			}
		}
	}
	for _, q := range v.State.Queries {
		for s, st := range q.Stages {
			stage := topology.StageID(s)
			for i := range st.Shadows {
				sh, own := &st.Shadows[i], int64(0)
				if r := v.instance(q, sh.Process, stage, sh.Range, sh.Instance); r != nil {
					own = r.heldBytes()
				}
				out[sh.Process] += max(0, v.rangeBytes(q, stage, sh.Range)-own)
			}
		}
	}
	return out
}

// rangeBytes is the memory that what is active in a range of a stage is known to hold.
func (v *View) rangeBytes(q *raftfsm.Query, s topology.StageID, r topology.Range) (bytes int64) {
	for i := range q.Stages[s].Partitions {
		if a := &q.Stages[s].Partitions[i]; a.Range.Overlaps(r) {
			if x := v.active(q, s, a); x != nil {
				bytes += x.heldBytes()
			}
		}
	}
	return bytes
}

// standbys counts the standby shadows of just a range, and says whether there are others of its key groups.
func standbys(st *raftfsm.Stage, r topology.Range) (n int, others bool) {
	for i := range st.Shadows {
		switch sh := &st.Shadows[i]; {
		case !sh.Range.Overlaps(r):
		case sh.Range == r && sh.Purpose == topology.ForStandby:
			n++
		default:
			others = true
		}
	}
	return n, others
}

// standbyOf is the process that keeps a standby shadow of just a range of a stage up and can take it over, of several the one that is farthest.
func (v *View) standbyOf(q *raftfsm.Query, s topology.StageID, r topology.Range) (topology.Process, bool) {
	list := v.successors(q, s, r, func(sh *topology.Shadow) bool { return sh.Purpose == topology.ForStandby && sh.Range == r })
	if len(list) == 0 {
		return topology.Process{}, false
	}
	return list[0].Process, true
}

// successors are the shadows within a range that can take over what they are of, one of each range: of several the one that is farthest, or the
// oldest of those that are as far. Which, nil for any, says which of them count.
func (v *View) successors(q *raftfsm.Query, s topology.StageID, r topology.Range, which func(*topology.Shadow) bool) (list []*topology.Shadow) {
	st := q.Stages[s]
	for i := range st.Shadows {
		sh := &st.Shadows[i]
		if sh.Range.From < r.From || sh.Range.To > r.To || !v.State.Lives(sh.Process) || !v.takes(v.State.Node(sh.Process.Node)) || which != nil && !which(sh) {
			continue
		}
		if n := len(list); n > 0 && list[n-1].Range == sh.Range {
			if v.farther(q, s, sh, list[n-1]) {
				list[n-1] = sh
			}
			continue
		}
		list = append(list, sh)
	}
	return list
}

// fartherMs is how much farther a shadow that is restored must be than another to be taken in its place: reports are not of one instant, but of
// the last reportEveryMs, as long as their nodes live.
const fartherMs, reportEveryMs = 500, 1000

// farther says whether a shadow is farther than another of the same range.
func (v *View) farther(q *raftfsm.Query, s topology.StageID, sh, other *topology.Shadow) bool {
	a, b := v.progressOf(q, s, sh), v.progressOf(q, s, other)
	if a.Phase != b.Phase {
		return a.Phase > b.Phase
	}
	if a.Phase < 0 || waysOfShadows[a.Phase] == PhaseRestoring {
		return a.Bytes > b.Bytes
	}
	at := func(sh *topology.Shadow) topology.Epoch {
		r := v.instance(q, sh.Process, s, sh.Range, sh.Instance)
		if r.Phase == PhaseEnded {
			return r.Epoch
		}
		return r.Epoch + topology.Epoch(min(v.NowMs-v.reportedMs(sh.Process), reportEveryMs)/max(1, q.EpochMs))
	}
	return int64(at(sh)-at(other))*q.EpochMs > fartherMs
}

// goes says whether a process gives away what it has.
func (v *View) goes(p topology.Process) bool {
	n := v.State.Node(p.Node)
	return n != nil && n.Process() == p && n.Goes()
}

// Lagging is a partition that is behind its peers, and since when.
type Lagging struct {
	Instance uint64
	SinceMs  int64
}

const (
	// stragglerMs is how far a partition is behind its peers, for stragglerForMs, when another one is brought up beside it; recoveredMs is
	// how far at most when it has caught up by itself. Producers hold what is further ahead than some 2.5 s back.
	stragglerMs, stragglerForMs, recoveredMs = 1200, 4000, 300
)

// Stragglers brings up a shadow, at most one of a query at a time, of a partition that is behind while the other partitions of its stage
// are not: it takes over if it gets ahead. Which node is slow, and why, does not matter.
func Stragglers(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	m.seeLagging(v, q)
	if q.State != raftfsm.Running || slices.ContainsFunc(q.Stages, Changing) {
		return d
	}
	for s, st := range q.Stages {
		stage := topology.StageID(s)
		for i := range st.Partitions {
			a := &st.Partitions[i]
			k := slices.IndexFunc(m.Lagging, func(l Lagging) bool { return l.Instance == a.Instance })
			if k < 0 || v.NowMs-m.Lagging[k].SinceMs < stragglerForMs || !m.mayTry(stage, changeLayout, v.NowMs) {
				continue
			}
			part := raftfsm.Part{Range: a.Range}
			var ok bool
			if part.Process, ok = v.standbyOf(q, stage, a.Range); !ok {
				// One that runs another part of the stage would have two for one, which rescale undoes.
				able := v.newHosts(q.Fingerprint, nil).only(func(x *host) bool { return !runsAny(st, x.process, topology.Range{To: topology.KeyGroup(st.Groups)}) })
				if able.none() {
					continue
				}
				part.Process = able.choose(false, 0, blockMembers(st, a.Range), q.ID.Incarnation, uint64(s), uint64(a.Range.From))
			}
			lag, _ := v.lagMs(q, stage, a)
			d.command(&raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: stage, Restore: q.Complete, Parts: []raftfsm.Part{part}, Purpose: topology.ForSpeed,
				What: "straggler", Why: fmt.Sprintf("on %s it is %d ms behind the other partitions", a.Process.Node, lag),
				Figures: []raftfsm.KV{{Key: "behind_ms", Value: fmt.Sprint(lag)}, {Key: "for_ms", Value: fmt.Sprint(v.NowMs - m.Lagging[k].SinceMs)}}})
			return d
		}
	}
	return d
}

func (m *QueryMemory) seeLagging(v *View, q *raftfsm.Query) {
	var seen []Lagging
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		lag, ok := v.lagMs(q, s, a)
		if q.Stages[s].Source || !ok || lag < stragglerMs {
			return true
		}
		x := Lagging{a.Instance, v.NowMs}
		if i := slices.IndexFunc(m.Lagging, func(l Lagging) bool { return l.Instance == a.Instance }); i >= 0 {
			x.SinceMs = m.Lagging[i].SinceMs
		}
		seen = append(seen, x)
		return true
	})
	m.Lagging = seen
}

// lagMs is how far a partition that runs is behind the middle one of its stage; ok is false when that cannot be said.
func (v *View) lagMs(q *raftfsm.Query, s topology.StageID, a *topology.Assignment) (ms int64, ok bool) {
	var others []topology.Epoch
	st := q.Stages[s]
	for i := range st.Partitions {
		if b := &st.Partitions[i]; b.Process != a.Process {
			if at, ok := v.reached(q, b.Process, v.active(q, s, b)); ok {
				others = append(others, at)
			}
		}
	}
	at, ok := v.reached(q, a.Process, v.active(q, s, a))
	if !ok || len(others) == 0 {
		return 0, false
	}
	slices.Sort(others)
	return int64(others[(len(others)-1)/2]-at) * q.EpochMs, true
}

// reached is the epoch that an instance which runs has reached by now, if it has gone on since its report came.
func (v *View) reached(q *raftfsm.Query, p topology.Process, r *PartitionReport) (topology.Epoch, bool) {
	if r == nil || r.Phase != PhaseRunning || q.EpochMs <= 0 {
		return 0, false
	}
	return r.Epoch + topology.Epoch((v.NowMs-v.reportedMs(p))/q.EpochMs), true
}
