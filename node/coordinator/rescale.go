package coordinator

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Tried is when a stage may be changed again after a change of its kind came to nothing.
type Tried struct {
	Stage   topology.StageID
	Kind    Change
	AgainMs int64
	PauseMs int64
	// Process is the one on which the last of it came to nothing.
	Process topology.Process
}

// Change is a kind of what is brought up, as far as some must not wait for others that came to nothing.
type Change int

const (
	changeLayout  Change = iota // what is wanted: a layout, a drain, another one beside a straggler
	changeMerge                 // neighbours becoming one, which nothing that is wanted waits for
	changeStandby               // one more standby, likewise
)

const triedLeastMs, triedMostMs = 5_000, 300_000

func (m *QueryMemory) tried(s topology.StageID, kind Change) int {
	return slices.IndexFunc(m.Tried, func(t Tried) bool { return t.Stage == s && t.Kind == kind })
}

// failed notes that a change of a stage came to nothing on a process: the next one waits, longer each time.
func (m *QueryMemory) failed(s topology.StageID, kind Change, on topology.Process, nowMs int64) {
	m.Tried = slices.Clone(m.Tried)
	i := m.tried(s, kind)
	if i < 0 {
		i, m.Tried = len(m.Tried), append(m.Tried, Tried{Stage: s, Kind: kind})
	}
	t := &m.Tried[i]
	t.Process = on
	if nowMs >= t.AgainMs { // otherwise it is another part of the same
		t.PauseMs = min(max(triedLeastMs, 2*t.PauseMs), triedMostMs)
		t.AgainMs = nowMs + t.PauseMs
	}
}

// succeeded forgets that changes of a stage came to nothing.
func (m *QueryMemory) succeeded(s topology.StageID) {
	m.Tried = slices.DeleteFunc(slices.Clone(m.Tried), func(t Tried) bool { return t.Stage == s })
}

func (m *QueryMemory) mayTry(s topology.StageID, kind Change, nowMs int64) bool {
	i := m.tried(s, kind)
	return i < 0 || nowMs >= m.Tried[i].AgainMs
}

// Rescale compares the layout of each stage with what is wanted of it and begins to bring up what is lacking, a stage at a time: key
// groups that stay where they are go on undisturbed.
func Rescale(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	if q.State != raftfsm.Running && q.State != raftfsm.Paused && q.State != raftfsm.Blocked {
		return d
	}
	for s := range q.Stages {
		stage := topology.StageID(s)
		want, merge := q.StageScale(stage), merging(q.Stages[s])
		if want.Want == 0 || merge == nil && Changing(q.Stages[s]) || !m.mayTry(stage, changeLayout, v.NowMs) {
			continue
		}
		if d = v.rescaleStage(q, stage, &want); len(d.Commands) > 0 {
			return v.insteadOfMerge(q, d)
		}
	}
	return d
}

// insteadOfMerge is a decision on the layout, or, while neighbours of some stage are being made one, that this is given up first: it takes from what
// the query needs.
func (v *View) insteadOfMerge(q *raftfsm.Query, d Decision) Decision {
	for s, st := range q.Stages {
		if sh := merging(st); sh != nil {
			d = Decision{}
			d.command(&raftfsm.ShadowDrop{Query: q.ID, Version: q.Version, Stage: topology.StageID(s), Range: sh.Range, Instance: sh.Instance, Why: "another layout of the query is wanted"})
			return d
		}
	}
	return d
}

// SettingAutoscalePaused is the cluster's setting that keeps policies from changing what is wanted: "true" or nothing.
const SettingAutoscalePaused = "autoscale.paused"

// AutoscalePaused says whether policies change nothing.
func AutoscalePaused(s *raftfsm.State) bool {
	text, _ := s.Cluster.Setting(SettingAutoscalePaused)
	return text == "true"
}

// Partitions counts the partitions of a stage, neighbours on one process as one.
func Partitions(st *raftfsm.Stage) int { return len(joined(st.Partitions)) }

// Moving says whether some key groups of a stage are on their way to other processes.
func Moving(st *raftfsm.Stage) bool { return merging(st) == nil && Changing(st) }

// Merging says whether neighbours of a stage are being made one, and nothing else of it changes.
func Merging(st *raftfsm.Stage) bool { return merging(st) != nil }

// Changing says whether anything but standbys is being brought up for a stage.
func Changing(st *raftfsm.Stage) bool {
	return slices.ContainsFunc(st.Shadows, func(s topology.Shadow) bool { return s.Purpose != topology.ForStandby })
}

func (v *View) rescaleStage(q *raftfsm.Query, s topology.StageID, want *raftfsm.StageScale) Decision {
	var d Decision
	st, h := q.Stages[s], v.newHosts(q.Fingerprint, nil)
	have, n := joined(st.Partitions), min(want.Want, len(h.list))
	if n == 0 || n == len(have) && (len(want.Borders) == 0 || len(want.Borders) != n-1) {
		return d // borders for more nodes than there are say nothing of so few
	}
	loads := v.loads(q, s)
	ranges := cutByLoad(st.Groups, n, loads)
	if len(want.Borders) == n-1 {
		ranges = rangesOf(want.Borders, st.Groups)
	}
	parts, groups := partsFor(st, h.layOut(q, s, ranges))
	if len(parts) == 0 {
		return d
	}
	what := "re-cut"
	switch {
	case n > len(have):
		what = "scale out"
	case n < len(have):
		what = "scale in"
	}
	k := &raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: s, Restore: q.Complete, Parts: parts, What: what,
		Why: fmt.Sprintf("%d -> %d partitions are wanted", len(have), n)}
	k.Figures = []raftfsm.KV{{Key: "partitions_from", Value: fmt.Sprint(len(have))}, {Key: "partitions_to", Value: fmt.Sprint(n)},
		{Key: "key_groups_moved", Value: fmt.Sprint(groups)}, {Key: "key_groups", Value: fmt.Sprint(st.Groups)}}
	if loads != nil {
		before, after := make([]topology.Range, len(have)), heaviest(ranges, loads)
		for i := range have {
			before[i] = have[i].Range
		}
		k.Figures = append(k.Figures, share("heaviest_share_from", heaviest(before, loads), loads), share("heaviest_share_to", after, loads))
	}
	d.command(k)
	d.Notes = append(d.Notes, Note{Kind: what, Query: q.Name, Text: fmt.Sprintf("%s: %s, %s", q.StageName(s), what, k.Why), Figures: k.Figures})
	return d
}

// share is a part of all rows, as a figure.
func share(name string, part int64, loads []int64) raftfsm.KV {
	total := int64(0)
	for _, x := range loads {
		total += x
	}
	return raftfsm.KV{Key: name, Value: fmt.Sprintf("%.3f", float64(part)/float64(max(1, total)))}
}

// rangesOf are the ranges between borders.
func rangesOf(borders []topology.KeyGroup, groups int) []topology.Range {
	out := make([]topology.Range, 0, len(borders)+1)
	from := topology.KeyGroup(0)
	for _, to := range append(slices.Clone(borders), topology.KeyGroup(groups)) {
		out = append(out, topology.Range{From: from, To: to})
		from = to
	}
	return out
}

// loads are the rows of each key group of a stage since its partitions began, nil when they are not known of all.
func (v *View) loads(q *raftfsm.Query, s topology.StageID) []int64 {
	st := q.Stages[s]
	out := make([]int64, st.Groups)
	for i := range st.Partitions {
		a := &st.Partitions[i]
		r := v.active(q, s, a)
		if r == nil || len(r.Groups) != r.Range.Len() {
			return nil
		}
		copy(out[a.Range.From:a.Range.To], r.Groups[a.Range.From-r.Range.From:])
	}
	return out
}
