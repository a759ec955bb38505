package coordinator

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// mergeWhat is what the history calls it.
const mergeWhat = "merge"

const (
	// mergeUse is how much of its processors a process may use that is to make one of its neighbours: until the shadow takes over, their rows cost
	// twice. It is measured for mergeUseMs or longer.
	mergeUse   = 0.5
	mergeUseMs = 2000
	// mergeStandsMs is for how long such a shadow may come no further once it is restored. It works on the processors that its neighbours need: when
	// more rows come than they take together, none of them gets any further, and nothing else of the stage is decided meanwhile.
	mergeStandsMs = 3000
)

// Used is the processor time that a process had used at a time, and the share of its processors that it used before that; 1 while it is measured.
type Used struct {
	Process topology.Process
	AtMs    int64
	CPUNs   int64
	Share   float64
}

// Merge makes one partition of neighbours of a stage that have come to one process, as recoveries that cut ranges, scale-ins and drains leave them:
// a shadow of the whole is brought up beside them and takes over like any other. They work as well as one, so there is no hurry: it is done while a
// query is calm, one at a time, and gives way to whatever else is to change. As many partitions stay as are wanted, and where a border is wanted it
// stays. Until the switch the process has the state and the work twice: what would be too much for its memory or its processors stays apart. Where
// standbys are kept all stays as it is: those of the parts would go at the beginning, and one of the whole come only in the end.
func Merge(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	if q.Standby > 0 || len(m.Lagging) > 0 || !v.calm(q) {
		return d
	}
	for s, st := range q.Stages {
		stage := topology.StageID(s)
		if st.Source || !m.mayTry(stage, changeLayout, v.NowMs) || !m.mayTry(stage, changeMerge, v.NowMs) {
			continue
		}
		want := q.StageScale(stage)
		spare := len(st.Partitions) - wantedPartitions(st, &want)
		for _, run := range neighbours(st.Partitions, want.Borders) {
			run = v.fitting(q, stage, run[:min(len(run), max(1, spare+1))])
			if len(run) < 2 {
				continue
			}
			if !m.spare(v, run[0].Process) {
				continue
			}
			part := raftfsm.Part{Range: topology.Range{From: run[0].Range.From, To: run[len(run)-1].Range.To}, Process: run[0].Process}
			d.command(&raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: stage, Restore: q.Complete, Parts: []raftfsm.Part{part}, What: mergeWhat,
				Why: fmt.Sprintf("%d neighbouring partitions have come to %s, and %d are more than are wanted", len(run), part.Process.Node, spare),
				Figures: []raftfsm.KV{{Key: "partitions_from", Value: fmt.Sprint(len(st.Partitions))},
					{Key: "partitions_to", Value: fmt.Sprint(len(st.Partitions) - len(run) + 1)}, {Key: "key_groups", Value: fmt.Sprint(part.Range.Len())}}})
			return d
		}
	}
	return d
}

// spare says whether a process, as measured over mergeUseMs lately, has processors to spare for making one of its neighbours. Nothing is known against
// one that does not tell.
func (m *QueryMemory) spare(v *View, p topology.Process) bool {
	r, at := v.report(p), v.reportedMs(p)
	if r == nil || r.CPUNs <= 0 || r.Cores <= 0 {
		return true
	}
	i := slices.IndexFunc(m.Used, func(u Used) bool { return u.Process == p })
	used := Used{Process: p, AtMs: at, CPUNs: r.CPUNs, Share: 1}
	if i >= 0 {
		was := m.Used[i]
		switch over := at - was.AtMs; {
		case over > 5*mergeUseMs || r.CPUNs < was.CPUNs: // of another time
		case over < mergeUseMs:
			used = was
		default:
			used.Share = float64(r.CPUNs-was.CPUNs) / 1e6 / float64(over) / r.Cores
		}
	}
	m.Used = append(slices.DeleteFunc(slices.Clone(m.Used), func(u Used) bool { return u.Process == p || at-u.AtMs > 5*mergeUseMs }), used)
	return used.Share <= mergeUse
}

// merges says whether a shadow is to make one of neighbours on its process.
func merges(st *raftfsm.Stage, sh *topology.Shadow) bool {
	return sh.Purpose == topology.ForChange && st.Merges(sh.Range, sh.Process)
}

// merging is the shadow that is to make one of neighbours, when nothing else of a stage changes; nil otherwise.
func merging(st *raftfsm.Stage) (found *topology.Shadow) {
	for i := range st.Shadows {
		switch sh := &st.Shadows[i]; {
		case sh.Purpose == topology.ForStandby:
		case found != nil || !merges(st, sh):
			return nil
		default:
			found = sh
		}
	}
	return found
}

// calm says that a query runs, or a part of it has ended, with nothing under way or to be made up for, has all its copies, and that its history has had nothing to tell for
// Timing.Calm.
func (v *View) calm(q *raftfsm.Query) bool {
	if q.State != raftfsm.Running || slices.ContainsFunc(q.Stages, Changing) {
		return false
	}
	if n := len(q.History); n > 0 {
		// What is of the future was written by another clock.
		if age := v.NowMs - q.History[n-1].AtMs; age >= 0 && age < v.Timing.Calm {
			return false
		}
	}
	runs := true
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		r := v.active(q, s, a)
		runs = v.State.Lives(a.Process) && v.takes(v.State.Node(a.Process.Node)) && caughtUp(r)
		return runs
	})
	return runs && v.blocksBelow(q) == 0
}

// wantedPartitions is how many partitions a stage is to have, neighbours counted apart.
func wantedPartitions(st *raftfsm.Stage, want *raftfsm.StageScale) int {
	n := want.Want
	if n == 0 {
		n = st.Parallelism
	}
	return max(1, n, want.Min)
}

// neighbours gives the runs of partitions that adjoin each other on one process, cut at borders.
func neighbours(parts []topology.Assignment, borders []topology.KeyGroup) (runs [][]topology.Assignment) {
	for from := 0; from < len(parts); {
		to := from + 1
		for to < len(parts) && parts[to].Process == parts[from].Process && !slices.Contains(borders, parts[to].Range.From) {
			to++
		}
		runs = append(runs, parts[from:to])
		from = to
	}
	return runs
}

// fitting are those of a run of neighbours, from the first on, that run and that the process can hold twice.
func (v *View) fitting(q *raftfsm.Query, s topology.StageID, run []topology.Assignment) []topology.Assignment {
	p := run[0].Process
	held := v.held()[p]
	for n := range run {
		r := v.active(q, s, &run[n])
		if held += r.heldBytes(); r.Phase != PhaseRunning || !v.holds(p, held) {
			return run[:n]
		}
	}
	return run
}

// holds says whether a process has memory for so many bytes: all that is known of what it holds is to take half of it at most.
func (v *View) holds(p topology.Process, bytes int64) bool {
	n := v.State.Node(p.Node)
	return n == nil || n.MemoryBytes == 0 || bytes <= n.MemoryBytes/2
}

// heldBytes is the memory of a partition as far as it tells.
func (p *PartitionReport) heldBytes() int64 {
	return p.StateBytes + p.TableBytes + p.SealBytes + p.LogBytes
}
