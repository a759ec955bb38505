package plan

import (
	"slices"

	"github.com/seepnode/seepnode/node/query/expr"
)

func isColumn(n *expr.Node) bool { return n.Op == expr.OpColumn }

// sink places a sink: in the producing stage when it is fused, otherwise in a stage whose key groups are its lanes.
func (k *cutter) sink(r *rel) {
	t, in := r.table, r.inputs[0]
	branches := k.gather(in)
	fused := t.connector.Fused
	to := k.toLanes(r)
	var stage *Stage
	var ports []Port
	switch {
	case fused && len(branches) == 1 && partitionedWithin(in, t.primary):
		stage, ports = branches[0].stage, k.ports(branches[0])
	case fused:
		stage, ports = k.repartition(branches, "sink "+t.name, k.groups(to), to)
	default:
		if t.lanes == 1 {
			to = shuffle{partitioning: Single}
		}
		stage, ports = k.repartition(branches, "sink "+t.name, t.lanes, to)
	}
	index := k.table(t)
	if !fused {
		k.plan.Tables[index].Lanes = t.lanes
	}
	if r.updates != nil {
		k.plan.Tables[index].UpsertKey = r.key
	}
	stage.add(&Op{Inputs: ports, Schema: t.physical, Sink: &Sink{Table: index, Fused: fused}})
}

// toLanes keeps the rows of one primary key in one lane, and a retraction with its row.
func (k *cutter) toLanes(r *rel) shuffle {
	if len(r.table.primary) > 0 {
		return shuffle{ByKey, r.table.primary}
	}
	return k.spread(r)
}

// partitionedWithin says whether rows of r with equal values in columns are in one key group already.
func partitionedWithin(r *rel, columns []int) bool {
	if len(columns) == 0 {
		return true
	}
	by, ok := partitionOf(r)
	return ok && !slices.ContainsFunc(by, func(i int) bool { return !slices.Contains(columns, i) })
}

// partitionOf are columns of r that alone decide a row's key group; false when that is not known.
func partitionOf(r *rel) (by []int, ok bool) {
	switch r.kind {
	case relAggregate:
		return firstColumns(r.aggregate.keys), true
	case relProcess:
		return firstColumns(len(r.process.partitionBy)), true
	case relCalc:
		by, ok = partitionOf(r.inputs[0])
		for i, k := range by {
			by[i] = slices.IndexFunc(r.project, func(n *expr.Node) bool { return isColumn(n) && n.Column == k })
			ok = ok && by[i] >= 0
		}
		return by, ok
	case relFlatMap:
		by, ok = partitionOf(r.inputs[0])
		for i, k := range by {
			by[i] = slices.Index(r.keep, k)
			ok = ok && by[i] >= 0
		}
		return by, ok
	}
	return nil, false
}
