package raftfsm

import (
	"context"
	"time"
)

// aloneLook is how often a leader without followers looks whether there are any.
const aloneLook = time.Second

// beat has this node, which leads, say so to all followers at the same instants, until ctx ends. The library alone does so to each follower
// at random instants, a tenth to a fifth of Heartbeat apart: with four followers an idle leader wakes up 200 times a second for it, and waking
// up is what it costs. While this node leads the library's own beats come only when these do not, as when its main loop waits for the disk.
func (g *Group) beat(ctx context.Context) {
	c := &g.config
	g.setTimeouts(10*c.Beat, 10*c.Beat)
	defer g.setTimeouts(c.Heartbeat, c.Election)
	for ctx.Err() == nil {
		if len(g.raft.GetConfiguration().Configuration().Servers) < 2 {
			pause(ctx, aloneLook)
			continue
		}
		pause(ctx, c.Beat-time.Duration(c.Now().UnixNano())%c.Beat)
		g.raft.VerifyLeader() // what it finds out the library acts on itself
	}
}

// setTimeouts changes how long the library waits as a follower, and with it how often it beats as a leader.
func (g *Group) setTimeouts(heartbeat, election time.Duration) {
	r := g.raft.ReloadableConfig()
	r.HeartbeatTimeout, r.ElectionTimeout = max(heartbeat, g.config.Heartbeat), max(election, g.config.Election)
	if err := g.raft.ReloadConfig(r); err != nil {
		g.log.Error("raft's time-outs cannot be set", "error", err)
	}
}
