package agent

import (
	"slices"

	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// placement is what the metadata says of a query, as the engine takes it.
func placement(q *raftfsm.Query) engine.Placement {
	p := engine.Placement{Stages: make([][]engine.Placed, len(q.Stages)), Complete: q.Complete, Trim: q.TrimPoint(), Paused: q.State == raftfsm.Paused,
		Finished: q.State == raftfsm.Finished}
	for i, stage := range q.Stages {
		id := topology.StageID(i)
		at := func(r topology.Range, on topology.Process) topology.Partition {
			return topology.Partition{Stage: id, Range: r, Node: on.Node, Boot: on.Boot}
		}
		placed := make([]engine.Placed, 0, len(stage.Partitions)+len(stage.Shadows)+len(stage.Retired))
		for _, a := range stage.Partitions {
			placed = append(placed, engine.Placed{Partition: at(a.Range, a.Process), Instance: a.Instance, Role: engine.Active, Restore: a.Restore, Adopt: a.Adopt})
		}
		for _, s := range stage.Shadows {
			placed = append(placed, engine.Placed{Partition: at(s.Range, s.Process), Instance: s.Instance, Role: engine.Shadow, Standby: s.Purpose == topology.ForStandby, Restore: s.Restore})
		}
		for _, r := range stage.Retired {
			placed = append(placed, engine.Placed{Partition: at(r.Range, r.Process), Instance: r.Instance, Role: engine.Retired})
		}
		p.Stages[i] = placed
	}
	return p
}

// holds says whether anything of a query is placed on a process: an active partition, a shadow, or one that only serves its log.
func holds(q *raftfsm.Query, p topology.Process) bool {
	return q.Uses(p) || slices.ContainsFunc(q.Stages, func(st *raftfsm.Stage) bool {
		return slices.ContainsFunc(st.Retired, func(r topology.Retired) bool { return r.Process == p })
	})
}

// runs says whether a query's partitions are kept in that state. A finished one's tables stay to be read.
func runs(s raftfsm.QueryState) bool { return s != raftfsm.Failed && s != raftfsm.Removing }

// wanted are the queries that a process is to run parts of, ascending by name. A process that another of its node has replaced runs
// nothing. One that was taken for lost goes on with what it has until that is put on others: when the verdict is taken back before,
// nothing has happened, whereas a source that was started anew would seal again what it has sealed.
func wanted(s *raftfsm.State, self topology.Process) []*raftfsm.Query {
	if n := s.Node(self.Node); n == nil || n.Boot != self.Boot {
		return nil
	}
	var list []*raftfsm.Query
	for _, q := range s.Queries {
		if runs(q.State) && holds(q, self) {
			list = append(list, q)
		}
	}
	return list
}
