package raftfsm

import (
	"slices"
	"strings"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Limits on what the state holds.
const (
	MaxNodes        = 4096 // with a record, those that left included
	MaxQueries      = 4096
	MaxStages       = 1024
	MaxSettings     = 256
	MaxNameBytes    = 128
	MaxTextBytes    = 4096 // of a reason, an address, a setting
	MaxSQLBytes     = 1 << 20
	MaxPlanBytes    = 8 << 20
	MaxHistory      = 1000 // entries of a query; older ones go
	MaxReceipts     = 1024 // requests remembered by CommandID; older ones go
	MaxVaults       = 16   // members of a set
	MaxFormerVaults = 64   // of a set; older ones go
	MaxNodeTags     = 64
	MaxNodeOperator = 4096
)

// State is the whole metadata of a cluster at one version. It is never changed once made: Apply gives another one that shares
// what stayed the same, so a *State is a consistent view that may be kept and read by anyone without a lock.
type State struct {
	Version  uint64    `json:"version"` // commands that changed something
	Cluster  Cluster   `json:"cluster"`
	Nodes    []*Node   `json:"nodes,omitempty"`   // ascending by ID
	Queries  []*Query  `json:"queries,omitempty"` // ascending by Name
	Receipts []Receipt `json:"receipts,omitempty"`
	// Incarnations is the last one given to a query.
	Incarnations uint64 `json:"incarnations,omitempty"`
}

// Receipt remembers a request that was applied.
type Receipt struct {
	ID    CommandID `json:"id"`
	Value uint64    `json:"value,omitempty"`
}

// KV is a name and a value.
type KV struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// change is a command being applied: the next state, of which only edited parts are its own.
type change struct {
	state   *State
	id      CommandID
	at      int64
	edited  []*Query
	nodes   bool // state.Nodes is this change's own
	queries bool
}

// Apply gives the state after e and what became of e. It uses neither clock nor randomness, and leaves s as it is; when nothing
// changes the state is s itself. A request that was applied before, by its ID, changes nothing and is answered as it was then.
func (s *State) Apply(e Envelope) (*State, Outcome) {
	if !e.ID.IsZero() {
		if i := slices.IndexFunc(s.Receipts, func(r Receipt) bool { return r.ID == e.ID }); i >= 0 {
			return s, Outcome{Code: Applied, Value: s.Receipts[i].Value, Version: s.Version}
		}
	}
	next := *s
	c := &change{state: &next, id: e.ID, at: e.AtMs}
	out := e.Command.apply(c)
	if out.Code == Applied {
		for _, q := range c.edited {
			q.collect()
			if r, text := q.check(); r != NoReason {
				out = refused(r, "query %s: %s", q.Name, text)
				break
			}
		}
	}
	out.Version = s.Version
	if out.Code != Applied {
		return s, out
	}
	next.Version++
	out.Version = next.Version
	if !e.ID.IsZero() {
		next.Receipts = appendBounded(s.Receipts, MaxReceipts, Receipt{e.ID, out.Value})
	}
	return &next, out
}

// appendBounded gives a new slice of the last most of list and more.
func appendBounded[T any](list []T, most int, more ...T) []T {
	drop := max(0, len(list)+len(more)-most)
	out := make([]T, 0, len(list)+len(more)-min(drop, len(list)))
	out = append(out, list[min(drop, len(list)):]...)
	return append(out, more[max(0, drop-len(list)):]...)
}

// Node is the record of a node, or nil.
func (s *State) Node(id topology.NodeID) *Node {
	if i, ok := s.nodeIndex(id); ok {
		return s.Nodes[i]
	}
	return nil
}

// Query is the query of that name, or nil.
func (s *State) Query(name string) *Query {
	if i, ok := s.queryIndex(name); ok {
		return s.Queries[i]
	}
	return nil
}

// Incarnation is the query of that incarnation, or nil.
func (s *State) Incarnation(n uint64) *Query {
	for _, q := range s.Queries {
		if q.ID.Incarnation == n {
			return q
		}
	}
	return nil
}

// Lives says that p is its node's current process and not lost.
func (s *State) Lives(p topology.Process) bool {
	n := s.Node(p.Node)
	return n != nil && n.Boot == p.Boot && (n.Status == Alive || n.Status == Leaving)
}

func (s *State) nodeIndex(id topology.NodeID) (int, bool) {
	return slices.BinarySearchFunc(s.Nodes, id, func(n *Node, id topology.NodeID) int {
		return strings.Compare(string(n.ID), string(id))
	})
}

func (s *State) queryIndex(name string) (int, bool) {
	return slices.BinarySearchFunc(s.Queries, name, func(q *Query, name string) int { return strings.Compare(q.Name, name) })
}

// editNode gives a copy of the record at i that this change may write.
func (c *change) editNode(i int) *Node {
	c.ownNodes()
	n := *c.state.Nodes[i]
	c.state.Nodes[i] = &n
	return &n
}

func (c *change) ownNodes() {
	if !c.nodes {
		c.state.Nodes, c.nodes = slices.Clone(c.state.Nodes), true
	}
}

func (c *change) ownQueries() {
	if !c.queries {
		c.state.Queries, c.queries = slices.Clone(c.state.Queries), true
	}
}

// find gives the query of id for reading, or what to answer.
func (c *change) find(id topology.QueryID) (*Query, Outcome) {
	q := c.state.Incarnation(id.Incarnation)
	if q == nil {
		return nil, stale(NoSuchQuery, "query incarnation %d does not exist (any more)", id.Incarnation)
	}
	if q.ID.Generation != id.Generation {
		return nil, stale(OldGeneration, "query %s has generation %d by now, not %d", q.Name, q.ID.Generation, id.Generation)
	}
	return q, Outcome{}
}

// edit gives a copy of q that this change may write; slices in it are shared until replaced.
func (c *change) edit(q *Query) *Query {
	c.ownQueries()
	i, _ := c.state.queryIndex(q.Name)
	n := *q
	c.state.Queries[i] = &n
	c.edited = append(c.edited, &n)
	return &n
}

// takes says why p cannot be given anything new; NoReason when it can.
func (c *change) takes(p topology.Process) (Reason, string) {
	n := c.state.Node(p.Node)
	switch {
	case n == nil:
		return NoSuchNode, "node " + string(p.Node) + " is not known"
	case n.Boot != p.Boot:
		return ProcessGone, "node " + string(p.Node) + " has restarted"
	case n.Status != Alive:
		return ProcessGone, "node " + string(p.Node) + " is " + n.Status.String()
	case n.Drain:
		return ProcessGone, "node " + string(p.Node) + " is being drained"
	}
	return NoReason, ""
}

// runs says why p cannot run partitions of q.
func (c *change) runs(q *Query, p topology.Process) (Reason, string) {
	if r, text := c.takes(p); r != NoReason {
		return r, text
	}
	if n := c.state.Node(p.Node); n.Fingerprint != q.Fingerprint {
		return OtherFingerprint, "node " + string(p.Node) + " has fingerprint " + string(n.Fingerprint) + ", the query " + string(q.Fingerprint)
	}
	return NoReason, ""
}
