package raftfsm

import (
	"context"
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
	var loops sync.WaitGroup
	loops.Go(func() { g.keepMembership(ctx) })
	if g.loop != nil {
		g.loop(ctx, term)
	}
	loops.Wait()
	g.log.Info("this node no longer leads", "term", term)
}
