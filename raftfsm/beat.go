package raftfsm

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// gate has a leader's beats go to all followers at the same instants: the multiples of a period of the cluster's time, when keep-alives are due as
// well. The library beats for each follower at random instants of its own, and a process that has nothing else to do wakes up for each of
// them, as do the followers. A beat waits at the gate for the next instant, but not when more than a period would then have passed since the last
// one to this follower: the library itself lets no more pass.
type gate struct {
	mu    sync.Mutex
	every time.Duration // 0: nobody keeps the time, and beats do not wait
	last  time.Time     // the last instant
	next  chan struct{} // closed at the next one
	open  int           // as long as somebody waits for an answer to beats they do not wait either
	sent  map[raft.ServerID]time.Time
}

// pass waits until a beat may be sent.
func (g *gate) pass(to raft.ServerID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if sent := g.sent[to]; g.open == 0 && time.Since(sent) < g.every && g.last.Sub(sent) <= 0 {
		next := g.next
		g.mu.Unlock()
		<-next
		g.mu.Lock()
	}
	if g.every > 0 {
		g.sent[to] = time.Now()
	}
}

// turn lets through what waits. What comes from now on waits for the next turn, if that comes after a period.
func (g *gate) turn(every time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.every == 0 {
		g.sent = map[raft.ServerID]time.Time{}
	}
	g.every, g.last = every, time.Now()
	g.release()
}

// hurry lets beats through at once until done is called.
func (g *gate) hurry() (done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open++
	g.release()
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.open--
	}
}

func (g *gate) release() {
	if g.next != nil {
		close(g.next)
	}
	g.next = make(chan struct{})
}

// isBeat says whether a request is one of the library's beats, as the library itself tells them from entries.
func isBeat(r *raft.AppendEntriesRequest) bool {
	return r.PrevLogEntry == 0 && r.PrevLogTerm == 0 && len(r.Entries) == 0 && r.LeaderCommitIndex == 0
}

// beat keeps the time of a gate until ctx ends.
func (g *Group) beat(ctx context.Context, beats *gate) {
	every := g.config.beatEvery()
	next := time.NewTimer(g.config.until(every))
	defer next.Stop()
	sent := make(chan struct{}, 1)
	var asking sync.WaitGroup
	defer asking.Wait()
	beats.turn(every)
	defer beats.turn(0) // what is asked needs beats
	asking.Go(func() { g.ask(ctx, sent) })
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		beats.turn(every)
		next.Reset(g.config.until(every))
		select {
		case sent <- struct{}{}:
		default:
		}
	}
}

// ask has the library ask for the next beats as soon as it has sent the last, which is all that it does for who wants to know whether this
// node still leads. They wait at the gate, where they cost nothing; otherwise the library's timers wake the process up first, one for each
// follower. Where the library is too busy to be asked these timers still do.
func (g *Group) ask(ctx context.Context, sent <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-sent:
		}
		if f := g.raft.GetConfiguration(); f.Error() == nil && len(f.Configuration().Servers) > 1 {
			_ = g.raft.VerifyLeader().Error() // the end of leadership is told elsewhere
		}
	}
}

// until is how long it is until the cluster's time is the next multiple of a period.
func (c *Config) until(period time.Duration) time.Duration {
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	return period - time.Duration(now().UnixNano())%period
}
