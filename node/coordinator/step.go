package coordinator

import (
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
)

// StepNodes is all that is decided of nodes. Its commands do not depend on each other.
func StepNodes(v *View, m *NodesMemory) Decision {
	d := Nodes(v, m)
	d.add(Leave(v))
	return d
}

// StepQuery is all that is decided of one query. At most one of its commands is about the topology, and one about the state, since
// each is based on the version it was decided on; the next step sees what became of them.
func StepQuery(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	if m.ID != q.ID {
		*m = QueryMemory{ID: q.ID}
	}
	d := Failed(v, q)
	if len(d.Commands) > 0 {
		return d
	}
	d.add(Replicate(v, q, m))
	recovered := Recover(v, q, m)
	d.add(recovered)
	d.add(Recovered(v, q, m))
	d.add(Switched(v, q))
	checkpoint := Checkpoint(v, q)
	if len(recovered.Commands) == 0 {
		lost, _ := v.lostOf(q)
		d.add(v.settled(q, m, len(lost) > 0, slices.ContainsFunc(checkpoint.Commands, isA[*raftfsm.CheckpointComplete])))
	}
	d.add(checkpoint)
	return onePerVersion(d)
}

func isA[T raftfsm.Command](k raftfsm.Command) bool {
	_, ok := k.(T)
	return ok
}

// settled are the steps on a query of which nothing has to be recovered now. A shadow takes over that has all of the complete checkpoint: when
// another one becomes complete it may lack epochs of that, and waits for the next step.
func (v *View) settled(q *raftfsm.Query, m *QueryMemory, lost, completes bool) Decision {
	d := Beyond(v, q)
	if len(d.Commands) > 0 {
		return d
	}
	if !completes {
		d = Switch(v, q, m)
	}
	for _, next := range []func(*View, *raftfsm.Query, *QueryMemory) Decision{Drain, Rescale, Stragglers, Standby, Merge} {
		if len(d.Commands) == 0 && !lost {
			d = next(v, q, m)
		}
	}
	d.add(Blocked(v, q))
	return d
}

// onePerVersion keeps the first command about the query's state: a second one would be based on a version that is gone.
func onePerVersion(d Decision) Decision {
	out := Decision{Notes: d.Notes}
	changed := false
	for _, k := range d.Commands {
		if _, ok := k.(*raftfsm.QueryStateChange); ok {
			if changed {
				continue
			}
			changed = true
		}
		out.command(k)
	}
	return out
}
