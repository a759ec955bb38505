package raftfsm

import (
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// MaxPartitions is the most partitions that may be wanted of a stage.
const MaxPartitions = topology.MaxKeyGroups

// StageScale is what is wanted of a stage's partitions. A stage of which nothing was said is automatic, and as it is.
type StageScale struct {
	Stage topology.StageID `json:"stage"`
	// Auto: policies may change Want, from Min to Max (0: no limit). Otherwise a person has fixed it.
	Auto bool `json:"auto,omitempty"`
	Min  int  `json:"min,omitempty"`
	Max  int  `json:"max,omitempty"`
	Want int  `json:"want,omitempty"` // partitions; 0: as many as there are
	// Borders, when there are any, say where the key groups are cut: Want-1 of them, ascending. Otherwise the cluster cuts them by load.
	Borders []topology.KeyGroup `json:"borders,omitempty"`
}

// StageScale is what is wanted of a stage.
func (q *Query) StageScale(s topology.StageID) StageScale {
	if i, ok := q.scaleIndex(s); ok {
		return q.Scale[i]
	}
	return StageScale{Stage: s, Auto: true}
}

func (q *Query) scaleIndex(s topology.StageID) (int, bool) {
	return slices.BinarySearchFunc(q.Scale, s, func(x StageScale, s topology.StageID) int { return int(x.Stage) - int(s) })
}

// KindScaled is the Kind of a history's line that says what is wanted of stages.
const KindScaled = "scale"

// QueryScale says what is wanted of some stages' partitions. Based on ScaleVersion; bringing it about is the coordinator's.
type QueryScale struct {
	Query        topology.QueryID `json:"query"`
	ScaleVersion uint64           `json:"scale_version"`
	Stages       []StageScale     `json:"stages"`
	// Text and Figures say why, for the history.
	Text    string `json:"text,omitempty"`
	Figures []KV   `json:"figures,omitempty"`
}

// Kind is KindQueryScale.
func (*QueryScale) Kind() Kind { return KindQueryScale }

func (k *QueryScale) apply(c *change) Outcome {
	q, out := c.open(k.Query, k.Text)
	if q == nil {
		return out
	}
	if len(k.Stages) == 0 || len(k.Figures) > MaxSettings {
		return refused(Malformed, "query %s: no stages to scale, or too many figures", q.Name)
	}
	next := slices.Clone(q.Scale)
	for i := range k.Stages {
		x := &k.Stages[i]
		if out := x.validate(q); out.Code != 0 {
			return out
		}
		at, ok := slices.BinarySearchFunc(next, x.Stage, func(have StageScale, s topology.StageID) int { return int(have.Stage) - int(s) })
		if ok {
			next[at] = *x
		} else {
			next = slices.Insert(next, at, *x)
		}
	}
	if slices.EqualFunc(next, q.Scale, sameScale) {
		return already(q.ScaleVersion)
	}
	if k.ScaleVersion != q.ScaleVersion {
		return stale(OldVersion, "what is wanted of query %s has version %d by now, not %d", q.Name, q.ScaleVersion, k.ScaleVersion)
	}
	n := c.edit(q)
	n.Scale = next
	n.ScaleVersion++
	n.note(c, KindScaled, "", "%s", k.Text)
	n.History[len(n.History)-1].Figures = k.Figures
	return applied(n.ScaleVersion)
}

func sameScale(a, b StageScale) bool {
	return a.Stage == b.Stage && a.Auto == b.Auto && a.Min == b.Min && a.Max == b.Max && a.Want == b.Want && slices.Equal(a.Borders, b.Borders)
}

func (x *StageScale) validate(q *Query) Outcome {
	if int(x.Stage) >= len(q.Stages) {
		return refused(Malformed, "query %s has %d stages, none %d", q.Name, len(q.Stages), x.Stage)
	}
	groups := q.Stages[x.Stage].Groups
	switch {
	case x.Want < 0 || x.Min < 0 || x.Max < 0 || x.Max > 0 && x.Min > x.Max:
		return refused(Malformed, "query %s: stage %d cannot have %d partitions within %d to %d", q.Name, x.Stage, x.Want, x.Min, x.Max)
	case x.Want > groups:
		return refused(OverLimit, "query %s: stage %d has %d key groups and so at most as many partitions, not %d", q.Name, x.Stage, groups, x.Want)
	case !x.Auto && x.Want == 0:
		return refused(Malformed, "query %s: stage %d is to be fixed, but not to what", q.Name, x.Stage)
	case len(x.Borders) > 0 && len(x.Borders) != x.Want-1:
		return refused(Malformed, "query %s: %d partitions of stage %d have %d borders, not %d", q.Name, x.Want, x.Stage, x.Want-1, len(x.Borders))
	}
	for i, b := range x.Borders {
		if b == 0 || int(b) >= groups || i > 0 && b <= x.Borders[i-1] {
			return refused(Malformed, "query %s: borders %v of stage %d do not ascend within its %d key groups", q.Name, x.Borders, x.Stage, groups)
		}
	}
	return Outcome{}
}

// NodeDrain says that a node is to give everything away and get nothing new, or ends that. It outlives the node's processes. What a person
// drains is the person's, also when something else drained it before; what a person has drained nothing else drains. Based on
// the record's version.
type NodeDrain struct {
	Node    topology.NodeID `json:"node"`
	Version uint64          `json:"version"`
	Drain   bool            `json:"drain"`
	By      DrainedBy       `json:"by,omitempty"`
}

// DrainedBy says who drained a node.
type DrainedBy string

const (
	ByPerson DrainedBy = ""
	ByPool   DrainedBy = "pool"   // it is one too many
	ByNotice DrainedBy = "notice" // its machine is to be taken away
)

// Kind is KindNodeDrain.
func (*NodeDrain) Kind() Kind { return KindNodeDrain }

func (k *NodeDrain) apply(c *change) Outcome {
	i, ok := c.state.nodeIndex(k.Node)
	if !ok {
		return refused(NoSuchNode, "there is no node %s", k.Node)
	}
	switch have := c.state.Nodes[i]; {
	case have.Drain == k.Drain && (!k.Drain || have.DrainedBy == k.By || have.DrainedBy == ByPerson):
		return already(have.Version)
	case have.Status == Left:
		return refused(BadTransition, "node %s has left", k.Node)
	case have.Version != k.Version:
		return stale(OldVersion, "node %s has record version %d, not %d", k.Node, have.Version, k.Version)
	}
	n := c.editNode(i)
	n.Drain, n.DrainedBy = k.Drain, ByPerson
	if k.Drain {
		n.DrainedBy = k.By
	}
	n.Version++
	return applied(n.Version)
}
