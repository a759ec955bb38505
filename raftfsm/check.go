package raftfsm

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// check says what of the invariants a query would break: active partitions cover every key group of a stage exactly once, an instance has
// one range, no key group has two pending changes (standbys may stand beside one), every source process has vaults for its seals and finds
// the logs it is to adopt.
func (q *Query) check() (Reason, string) {
	for s, st := range q.Stages {
		next := 0
		for i, a := range st.Partitions {
			if int(a.Range.From) != next || a.Range.Len() <= 0 {
				return BadCoverage, fmt.Sprintf("stage %d: partition %v does not start at key group %d", s, a.Range, next)
			}
			if slices.ContainsFunc(st.Partitions[:i], func(b topology.Assignment) bool { return a.Instance == b.Instance }) {
				return BadCoverage, fmt.Sprintf("stage %d: instance %d on %v would have several ranges", s, a.Instance, a.Process)
			}
			next = int(a.Range.To)
			if !st.Source || !q.seals() {
				continue
			}
			if q.SealSet(a.Process) == nil {
				return NoSeals, fmt.Sprintf("stage %d: source process %v has no vaults for its seals", s, a.Process)
			}
			for _, log := range a.Adopt {
				if q.SealLog(log) == nil {
					return NoSeals, fmt.Sprintf("stage %d: %v is to adopt the seal log %d, which is not there", s, a.Range, log)
				}
			}
		}
		if next != st.Groups {
			return BadCoverage, fmt.Sprintf("stage %d: partitions end at key group %d of %d", s, next, st.Groups)
		}
		for i, a := range st.Shadows {
			for j := i - 1; j >= 0 && st.Shadows[j].Range.To > a.Range.From; j-- {
				if b := &st.Shadows[j]; b.Range.From > a.Range.From || !b.GoesWith(&a) {
					return ChangePending, fmt.Sprintf("stage %d: key groups of %v have a pending change already", s, a.Range)
				}
			}
			if a.Range.Len() <= 0 || int(a.Range.To) > st.Groups {
				return BadCoverage, fmt.Sprintf("stage %d: shadow %v is not within %d key groups", s, a.Range, st.Groups)
			}
			if a.Restore > q.Complete {
				return BadEpoch, fmt.Sprintf("stage %d: shadow %v restores epoch %d, complete is %d", s, a.Range, a.Restore, q.Complete)
			}
		}
	}
	return NoReason, ""
}

// Check says which invariant the state breaks, nil for none. Apply never makes a state that breaks one.
func (s *State) Check() error {
	for i, q := range s.Queries {
		if i > 0 && s.Queries[i-1].Name >= q.Name {
			return fmt.Errorf("query %q is not behind %q", q.Name, s.Queries[i-1].Name)
		}
		if r, text := q.check(); r != NoReason {
			return fmt.Errorf("query %s: %v: %s", q.Name, r, text)
		}
		if len(q.History) > MaxHistory {
			return fmt.Errorf("query %s has %d history entries", q.Name, len(q.History))
		}
	}
	for i, n := range s.Nodes {
		if i > 0 && s.Nodes[i-1].ID >= n.ID {
			return fmt.Errorf("node %q is not behind %q", n.ID, s.Nodes[i-1].ID)
		}
		if n.Status == Left && len(s.NamedBy(n.ID, 1)) > 0 {
			return fmt.Errorf("node %s has left and is still named: %v", n.ID, s.NamedBy(n.ID, 1))
		}
	}
	return nil
}

// dropSeals forgets all seals: every source has ended, and the state that holds the ends is complete.
func (q *Query) dropSeals() {
	q.Seals = nil
	for s, st := range q.Stages {
		if !slices.ContainsFunc(st.Partitions, func(a topology.Assignment) bool { return len(a.Adopt) > 0 }) {
			continue
		}
		n := q.editStage(topology.StageID(s))
		n.Partitions = slices.Clone(n.Partitions)
		for i := range n.Partitions {
			n.Partitions[i].Adopt = nil
		}
	}
}

// collect drops what nobody needs any more: output logs below the trim point, and the seal logs of processes that own no source
// partition and that nobody is to adopt.
func (q *Query) collect() {
	if !q.seals() {
		q.dropSeals()
	}
	trim := q.TrimPoint()
	done := func(r topology.Retired) bool { return r.Until <= trim }
	var owners []topology.Process
	var wanted []topology.SealLog
	for s, st := range q.Stages {
		if slices.ContainsFunc(st.Retired, done) {
			n := q.editStage(topology.StageID(s))
			n.Retired = without(st.Retired, done)
		}
		if st.Source {
			for _, a := range st.Partitions {
				owners, wanted = append(owners, a.Process), append(wanted, a.Adopt...)
			}
		}
	}
	unused := func(set topology.SealSet) bool {
		return (set.Fenced || !slices.Contains(owners, set.Owner)) && !slices.Contains(wanted, set.Log)
	}
	if slices.ContainsFunc(q.Seals, unused) {
		q.Seals = without(q.Seals, unused)
	}
}
