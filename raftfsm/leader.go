package raftfsm

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// barrierTimeout bounds the wait for a place in the queue; the barrier itself ends with leadership.
const barrierTimeout = time.Second

// lead starts the leader's loops when this node becomes leader and ends them when it no longer is. The channel may swallow a loss
// between two gains: a gain while the loops run means another term, and starts them anew.
func (g *Group) lead(ctx context.Context) {
	var running sync.WaitGroup
	end := func() {}
	stop := func() {
		g.leads.Store(0)
		end()
		running.Wait()
		g.leads.Store(0) // it may have been about to lead
	}
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case leads := <-g.raft.LeaderCh():
			stop()
			if !leads {
				continue
			}
			term, cancel := context.WithCancel(ctx)
			end = cancel
			running.Go(func() { g.reign(term) })
		}
	}
}

// reign waits until this node has applied what earlier leaders committed, then runs the loops until ctx ends.
func (g *Group) reign(ctx context.Context) {
	term := g.raft.CurrentTerm()
	barrier := func() raft.Future { return g.raft.Barrier(barrierTimeout) }
	for g.await(ctx, barrier) != nil || g.Err() != nil {
		if ctx.Err() != nil {
			return
		}
		if g.Err() != nil && g.Transfer(ctx, "") == nil {
			return
		}
		pause(ctx, g.config.Commit)
	}
	g.log.Info("this node leads", "term", term)
	g.leads.Store(term)
	g.tellLeader()
	var loops sync.WaitGroup
	loops.Go(func() { g.keepMembership(ctx) })
	if t, ok := g.ways.(transport); ok {
		loops.Go(func() { g.beat(ctx, t.beats) })
	}
	if g.loop != nil {
		g.loop(ctx, term)
	}
	loops.Wait()
	g.log.Info("this node no longer leads", "term", term)
}

// followLeader tells when another node leads, until ctx ends.
func (g *Group) followLeader(ctx context.Context) {
	heard := make(chan raft.Observation, 1) // what finds no room is told with what is there
	o := raft.NewObserver(heard, false, func(o *raft.Observation) bool { _, ok := o.Data.(raft.LeaderObservation); return ok })
	g.raft.RegisterObserver(o)
	defer g.raft.DeregisterObserver(o)
	for {
		select {
		case <-heard:
			g.tellLeader()
		case <-ctx.Done():
			return
		}
	}
}

func (g *Group) tellLeader() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.leading)
	g.leading = make(chan struct{})
}

// LeaderChanged gives a channel that is closed when another node leads, none does, or this one is ready to. Take it before asking who.
func (g *Group) LeaderChanged() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.leading
}

// Stand has this node stand for election at once, and others vote although they have not missed the leader yet. For who knows that the leader's
// process has ended: if not, it costs one election. It is nothing to a node that leads or stands already.
func (g *Group) Stand(ctx context.Context) error {
	members, _, err := g.members()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m Server) bool { return m.Node == g.config.Node && m.Voter })
	if i < 0 {
		return fmt.Errorf("node %s cannot lead: it is no voter", g.config.Node)
	}
	if g.raft.State() != raft.Follower {
		return nil
	}
	// What a leader that goes tells its successor: the library knows no other way to stand.
	self, at := raft.ServerID(g.config.Node), raft.ServerAddress(members[i].Address)
	ask := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: g.ways.EncodePeer(self, at)}}
	return g.await(ctx, func() raft.Future { return answered{g.ways.TimeoutNow(self, at, ask, new(raft.TimeoutNowResponse))} })
}

// answered is a future that has its answer.
type answered struct{ err error }

func (a answered) Error() error { return a.err }
