package agent

import (
	"context"
	"sync"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/agent/peering"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// peers keeps this process connected with those that the metadata says are there, and hears who is not.
type peers struct {
	a       *Agent
	peering *peering.Peering
	changed func() // something else is to be reported
	stop    context.CancelFunc
	done    sync.WaitGroup
	// complained has something when complaints have changed.
	complained chan struct{}
}

func startPeers(a *Agent, node *engine.Node, changed func()) (*peers, error) {
	p := &peers{a: a, changed: changed, complained: make(chan struct{}, 1)}
	var err error
	p.peering, err = peering.New(peering.Config{Self: a.self, Mux: a.mux, Options: transport.Options{Meter: &a.meter}, Logger: a.log, Clock: a.clock.own, Ahead: a.clock.offset, Heard: p.followTime,
		Join: func(ctx context.Context, peer topology.Process, conn dataplane.Conn) error {
			return node.Join(ctx, engine.Peer{Node: peer.Node, Boot: peer.Boot}, conn)
		}})
	if err != nil {
		return nil, err
	}
	p.peering.OnChange(func() {
		changed()
		select {
		case p.complained <- struct{}{}:
		default:
		}
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(a.ctx))
	p.stop = stop
	p.done.Go(func() { p.follow(ctx) })
	p.done.Go(func() { p.succeed(ctx) })
	return p, nil
}

// follow names the processes that live, again with every version of the metadata.
func (p *peers) follow(ctx context.Context) {
	machine := p.a.Machine()
	for {
		changed := machine.Changed()
		p.peering.Update(living(machine.View()))
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func living(s *raftfsm.State) []peering.Info {
	var list []peering.Info
	for _, n := range s.Nodes {
		if n.Status == raftfsm.Alive || n.Status == raftfsm.Leaving {
			list = append(list, peering.Info{Process: n.Process(), Address: n.Addresses.Data})
		}
	}
	return list
}

// complaints are the fast signals of failures.
func (p *peers) complaints() []coordinator.Complaint {
	var list []coordinator.Complaint
	for _, c := range p.peering.Complaints() {
		kind := coordinator.ComplaintSilent
		if c.Kind == peering.Ended {
			kind = coordinator.ComplaintEnded
		}
		list = append(list, coordinator.Complaint{Process: c.Process, Kind: kind, SinceMs: max(0, time.Since(c.Since).Milliseconds())})
	}
	return list
}

// close ends all connections and waits until they have ended.
func (p *peers) close() error {
	p.stop()
	p.done.Wait()
	return p.peering.Close()
}
