package raftfsm

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// passes notes when beats to a follower pass a gate that are asked for in random distances, as the library asks, until stop is closed.
func passes(g *gate, to raft.ServerID, every time.Duration, stop <-chan struct{}) (at []time.Time) {
	for n := 1; ; n++ {
		select {
		case <-stop:
			return at
		case <-time.After(every/2 + time.Duration(n*n*7919)%(every/2)):
		}
		g.pass(to)
		at = append(at, time.Now())
	}
}

func TestBeatsOfAllFollowersPassAtTheSameInstants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every, turns = 50 * time.Millisecond, 200
		g := new(gate)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		at := make([][]time.Time, 3)
		g.turn(every)
		began := time.Now()
		for i := range at {
			wg.Go(func() { at[i] = passes(g, raft.ServerID(fmt.Sprint(i)), every, stop) })
		}
		for range turns {
			time.Sleep(every)
			g.turn(every)
		}
		close(stop)
		g.turn(0)
		wg.Wait()
		for i, list := range at {
			between, last := 0, time.Time{}
			for k, x := range list {
				if k > 0 && x.Sub(last) > every {
					t.Errorf("follower %d had no beat for %v", i, x.Sub(last))
				}
				if x.Sub(began)%every != 0 { // the first few, until one asks early enough
					between++
				}
				last = x
			}
			if between > 5 || len(list) < turns || len(list) > turns+5 {
				t.Errorf("follower %d: %d beats in %d periods, %d of them between the instants", i, len(list), turns, between)
			}
		}
	})
}

func TestNoBeatWaitsAtAGateWhoseTimeNobodyKeepsOrWhileAnAnswerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(gate)
		began := time.Now()
		g.pass("a")
		g.pass("a") // nobody keeps the time
		g.turn(50 * time.Millisecond)
		g.pass("a")
		waits := make(chan time.Duration, 2)
		go func() { g.pass("a"); waits <- time.Since(began) }()
		synctest.Wait()
		done := g.hurry()
		g.pass("a")
		if w := <-waits; w != 0 {
			t.Errorf("a beat waited for %v although an answer is waited for", w)
		}
		done()
		go func() { g.pass("a"); waits <- time.Since(began) }()
		time.Sleep(30 * time.Millisecond)
		g.turn(0) // leadership has ended
		if w := <-waits; w != 30*time.Millisecond {
			t.Errorf("a beat waited for %v when nobody keeps the time any more", w)
		}
	})
}

// wire is a connection that notes when something is written.
type wire struct {
	net.Conn
	wrote func()
}

func (w wire) Write(b []byte) (int, error) {
	w.wrote()
	return w.Conn.Write(b)
}

// TestAnIdleLeaderBeatsAtRoundInstantsOfTheClustersTime: to all followers at once, as often as its library makes sure of at least, and nothing
// else wakes up the connections but now and then the library's word of what is committed. Who asks whether it still leads is answered at once.
func TestAnIdleLeaderBeatsAtRoundInstantsOfTheClustersTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lead = 17 * time.Millisecond // the cluster's time is ahead of the host's
		var mu sync.Mutex
		var round, other int
		every := DefaultConfig().Heartbeat / 5
		wrote := func() {
			mu.Lock()
			defer mu.Unlock()
			if time.Now().Add(lead).UnixNano()%int64(every) == 0 {
				round++
			} else {
				other++
			}
		}
		c := pipeCluster(t, 3, wrote, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(lead) } })
		leader := c.await()
		time.Sleep(5 * time.Second)
		count := func() (int, int) {
			mu.Lock()
			defer mu.Unlock()
			return round, other
		}
		round0, other0 := count()
		const lasts = 20 * time.Second
		time.Sleep(lasts)
		round1, other1 := count()
		// A request and an answer for each of two followers.
		if got, want := round1-round0, 2*2*int(lasts/every); got < want-8 || got > want+want/10 {
			t.Errorf("%d messages at round instants in %v, want %d", got, lasts, want)
		}
		if got, most := other1-other0, 2*2*int(lasts/DefaultConfig().Commit); got > most {
			t.Errorf("%d messages at other instants in %v, more than the %d of what is committed", got, lasts, most)
		}
		for n := range 20 {
			time.Sleep(time.Duration(n) * 7 * time.Millisecond)
			began := time.Now()
			if _, err := leader.Current(t.Context()); err != nil || time.Since(began) != 0 {
				t.Errorf("the leader was sure of itself after %v: %v", time.Since(began), err)
			}
		}
		if now := c.await(); now != leader {
			t.Error("another leads")
		}
	})
}

// piped is a cluster whose members reach each other over pipes, with the transport that processes have.
type piped struct {
	t      *testing.T
	groups []*Group
}

func pipeCluster(t *testing.T, n int, wrote func(), tune func(*Config)) *piped {
	t.Helper()
	p := &piped{t: t}
	ends := map[string]pipes{}
	for i := 1; i <= n; i++ {
		ends[string(process(i).Node)] = pipes{make(chan net.Conn), make(chan struct{})}
	}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case ends[address].incoming <- wire{there, wrote}:
			return wire{here, wrote}, nil
		case <-ends[address].closed:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var servers []Server
	for i := 1; i <= n; i++ {
		c := DefaultConfig()
		c.Node, c.Stores = process(i).Node, MemoryStores()
		tune(&c)
		m := NewMachine()
		g, err := Open(c, m, NewTransport(ends[string(c.Node)], dial, m, quiet()), nil, quiet())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
		p.groups = append(p.groups, g)
		servers = append(servers, Server{c.Node, string(c.Node), true})
	}
	if _, err := p.groups[0].Bootstrap(servers); err != nil {
		t.Fatal(err)
	}
	return p
}

// await gives who leads, waiting until somebody does.
func (p *piped) await() *Group {
	for range 1000 {
		for _, g := range p.groups {
			if _, ok := g.Leads(); ok {
				return g
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	p.t.Fatal("nobody leads")
	return nil
}
