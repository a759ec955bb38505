package agent

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// clock gives the cluster's time, which epochs and histories follow. It is the clock of the first leader, handed on from leader to leader: a
// node follows whoever leads, and goes on with the time that it had when it leads itself. So a leader whose own clock is wrong changes
// nothing. Between measurements time runs as this host's monotonic clock does; a host's clock that is set anew while the process runs is not
// looked at.
type clock struct {
	host  func() time.Time // as package time has it: with a monotonic part
	start time.Time
	ahead atomic.Int64  // nanoseconds that the cluster's time is ahead of own
	known chan struct{} // closed when ahead has been taken from another node, or other nodes take theirs from this one
	once  sync.Once
}

func newClock(host func() time.Time) *clock {
	return &clock{host: host, start: host(), known: make(chan struct{})}
}

// own is the host's clock as it was when the process started, and the time since.
func (c *clock) own() time.Time { return c.start.Add(c.host().Sub(c.start)) }

// now is the cluster's time.
func (c *clock) now() time.Time { return c.own().Add(time.Duration(c.ahead.Load())) }

// offset is what the cluster's time is ahead of the host's clock; known is false while nobody has told.
func (c *clock) offset() (ahead time.Duration, known bool) {
	return time.Duration(c.ahead.Load()), c.isKnown()
}

// follow takes the time over from a peer: it leads, or nobody else has told yet. What differs by less than the measurement may be wrong is
// no difference. It says whether the time was not known before.
func (c *clock) follow(ahead, within time.Duration) (news bool) {
	if d := ahead - time.Duration(c.ahead.Load()); c.isKnown() && d >= -within && d <= within {
		return false
	}
	c.ahead.Store(int64(ahead))
	return c.tell()
}

// lead goes on with the time as it is: from now on others follow.
func (c *clock) lead() { c.tell() }

func (c *clock) tell() (news bool) {
	c.once.Do(func() { close(c.known); news = true })
	return news
}

func (c *clock) isKnown() bool {
	select {
	case <-c.known:
		return true
	default:
		return false
	}
}

// followTime is called when a keep-alive of a peer was taken.
func (p *peers) followTime(node topology.NodeID) {
	c, group := p.a.clock, p.a.member.Group()
	if _, leads := group.Leads(); leads {
		return
	}
	leader, ok := group.Leader()
	if c.isKnown() && (!ok || leader.Node != node) {
		return
	}
	if ahead, within, ok := p.peering.Ahead(node); ok && c.follow(ahead, within) {
		p.changed()
	}
}

// clocks are reports of the living processes that say how far their clocks are off, as this process has measured it, and nothing else.
func (p *peers) clocks(s *raftfsm.State) (list []coordinator.Received) {
	ahead, _ := p.a.clock.offset()
	for _, i := range living(s) {
		if peer, ok := p.peering.Offset(i.Process.Node); ok {
			list = append(list, coordinator.Received{Report: &coordinator.Report{Process: i.Process, ClockOffsetMs: (ahead - peer).Milliseconds()}})
		}
	}
	slices.SortFunc(list, func(a, b coordinator.Received) int { return cmp.Compare(a.Report.Process.Node, b.Report.Process.Node) })
	return list
}
