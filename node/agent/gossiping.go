package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/seepnode/seepnode/node/agent/discovery"
	"github.com/seepnode/seepnode/node/agent/gossip"
	"github.com/seepnode/seepnode/node/agent/member"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Membership starts gossip for a process.
type Membership func(name string, tags gossip.Tags) (gossip.Membership, error)

// gossiping is what the agent makes of gossip.
type gossiping struct {
	a       *Agent
	members gossip.Membership

	mu     sync.Mutex
	tags   gossip.Tags
	failed map[topology.Process]time.Time // since when
	leave  bool
}

func startGossip(a *Agent, cluster uint64) (*gossiping, error) {
	g := &gossiping{a: a, failed: map[topology.Process]time.Time{}, tags: gossip.Tags{
		Data: a.record.Addresses.Data, HTTP: a.record.Addresses.HTTP, Cluster: cluster, Expect: a.config.BootstrapExpect, Boot: a.self.Boot}}
	start := a.world.member
	if start == nil {
		start = g.openSerf
	}
	var err error
	if g.members, err = start(a.config.Name, g.tags); err != nil {
		return nil, err
	}
	for _, m := range g.members.Members() {
		if m.Name == a.config.Name {
			a.record.Addresses.Gossip = m.Address
		}
	}
	return g, nil
}

// openSerf gossips over the network.
func (g *gossiping) openSerf(name string, tags gossip.Tags) (gossip.Membership, error) {
	c := &g.a.config
	host, err := advertised(c)
	if err != nil {
		return nil, err
	}
	if host, err = resolve(g.a.ctx, host); err != nil {
		return nil, err
	}
	s, err := gossip.OpenSerf(gossip.Config{Name: name, Bind: c.Bind, Port: c.GossipPort, Advertise: host, Key: c.EncryptKey, Tags: tags, Logger: g.a.log, Find: new(discovery.Finder).Find})
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use by another process: stop that one, or give another port with --gossip-port: %w", hostPort(c.Bind, c.GossipPort), err)
	}
	if err != nil {
		return nil, fmt.Errorf("starting gossip on %s: %w", hostPort(c.Bind, c.GossipPort), err)
	}
	return s, nil
}

// resolveWait bounds the look-up of the name that is advertised.
const resolveWait = 5 * time.Second

// resolve gives the address of a host: gossip carries no names.
func resolve(ctx context.Context, host string) (string, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return host, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveWait)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("the address of %s, which is advertised, cannot be found: give an IP address with --advertise: %w", host, err)
	}
	return found[0].Unmap().String(), nil
}

// run joins what the agent was told to join, and follows who fails, until ctx ends. The error is why this node can join nothing.
func (g *gossiping) run(ctx context.Context) error {
	joined := make(chan error, 1)
	if len(g.a.config.Join) > 0 {
		go func() { joined <- g.members.Join(ctx, g.a.config.Join) }()
	} else {
		joined <- nil
	}
	for {
		changed := g.members.Changed()
		g.note(g.members.Members())
		select {
		case <-changed:
		case err := <-joined:
			if err != nil {
				return err
			}
			joined = nil
		case <-ctx.Done():
			if joined != nil {
				<-joined
			}
			return ctx.Err()
		}
	}
}

// note remembers since when who has failed.
func (g *gossiping) note(members []gossip.Member) {
	g.mu.Lock()
	before := g.failed
	g.failed = map[topology.Process]time.Time{}
	for _, m := range members {
		if m.Status != gossip.Failed {
			continue
		}
		since, ok := before[m.Process()]
		if !ok {
			since = time.Now()
		}
		g.failed[m.Process()] = since
	}
	g.mu.Unlock()
	if w := g.a.working(); w != nil {
		w.reporter.changed()
	}
}

// setCluster tells others which cluster this node is in.
func (g *gossiping) setCluster(id uint64) error {
	g.mu.Lock()
	g.tags.Cluster = id
	tags := g.tags
	g.mu.Unlock()
	return g.members.SetTags(tags)
}

// candidates are the other living nodes, as far as founding and joining go.
func (g *gossiping) candidates() []member.Candidate {
	var list []member.Candidate
	for _, m := range g.members.Members() {
		if m.Status == gossip.Alive && m.Name != g.a.config.Name {
			list = append(list, member.Candidate{Node: topology.NodeID(m.Name), Address: m.Tags.Data, Cluster: m.Tags.Cluster, Expect: m.Tags.Expect})
		}
	}
	return list
}

// complaints are of the living processes that gossip takes for failed.
func (g *gossiping) complaints(s *raftfsm.State) []coordinator.Complaint {
	g.mu.Lock()
	defer g.mu.Unlock()
	var list []coordinator.Complaint
	for _, n := range s.Nodes {
		if since, ok := g.failed[n.Process()]; ok && n.ID != g.a.self.Node && (n.Status == raftfsm.Alive || n.Status == raftfsm.Leaving) {
			list = append(list, coordinator.Complaint{Process: n.Process(), Kind: coordinator.ComplaintSerf, SinceMs: max(0, time.Since(since).Milliseconds())})
		}
	}
	return list
}

// leaves makes close say goodbye.
func (g *gossiping) leaves() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave = true
}

// gossipGoodbye bounds the telling of others that this node goes.
const gossipGoodbye = 3 * time.Second

func (g *gossiping) close() error {
	g.mu.Lock()
	leave := g.leave
	g.mu.Unlock()
	var err error
	if leave {
		ctx, cancel := context.WithTimeout(context.Background(), gossipGoodbye)
		defer cancel()
		if err = g.members.Leave(ctx); errors.Is(err, context.DeadlineExceeded) {
			err = nil // they will take it for failed, which it then is
		}
	}
	return errors.Join(err, g.members.Close())
}
