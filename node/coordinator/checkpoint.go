package coordinator

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Checkpoint finds the latest line that every active partition of every stage has, and the end of a query: when all have ended,
// and the checkpoint with their last state is complete.
//
// Partitions are counted, so it does not matter which instance had a line when: a line in a report is of that instance's key
// groups, all of them, at all their vaults.
func Checkpoint(v *View, q *raftfsm.Query) Decision {
	var d Decision
	if !placed(q.State) || q.State == raftfsm.Finished {
		return d
	}
	var parts []*PartitionReport
	var lines []topology.Epoch
	ended, last := true, topology.Epoch(0)
	known := true
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		r := v.active(q, s, a)
		if r == nil || !v.State.Lives(a.Process) {
			known = false
			return false
		}
		parts = append(parts, r)
		for _, l := range r.Lines {
			if l > q.Complete {
				lines = append(lines, l)
			}
		}
		ended, last = ended && r.Ended != 0, max(last, r.Ended)
		if r.Ended > q.Complete {
			lines = append(lines, r.Ended)
		}
		return true
	})
	if !known {
		return d
	}
	slices.Sort(lines)
	lines = slices.Compact(lines)
	for _, line := range slices.Backward(lines) {
		if !slices.ContainsFunc(parts, func(r *PartitionReport) bool { return !r.Has(line) }) {
			d.command(&raftfsm.CheckpointComplete{Query: q.ID, Complete: line, Kept: v.keptUp(q, line)})
			d.Notes = append(d.Notes, completed(q, line, parts))
			return d
		}
	}
	if ended && last <= q.Complete && q.State == raftfsm.Running {
		d.command(&raftfsm.QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: raftfsm.Finished, Version: q.Version})
		d.Notes = append(d.Notes, Note{Kind: "finished", Query: q.Name, Text: "all sources have ended, everything is committed"})
	}
	return d
}

// completedKind tells of a complete checkpoint, with its FigureEpoch and FigureBytes, of one copy.
const completedKind = "checkpoint"

// Figures of a note on a complete checkpoint.
const (
	FigureEpoch = "epoch"
	FigureBytes = "bytes"
)

func completed(q *raftfsm.Query, line topology.Epoch, parts []*PartitionReport) Note {
	bytes := int64(0)
	for _, p := range parts {
		if i, ok := slices.BinarySearch(p.Lines, line); ok && i < len(p.LineBytes) {
			bytes += p.LineBytes[i]
		}
	}
	return Note{Kind: completedKind, Query: q.Name, Text: fmt.Sprintf("checkpoint %d is complete, %d bytes", line, bytes),
		Figures: []raftfsm.KV{{Key: FigureEpoch, Value: fmt.Sprint(line)}, {Key: FigureBytes, Value: fmt.Sprint(bytes)}}}
}

// IsCheckpoint says that the note tells of a complete checkpoint.
func (n *Note) IsCheckpoint() bool { return n.Kind == completedKind }

// keptUp are the instances of shadows that have got beyond a checkpoint, or have ended.
func (v *View) keptUp(q *raftfsm.Query, line topology.Epoch) (out []uint64) {
	for s, st := range q.Stages {
		for i := range st.Shadows {
			sh := &st.Shadows[i]
			if r := v.instance(q, sh.Process, topology.StageID(s), sh.Range, sh.Instance); caughtUp(r) && (r.Phase == PhaseEnded || r.Epoch >= line) {
				out = append(out, sh.Instance)
			}
		}
	}
	return out
}

// Has says whether a partition has acknowledged a checkpoint.
func (p *PartitionReport) Has(line topology.Epoch) bool {
	if p.Ended != 0 && line >= p.Ended {
		return true
	}
	_, ok := slices.BinarySearch(p.Lines, line)
	return ok
}
