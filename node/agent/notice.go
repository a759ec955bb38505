package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
)

const (
	// instanceWait bounds the question which machine this is, noticeEvery is how often it is asked whether it is taken away: two minutes
	// are given.
	instanceWait = 10 * time.Second
	noticeEvery  = 5 * time.Second
	drainAgain   = time.Second
)

// instance is what this machine is to its provider, "" when it is of none.
func (a *Agent) instance() (string, error) {
	if a.config.Instance != InstanceIMDS {
		return a.config.Instance, nil
	}
	ctx, cancel := context.WithTimeout(a.ctx, instanceWait)
	defer cancel()
	id, err := a.world.metadata().InstanceID(ctx)
	if err != nil {
		return "", fmt.Errorf("--instance %s: %w; is this a machine of EC2 with its metadata service on?", InstanceIMDS, err)
	}
	return id, nil
}

// watchNotice drains this node when EC2 announces that the machine is taken away, until ctx ends.
func (a *Agent) watchNotice(ctx context.Context) {
	if a.config.Instance != InstanceIMDS {
		return
	}
	said := ""
	n := a.world.metadata().Watch(ctx, noticeEvery, func(err error) {
		if text := err.Error(); text != said {
			said = text
			a.log.Warn("it is not known whether this machine is taken away", "error", err)
		}
	})
	if n == nil {
		return
	}
	a.log.Warn("this machine is taken away: its work goes to others", "action", n.Action, "at", n.At.UTC().Format(time.RFC3339))
	for !a.drained(ctx) {
		if !sleep(ctx, drainAgain) {
			return
		}
	}
}

// drained says that this node is to hold nothing any more.
func (a *Agent) drained(ctx context.Context) bool {
	n := a.Machine().View().Node(a.self.Node)
	if n == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, leaveCommand)
	defer cancel()
	out, err := a.member.Propose(ctx, raftfsm.Envelope{AtMs: a.clock.now().UnixMilli(), Command: &raftfsm.NodeDrain{Node: n.ID, Version: n.Version, Drain: true, By: raftfsm.ByNotice}})
	if err != nil {
		a.log.Warn("this node cannot be drained yet", "error", err)
	}
	return err == nil && out.Done()
}
