package coordinator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// AcceptError says why a query cannot go on with a loss.
type AcceptError struct{ Text string }

func (e *AcceptError) Error() string { return e.Text }

// AcceptLoss lets a WAITING query go on without what is lost, because a person said so. It gives the next command towards that: first
// one that places what dead processes had, and then, with what may be missing, the *raftfsm.GenerationChange from the complete
// checkpoint, in which blocks that no vault has start empty and the seals behind it are given up. After each the caller decides anew.
// The command is nil while the processes have not told yet what is lost: ask again soon. The error is an *AcceptError.
func AcceptLoss(v *View, q *raftfsm.Query) (k raftfsm.Command, missing []string, err error) {
	if q.State != raftfsm.Waiting {
		return nil, nil, &AcceptError{fmt.Sprintf("query %s is %v: only one that is %v goes on without what is lost", q.Name, q.State, raftfsm.Waiting)}
	}
	lost, _ := v.lostOf(q)
	if len(lost) > 0 {
		h := v.newHosts(q.Fingerprint, nil)
		if h.none() {
			return nil, nil, &AcceptError{fmt.Sprintf("no node takes the partitions of query %s that were on %s: start one with fingerprint %s", q.Name, nodeNames(lost), q.Fingerprint)}
		}
		again, _ := v.reassign(h, q, lost, nil)
		again.Why = cut("to go on without what is lost; " + again.Why)
		return again, nil, nil
	}
	empty, known := v.lostBlocks(q)
	switch {
	case !known:
		return nil, nil, nil
	case len(empty) == 0 && v.resolves(q, nil, new(QueryMemory)) == "":
		return nil, nil, &AcceptError{fmt.Sprintf("nothing that query %s needs is lost any more: it goes on by itself", q.Name)}
	}
	var owners []topology.Process
	for _, st := range q.Stages {
		for _, a := range st.Partitions {
			if st.Source {
				owners = append(owners, a.Process)
			}
		}
	}
	missing = missingTexts(q, empty)
	g := &raftfsm.GenerationChange{Query: q.ID, Complete: q.Complete, Empty: empty, StateVersion: q.StateVersion,
		Why: cut("loss accepted; " + strings.Join(missing, "; "))}
	g.Seals = v.sealGrants(q.ID.Incarnation, nil, owners)
	return g, missing, nil
}

// lostBlocks are the blocks of which no living node has the state at the complete checkpoint, ascending, as the processes that run them
// say; known is false until all have.
func (v *View) lostBlocks(q *raftfsm.Query) (lost []topology.BlockRef, known bool) {
	known = true
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		qr := v.query(a.Process, q.ID)
		if known = qr != nil && qr.Lost != nil && qr.Lost.Version == q.Version && qr.Lost.Complete == q.Complete; !known {
			return false
		}
		for _, b := range qr.Lost.Blocks {
			overlaps := b.Stage == s && int(b.Block) < len(q.Stages[s].Vaults) && b.Block.Range(q.Stages[s].Groups).Overlaps(a.Range)
			if overlaps && !slices.Contains(lost, b) {
				lost = append(lost, b)
			}
		}
		return true
	})
	slices.SortFunc(lost, func(a, b topology.BlockRef) int {
		if a.Stage != b.Stage {
			return int(a.Stage) - int(b.Stage)
		}
		return int(a.Block) - int(b.Block)
	})
	return lost, known
}

// missingTexts says what may be missing from the results of a query that goes on with blocks empty and without the seals behind its
// complete checkpoint.
func missingTexts(q *raftfsm.Query, empty []topology.BlockRef) (out []string) {
	for s, st := range q.Stages {
		var ranges []topology.Range
		for _, b := range empty {
			if int(b.Stage) != s {
				continue
			}
			r := b.Block.Range(st.Groups)
			if n := len(ranges); n > 0 && ranges[n-1].To == r.From {
				ranges[n-1].To = r.To
			} else {
				ranges = append(ranges, r)
			}
		}
		if len(ranges) == 0 {
			continue
		}
		what, then := "what was kept of key groups", "they start empty"
		if st.Source {
			what, then = "where the source stood in splits of key groups", "they are read from their beginning, so rows may come twice"
		}
		var names []string
		for i, r := range ranges {
			if i == 8 {
				names = append(names, fmt.Sprintf("%d more ranges", len(ranges)-i))
				break
			}
			names = append(names, r.String())
		}
		out = append(out, fmt.Sprintf("%s %s of stage %d until epoch %d: %s", what, strings.Join(names, ", "), s, q.Complete, then))
	}
	return append(out, fmt.Sprintf("what was sealed behind epoch %d: it is sealed anew, so epochs may have other rows than were seen outside, "+
		"and rows that no source can give again are gone", q.Complete))
}
