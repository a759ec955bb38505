package agent

import (
	"strconv"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/agent/member"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Keys of the tags that gossip carries of a node.
const (
	tagData    = "data"    // data address
	tagHTTP    = "http"    // where its API for people is
	tagBoot    = "boot"    // boot id, hexadecimal
	tagCluster = "cluster" // the cluster's id, as port.ClusterName; absent while it is in none
	tagExpect  = "expect"  // founders it waits for; absent when it founds none
)

// Gossiper is who is there, as gossip knows it.
type Gossiper interface {
	// Members are all other nodes, ascending by name.
	Members() []GossipMember
	// SetTags changes what others know of this node. It does not wait for them.
	SetTags(tags map[string]string) error
	// Close ends it; leave says so to others, who then do not take this node for failed.
	Close(leave bool) error
}

// GossipMember is another node.
type GossipMember struct {
	Node   topology.NodeID
	Tags   map[string]string
	Failed bool
	Since  time.Time // when it failed, by this process's clock
}

// Membership starts gossip for a node with tags. changed is called, from any goroutine, when Members gives something else.
type Membership func(node topology.NodeID, tags map[string]string, changed func()) (Gossiper, error)

// gossiping is what the agent makes of gossip.
type gossiping struct {
	a      *Agent
	gossip Gossiper

	mu      sync.Mutex
	tags    map[string]string
	changed func() // what is reported has changed
	leave   bool
}

func startGossip(a *Agent, cluster uint64) (*gossiping, error) {
	g := &gossiping{a: a, changed: func() {}, tags: map[string]string{
		tagData: a.record.Addresses.Data, tagHTTP: a.record.Addresses.HTTP, tagBoot: strconv.FormatUint(uint64(a.self.Boot), 16),
	}}
	if cluster != 0 {
		g.tags[tagCluster] = port.ClusterName(cluster)
	}
	if a.config.BootstrapExpect > 0 {
		g.tags[tagExpect] = strconv.Itoa(a.config.BootstrapExpect)
	}
	start := a.world.member
	if start == nil {
		start = a.startSerf
	}
	var err error
	g.gossip, err = start(a.self.Node, g.tags, g.changes)
	return g, err
}

// changes tells whoever reports.
func (g *gossiping) changes() {
	g.mu.Lock()
	f := g.changed
	g.mu.Unlock()
	f()
}

// onChange sets what is called when complaints may have changed.
func (g *gossiping) onChange(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changed = f
}

// setCluster tells others which cluster this node is in.
func (g *gossiping) setCluster(id uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	tags := map[string]string{}
	for k, v := range g.tags {
		tags[k] = v
	}
	tags[tagCluster] = port.ClusterName(id)
	g.tags = tags
	return g.gossip.SetTags(tags)
}

// candidates are the living nodes, as far as founding and joining go.
func (g *gossiping) candidates() []member.Candidate {
	var list []member.Candidate
	for _, m := range g.gossip.Members() {
		if m.Failed {
			continue
		}
		c := member.Candidate{Node: m.Node, Address: m.Tags[tagData]}
		if id, err := strconv.ParseUint(m.Tags[tagCluster], 16, 64); err == nil {
			c.Cluster = id
		}
		if n, err := strconv.Atoi(m.Tags[tagExpect]); err == nil {
			c.Expect = n
		}
		list = append(list, c)
	}
	return list
}

// complaints are of the living processes that gossip takes for failed. One whose boot id gossip does not know is another life.
func (g *gossiping) complaints(s *raftfsm.State) []coordinator.Complaint {
	var list []coordinator.Complaint
	for _, m := range g.gossip.Members() {
		n := s.Node(m.Node)
		if !m.Failed || n == nil || n.ID == g.a.self.Node || n.Status == raftfsm.Lost || n.Status == raftfsm.Left {
			continue
		}
		if boot, err := strconv.ParseUint(m.Tags[tagBoot], 16, 64); err != nil || topology.BootID(boot) != n.Boot {
			continue
		}
		list = append(list, coordinator.Complaint{Process: n.Process(), Kind: coordinator.ComplaintSerf, SinceMs: max(0, time.Since(m.Since).Milliseconds())})
	}
	return list
}

// leaves makes close say goodbye.
func (g *gossiping) leaves() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave = true
}

func (g *gossiping) close() error {
	if g.gossip == nil {
		return nil
	}
	g.mu.Lock()
	leave := g.leave
	g.mu.Unlock()
	return g.gossip.Close(leave)
}

// alone is gossip of a node that nobody knows.
type alone struct{}

func (alone) Members() []GossipMember         { return nil }
func (alone) SetTags(map[string]string) error { return nil }
func (alone) Close(bool) error                { return nil }
