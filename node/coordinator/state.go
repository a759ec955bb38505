package coordinator

import (
	"fmt"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Failed makes a query Failed that failed on any living node; the first by name gives the reason.
func Failed(v *View, q *raftfsm.Query) Decision {
	var d Decision
	if !canFail(q.State) {
		return d
	}
	for _, r := range v.Reports {
		p := r.Report.Process
		if qr := v.query(p, q.ID); qr != nil && qr.Error != "" && v.State.Lives(p) {
			return fail(q, fmt.Sprintf("on %s: %s", p.Node, qr.Error))
		}
	}
	return d
}

func fail(q *raftfsm.Query, reason string) Decision {
	var d Decision
	d.command(&raftfsm.QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: raftfsm.Failed, Reason: cut(reason)})
	d.Notes = append(d.Notes, Note{Kind: "failed", Query: q.Name, Text: reason})
	return d
}

// Blocked makes a query Blocked while something outside stops it on some node, and Running again when nothing does any more and
// all nodes that run it have said so.
func Blocked(v *View, q *raftfsm.Query) Decision {
	var d Decision
	if q.State != raftfsm.Running && q.State != raftfsm.Blocked {
		return d
	}
	reason := ""
	eachAssignment(q, func(_ topology.StageID, a *topology.Assignment) bool {
		if qr := v.query(a.Process, q.ID); qr != nil && qr.Blocked != "" && v.State.Lives(a.Process) {
			reason = cut(fmt.Sprintf("on %s: %s", a.Process.Node, qr.Blocked))
		}
		return reason == ""
	})
	switch {
	case reason == "" && q.State == raftfsm.Running, q.State == raftfsm.Blocked && q.Reason == reason:
		return d
	case reason == "" && !v.allReported(q):
		return d
	case reason == "":
		return d.resume(v, q, raftfsm.Blocked)
	}
	d.command(&raftfsm.QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: raftfsm.Blocked, Reason: reason})
	d.Notes = append(d.Notes, Note{Kind: "blocked", Query: q.Name, Text: reason})
	return d
}

// Beyond begins the next generation of a query, seals kept, when a process has acted on seals that no vault has any more: all vaults
// of their set had restarted. No effect outside came of them, since those wait until seals are on disk.
func Beyond(v *View, q *raftfsm.Query) Decision {
	var d Decision
	if !canFail(q.State) {
		return d
	}
	var owners []topology.Process
	why, live := "", true
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		live = live && v.State.Lives(a.Process)
		if q.Stages[s].Source {
			owners = append(owners, a.Process)
		}
		if r := v.active(q, s, a); r != nil && r.Beyond != 0 && why == "" {
			why = fmt.Sprintf("%s had acted on seals of stage %d's input behind epoch %d, which no vault has any more", a.Process.Node, s, r.Beyond)
		}
		return true
	})
	if why == "" || !live {
		return d
	}
	k := &raftfsm.GenerationChange{Query: q.ID, Complete: q.Complete, Keep: true, Why: cut(why)}
	k.Seals = v.sealGrants(q.ID.Incarnation, nil, owners)
	d.command(k)
	d.Notes = append(d.Notes, Note{Kind: "generation", Query: q.Name, Text: why})
	return d
}
