package raftfsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Status is what the cluster holds of a node. Numbers are on disk.
type Status uint8

const (
	// Alive: takes partitions, shadows and vaults.
	Alive Status = 1
	// Leaving: goes on with what it has and takes nothing new.
	Leaving Status = 2
	// Lost: taken for dead; a false verdict is ended by the node's joining again.
	Lost Status = 3
	// Left: holds nothing and is no member; the record stays so that late commands find it.
	Left Status = 4
)

// String is the status's name.
func (s Status) String() string {
	switch s {
	case Alive:
		return "alive"
	case Leaving:
		return "leaving"
	case Lost:
		return "lost"
	case Left:
		return "left"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Addresses are where a node is reached, host:port each.
type Addresses struct {
	Data   string `json:"data"` // dataplane and Raft
	Gossip string `json:"gossip,omitempty"`
	HTTP   string `json:"http,omitempty"`
}

// Node is the record of a node.
type Node struct {
	ID          topology.NodeID      `json:"id"`
	Version     uint64               `json:"version"` // grows with each change of the record
	Boot        topology.BootID      `json:"boot"`
	Status      Status               `json:"status"`
	Reason      string               `json:"reason,omitempty"` // why lost or blamed
	Addresses   Addresses            `json:"addresses"`
	Zone        string               `json:"zone,omitempty"`
	Spot        bool                 `json:"spot,omitempty"`
	Tags        []KV                 `json:"tags,omitempty"`      // ascending by key
	Operators   []string             `json:"operators,omitempty"` // registered in its binary beyond the built-in ones, ascending
	Fingerprint topology.Fingerprint `json:"fingerprint"`
	Cores       int                  `json:"cores,omitempty"`
	MemoryBytes int64                `json:"memory_bytes,omitempty"`
	// Drain: it gives everything away and gets nothing new, until that is ended; see NodeDrain.
	Drain     bool      `json:"drain,omitempty"`
	DrainedBy DrainedBy `json:"drained_by,omitempty"`
	// BlamedUntilMs: no partitions before that time of the leader's clock, milliseconds since 1970.
	BlamedUntilMs int64 `json:"blamed_until_ms,omitempty"`
}

// Stays says whether the node lives and is to stay: only then it gets anything new.
func (n *Node) Stays() bool { return n.Status == Alive && !n.Drain }

// Goes says whether the node lives and gives away what it has.
func (n *Node) Goes() bool { return n.Status == Leaving || n.Status == Alive && n.Drain }

// Process is the node's current life.
func (n *Node) Process() topology.Process { return topology.Process{Node: n.ID, Boot: n.Boot} }

// RoleTag is the tag that says what a node is for. Without it a node votes and runs partitions.
const (
	RoleTag     = "role"
	RoleControl = "control" // gets no partitions; it may hold copies of state and seals
	RoleWorker  = "worker"  // gets no vote while a node of another role lives, so that it may leave at any time
)

// Tag is the value of a tag, "" without it.
func (n *Node) Tag(key string) string {
	i, ok := slices.BinarySearchFunc(n.Tags, key, func(t KV, key string) int { return strings.Compare(t.Key, key) })
	if !ok {
		return ""
	}
	return n.Tags[i].Value
}

// Role is the node's RoleTag, "" without.
func (n *Node) Role() string { return n.Tag(RoleTag) }

// NodeJoin says that a process of a node is there. With a new boot id everything that names the old process is void at once.
// Based on Version, the record's (0: there is none); Node's own Version, Status, Reason, Drain, DrainedBy and BlamedUntilMs are ignored.
type NodeJoin struct {
	Version uint64 `json:"version"`
	Node    Node   `json:"node"`
}

func (*NodeJoin) Kind() Kind { return KindNodeJoin }

func (k *NodeJoin) apply(c *change) Outcome {
	if out := k.validate(); out.Code != 0 {
		return out
	}
	i, ok := c.state.nodeIndex(k.Node.ID)
	var have Node
	if ok {
		have = *c.state.Nodes[i]
	}
	n := k.Node
	n.Version, n.Status, n.Reason, n.BlamedUntilMs = have.Version+1, Alive, "", have.BlamedUntilMs
	if n.Drain, n.DrainedBy = have.Drain && have.Status != Left, ByPerson; n.Drain {
		n.DrainedBy = have.DrainedBy
	}
	if ok && have.Boot == n.Boot {
		if have.Status == Alive && have.Version >= k.Version {
			n.Version, n.Reason = have.Version, have.Reason
			if sameNode(&n, &have) {
				return already(have.Version)
			}
			n.Version++
		}
	}
	if have.Version != k.Version {
		return stale(OldVersion, "node %s has record version %d, not %d", n.ID, have.Version, k.Version)
	}
	if ok && have.Boot != n.Boot {
		c.forgetRetired(have.Process())
	}
	c.ownNodes()
	if ok {
		c.state.Nodes[i] = &n
		return applied(n.Version)
	}
	if len(c.state.Nodes) >= MaxNodes && !c.dropOldestLeft() {
		return refused(OverLimit, "the cluster has %d nodes, the most it takes", len(c.state.Nodes))
	}
	i, _ = c.state.nodeIndex(n.ID)
	c.state.Nodes = slices.Insert(c.state.Nodes, i, &n)
	return applied(n.Version)
}

func (k *NodeJoin) validate() Outcome {
	n := &k.Node
	if out := validName("node", string(n.ID)); out.Code != 0 {
		return out
	}
	for _, text := range []string{n.Addresses.Data, n.Addresses.Gossip, n.Addresses.HTTP, n.Zone, string(n.Fingerprint)} {
		if len(text) > MaxTextBytes {
			return refused(OverLimit, "node %s: an address, the zone or the fingerprint has more than %d bytes", n.ID, MaxTextBytes)
		}
	}
	if n.Boot == 0 || n.Addresses.Data == "" || n.Fingerprint == "" {
		return refused(Malformed, "node %s lacks its boot id, data address or fingerprint", n.ID)
	}
	if len(n.Tags) > MaxNodeTags || len(n.Operators) > MaxNodeOperator {
		return refused(OverLimit, "node %s has %d tags and %d operators", n.ID, len(n.Tags), len(n.Operators))
	}
	byKey := func(a, b KV) int { return strings.Compare(a.Key, b.Key) }
	if !slices.IsSortedFunc(n.Tags, byKey) || !slices.IsSorted(n.Operators) {
		return refused(Malformed, "node %s: tags or operators are not sorted", n.ID)
	}
	return Outcome{}
}

// sameNode compares two records but for what the join does not say.
func sameNode(a, b *Node) bool {
	x, errX := canonicalJSON(a)
	y, errY := canonicalJSON(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// dropOldestLeft makes room by forgetting the node that left with the fewest changes, the first of several.
func (c *change) dropOldestLeft() bool {
	i := slices.IndexFunc(c.state.Nodes, func(n *Node) bool { return n.Status == Left })
	if i < 0 {
		return false
	}
	c.state.Nodes = slices.Delete(c.state.Nodes, i, i+1)
	return true
}

// NodeStatus says that a process is Lost or Leaving, or Alive after all. Based on the record's version.
type NodeStatus struct {
	Process topology.Process `json:"process"`
	Version uint64           `json:"version"`
	Status  Status           `json:"status"`
	Reason  string           `json:"reason,omitempty"`
}

func (*NodeStatus) Kind() Kind { return KindNodeStatus }

func (k *NodeStatus) apply(c *change) Outcome {
	i, out := c.findNode(k.Process, k.Version)
	if have := c.state.Node(k.Process.Node); have != nil && have.Boot == k.Process.Boot && have.Status == k.Status {
		return already(have.Version)
	}
	if out.Code != 0 {
		return out
	}
	if k.Status != Lost && k.Status != Leaving && k.Status != Alive || len(k.Reason) > MaxTextBytes {
		return refused(Malformed, "node %s cannot be made %v so", k.Process.Node, k.Status)
	}
	if c.state.Nodes[i].Status == Left {
		return refused(BadTransition, "node %s has left", k.Process.Node)
	}
	n := c.editNode(i)
	n.Status, n.Reason = k.Status, k.Reason
	n.Version++
	if k.Status == Lost {
		c.forgetRetired(k.Process)
	}
	return applied(n.Version)
}

// NodeBlame keeps partitions off a node for a time; UntilMs 0 ends it. Based on the record's version.
type NodeBlame struct {
	Process topology.Process `json:"process"`
	Version uint64           `json:"version"`
	UntilMs int64            `json:"until_ms"`
	Reason  string           `json:"reason,omitempty"`
}

func (*NodeBlame) Kind() Kind { return KindNodeBlame }

func (k *NodeBlame) apply(c *change) Outcome {
	i, out := c.findNode(k.Process, k.Version)
	if have := c.state.Node(k.Process.Node); have != nil && have.Boot == k.Process.Boot && have.BlamedUntilMs == k.UntilMs {
		return already(have.Version)
	}
	if out.Code != 0 {
		return out
	}
	if len(k.Reason) > MaxTextBytes {
		return refused(OverLimit, "reason has %d bytes, more than %d", len(k.Reason), MaxTextBytes)
	}
	n := c.editNode(i)
	n.BlamedUntilMs, n.Reason = k.UntilMs, k.Reason
	n.Version++
	return applied(n.Version)
}

// NodeLeave ends a node's membership. Refused while anything names the node. Based on the record's version.
type NodeLeave struct {
	Process topology.Process `json:"process"`
	Version uint64           `json:"version"`
}

func (*NodeLeave) Kind() Kind { return KindNodeLeave }

func (k *NodeLeave) apply(c *change) Outcome {
	i, out := c.findNode(k.Process, k.Version)
	if have := c.state.Node(k.Process.Node); have != nil && have.Boot == k.Process.Boot && have.Status == Left {
		return already(have.Version)
	}
	if out.Code != 0 {
		return out
	}
	if named := c.state.NamedBy(k.Process.Node, 3); len(named) > 0 {
		return refused(StillNamed, "node %s cannot leave: it holds %s", k.Process.Node, strings.Join(named, ", "))
	}
	n := c.editNode(i)
	n.Status, n.Reason, n.BlamedUntilMs = Left, "", 0
	n.Version++
	return applied(n.Version)
}

// findNode gives the index of p's record, or what to answer.
func (c *change) findNode(p topology.Process, version uint64) (int, Outcome) {
	i, ok := c.state.nodeIndex(p.Node)
	if !ok {
		return 0, stale(NoSuchNode, "node %s is not known", p.Node)
	}
	n := c.state.Nodes[i]
	if n.Boot != p.Boot {
		return 0, stale(ProcessGone, "node %s has restarted", p.Node)
	}
	if n.Version != version {
		return 0, stale(OldVersion, "node %s has record version %d, not %d", p.Node, n.Version, version)
	}
	return i, Outcome{}
}

// NamedBy lists what keeps a node from leaving, at most so many things: partitions, shadows, output logs, seals and vaults,
// of its earlier processes too. A query that has failed, for good, or is being removed keeps nobody.
func (s *State) NamedBy(id topology.NodeID, most int) []string {
	var out []string
	for _, q := range s.Queries {
		out = append(out, q.namedBy(id, most-len(out))...)
		if len(out) >= most {
			break
		}
	}
	return out
}

func (q *Query) namedBy(id topology.NodeID, most int) []string {
	var out []string
	say := func(format string, args ...any) bool {
		if len(out) < most {
			out = append(out, fmt.Sprintf("query %s: ", q.Name)+fmt.Sprintf(format, args...))
		}
		return len(out) < most
	}
	if q.State.stopped() {
		return nil
	}
	names := func(p topology.Process) bool { return p.Node == id }
	for s, st := range q.Stages {
		for _, a := range st.Partitions {
			if names(a.Process) && !say("partition %v of stage %d", a.Range, s) {
				return out
			}
		}
		for _, a := range st.Shadows {
			if names(a.Process) && !say("shadow %v of stage %d", a.Range, s) {
				return out
			}
		}
		for _, a := range st.Retired {
			if names(a.Process) && !say("output log %v of stage %d", a.Range, s) {
				return out
			}
		}
		for b, v := range st.Vaults {
			if (slices.ContainsFunc(v.Members, names) || slices.ContainsFunc(v.Former, names)) && !say("vault of block %d of stage %d", b, s) {
				return out
			}
		}
	}
	for _, set := range q.Seals {
		if slices.ContainsFunc(set.Members, names) && !say("vault of the seals of %s", set.Owner.Node) {
			return out
		}
	}
	return out
}

// forgetRetired drops the output logs that a process can serve no more: who needs them restores anew.
func (c *change) forgetRetired(p topology.Process) {
	for _, q := range c.state.Queries {
		var edited *Query
		for s, st := range q.Stages {
			if !slices.ContainsFunc(st.Retired, func(r topology.Retired) bool { return r.Process == p }) {
				continue
			}
			if edited == nil {
				edited = c.edit(q)
			}
			st := edited.editStage(topology.StageID(s))
			st.Retired = without(st.Retired, func(r topology.Retired) bool { return r.Process == p })
		}
	}
}

// without gives a new slice of list without those that match.
func without[T any](list []T, match func(T) bool) []T {
	var out []T
	for _, x := range list {
		if !match(x) {
			out = append(out, x)
		}
	}
	return out
}

// validName takes 1 to MaxNameBytes of letters, digits, "_", "-" and ".", beginning with a letter or digit.
func validName(what, name string) Outcome {
	if name == "" || len(name) > MaxNameBytes {
		return refused(Malformed, "%s name %.40q has %d bytes; it must have 1 to %d", what, name, len(name), MaxNameBytes)
	}
	for i, r := range []byte(name) {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || r != '_' && r != '-' && r != '.') {
			return refused(Malformed, "%s name %q: only letters, digits, and behind the first also _ - . are allowed", what, name)
		}
	}
	return Outcome{}
}
