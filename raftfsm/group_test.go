package raftfsm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// settled applies commands to a state alone: what a cluster must come to.
func settled(t testing.TB, list []Envelope) *State {
	t.Helper()
	s := new(State)
	for _, e := range list {
		s, _ = s.Apply(e)
	}
	return s
}

// Invariant 26. Each command of every kind is proposed while its leader is killed; the killed node comes back before the next.
func TestKillingTheLeaderAroundEachCommandLeadsToTheSameEndState(t *testing.T) {
	list := oneOfEach()
	want := settled(t, list)
	others := func(c *cluster, id topology.NodeID) []topology.NodeID {
		return slices.DeleteFunc(slices.Clone(c.ids), func(o topology.NodeID) bool { return o == id })
	}
	for _, when := range []struct {
		name string
		do   func(c *cluster, e Envelope)
	}{
		{"before", func(c *cluster, e Envelope) {
			id, _ := c.leader()
			c.kill(id)
			c.propose(e)
			c.restart(id)
		}},
		{"before anybody else has it", func(c *cluster, e Envelope) {
			id, g := c.leader()
			c.net.setCut(id, others(c, id), true)
			if _, err := g.Propose(c.t.Context(), e); err == nil {
				c.t.Errorf("%T: applied without a majority", e.Command)
			}
			c.kill(id)
			c.propose(e)
			c.restart(id)
		}},
		{"when others have it and the leader does not know", func(c *cluster, e Envelope) {
			id, g := c.leader()
			for _, o := range others(c, id) {
				c.net.setCut(o, []topology.NodeID{id}, true)
			}
			if _, err := g.Propose(c.t.Context(), e); err == nil {
				c.t.Errorf("%T: applied without a majority", e.Command)
			}
			c.kill(id)
			c.propose(e)
			c.restart(id)
		}},
		{"after", func(c *cluster, e Envelope) {
			c.propose(e)
			id, _ := c.leader()
			c.kill(id)
			c.propose(e) // the answer was lost
			c.restart(id)
		}},
	} {
		t.Run(when.name, func(t *testing.T) {
			for _, withIDs := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					c := newCluster(t, 5, "", nil)
					defer c.close()
					for _, e := range list {
						if !withIDs && e.Command.Kind() != KindHistoryAdd {
							e.ID = CommandID{}
						}
						when.do(c, e)
					}
					got := c.same(want.Version)
					if withIDs && !bytes.Equal(got, bytesOf(t, want)) {
						t.Errorf("the end state differs:\n%s\n%s", got, bytesOf(t, want))
					}
					s, err := DecodeSnapshot(got)
					if err != nil {
						t.Fatal(err)
					}
					plain := *want
					plain.Receipts, s.Receipts = nil, nil
					if !bytes.Equal(bytesOf(t, s), bytesOf(t, &plain)) {
						t.Errorf("the end state differs:\n%s\n%s", bytesOf(t, s), bytesOf(t, &plain))
					}
				})
			}
		})
	}
}

func TestEveryTermRunsItsLeaderLoopOnceAndEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, "", nil)
		defer c.close()
		c.propose(Envelope{Command: &ClusterInit{ID: 42}})
		for range 10 {
			id, g := c.leader()
			if id == c.ids[0] {
				c.kill(id)
				c.leader()
				c.restart(id)
			} else if err := g.Transfer(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		seen := map[string]bool{}
		for _, term := range c.terms {
			if seen[term] {
				t.Errorf("the loop of %s ran twice", term)
			}
			seen[term] = true
		}
		if len(c.terms) < 10 {
			t.Errorf("%d terms: %v", len(c.terms), c.terms)
		}
	})
}

// TestAVoterThatStandsLeadsBeforeTheOthersMissTheLeader: they vote although they have just heard of it, in as many rounds as there are voters to
// lose.
func TestAVoterThatStandsLeadsBeforeTheOthersMissTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, "", nil)
		defer c.close()
		c.propose(Envelope{Command: &ClusterInit{ID: 42}})
		for range 2 {
			id, old := c.leader()
			if err := old.Stand(t.Context()); err != nil {
				t.Fatal(err) // who leads has nothing to do
			}
			if now, _ := c.leader(); now != id {
				t.Fatalf("%s leads, %s led and stood", now, id)
			}
			next := c.ids[(slices.Index(c.ids, id)+1)%len(c.ids)]
			for c.groups[next] == nil {
				next = c.ids[(slices.Index(c.ids, next)+1)%len(c.ids)]
			}
			time.Sleep(time.Second) // until every voter has the whole log: one that lacks an entry gets no vote
			changed := c.groups[next].LeaderChanged()
			began := time.Now()
			c.kill(id)
			if err := c.groups[next].Stand(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-changed
			if now, _ := c.leader(); now != next {
				t.Fatalf("%s leads, %s stood", now, next)
			}
			if took := time.Since(began); took >= DefaultConfig().Heartbeat {
				t.Errorf("%s leads after %v of virtual time: nobody misses the leader before %v", next, took, DefaultConfig().Heartbeat)
			}
		}
	})
}

// TestAMistakenVoterThatStandsOnlyChangesTheLeader: the one that led lives.
func TestAMistakenVoterThatStandsOnlyChangesTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, "", nil)
		defer c.close()
		c.propose(Envelope{Command: &ClusterInit{ID: 42}})
		for n := 1; n <= 3; n++ {
			for _, id := range c.ids { // all at once, the leader among them
				if err := c.groups[id].Stand(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if out := c.propose(Envelope{Command: join(n)}); !out.Done() { // already so: committed by a leader that changed before it could answer
				t.Fatalf("%+v", out)
			}
		}
		c.same(4)
	})
}

func TestAMinorityAppliesNothingAndCatchesUpWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, "", nil)
		defer c.close()
		c.propose(Envelope{Command: &ClusterInit{ID: 42}})
		id, old := c.leader()
		c.cutOff(id, true)
		_, err := old.Propose(t.Context(), Envelope{Command: join(1)})
		if !errors.Is(err, ErrUncertain) {
			t.Fatalf("cut off leader: %v, want %v", err, ErrUncertain)
		}
		if _, err := old.Current(t.Context()); !errors.Is(err, ErrNotLeader) {
			t.Fatalf("cut off leader reads: %v, want %v", err, ErrNotLeader)
		}
		for n := 1; n <= 5; n++ {
			if out := c.propose(Envelope{Command: join(n)}); out.Code != Applied {
				t.Fatalf("%+v", out)
			}
		}
		_, follower := c.leader()
		for _, o := range c.ids {
			if g := c.groups[o]; g != follower && g != old {
				_, err := g.Propose(t.Context(), Envelope{Command: join(1)})
				var not *NotLeaderError
				if !errors.As(err, &not) || not.Address == "" {
					t.Fatalf("%s: %v, want who leads", o, err)
				}
			}
		}
		c.cutOff(id, false)
		c.same(6)
	})
}

// A follower learns of a commit with the next entry: the barrier behind each command brings it at once.
func TestFollowersApplyWithoutWaitingForAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, "", func(c *Config) { c.Commit = 10 * time.Second; c.MembershipEvery = time.Hour })
		defer c.close()
		_, g := c.leader()
		began := time.Now()
		out, err := g.Propose(t.Context(), Envelope{Command: &ClusterInit{ID: 42}})
		if err != nil {
			t.Fatal(err)
		}
		c.same(out.Version)
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("followers applied after %v of virtual time", took)
		}
	})
}

func TestEveryNodeKnownBecomesAMemberAndUpToFiveVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, "", nil)
		defer c.close()
		c.propose(Envelope{Command: &ClusterInit{ID: 42}})
		var last Outcome
		for n := 1; n <= 7; n++ {
			id := process(n).Node
			if n > 1 {
				c.ids = append(c.ids, id)
				c.start(id)
			}
			k := join(n)
			k.Node.Spot = n == 2 || n == 3
			last = c.propose(Envelope{Command: k})
		}
		c.same(last.Version)
		wantVoters(t, c, "[n1 n4 n5 n6 n7]")

		// A lost voter is replaced by a spot instance: there is none else. Another keeps its vote: nobody can take it.
		c.kill("n4")
		last = c.propose(Envelope{Command: &NodeStatus{process(4), 1, Lost, "killed"}})
		wantVoters(t, c, "[n1 n2 n5 n6 n7]")

		// The leader itself leaves: it hands over, loses its vote, and goes when nothing names it.
		id, _ := c.leader()
		n := slices.Index(c.ids, id) + 1
		_, g := c.leader()
		if out, err := g.Propose(t.Context(), Envelope{Command: &NodeLeave{process(n), 1}}); err != nil || out.Reason != StillNamed {
			t.Fatalf("a voter left: %+v, %v", out, err)
		}
		c.propose(Envelope{Command: &NodeStatus{process(n), 1, Leaving, "asked to"}})
		time.Sleep(5 * time.Second)
		if now, _ := c.leader(); now == id {
			t.Fatalf("%s still leads", id)
		}
		last = c.propose(Envelope{Command: &NodeLeave{process(n), 2}})
		if last.Code != Applied {
			t.Fatalf("%+v", last)
		}
		time.Sleep(5 * time.Second)
		_, g = c.leader()
		members, err := g.Members()
		if err != nil || slices.ContainsFunc(members, func(m Server) bool { return m.Node == id }) {
			t.Fatalf("%s is a member still: %v, %v", id, members, err)
		}
	})
}

// wantVoters gives membership some time, then compares.
func wantVoters(t *testing.T, c *cluster, want string) {
	t.Helper()
	time.Sleep(5 * time.Second)
	_, g := c.leader()
	members, err := g.Members()
	if err != nil {
		t.Fatal(err)
	}
	var voters []topology.NodeID
	for _, m := range members {
		if m.Voter {
			voters = append(voters, m.Node)
		}
	}
	if fmt.Sprint(voters) != want {
		t.Fatalf("voters are %v, want %s", voters, want)
	}
}

func TestMembershipTakesOneStepAtATime(t *testing.T) {
	node := func(n int, status Status, spot bool) *Node {
		return &Node{ID: process(n).Node, Status: status, Spot: spot}
	}
	worker := func(n int, status Status) *Node {
		return &Node{ID: process(n).Node, Status: status, Tags: []KV{{RoleTag, RoleWorker}}}
	}
	server := func(n int, voter bool) Server { return Server{process(n).Node, "", voter} }
	for _, c := range []struct {
		name    string
		nodes   []*Node
		members []Server
		leader  int
		want    string
	}{
		{"founder alone", nil, []Server{server(1, true)}, 1, "none"},
		{"founders have no records yet", []*Node{node(1, Alive, false)}, []Server{server(1, true), server(2, true), server(3, true)}, 1, "none"},
		{"second node", []*Node{node(1, Alive, false), node(2, Alive, false)}, []Server{server(1, true)}, 1, "n2 added without a vote"},
		{"two nodes, one vote", []*Node{node(1, Alive, false), node(2, Alive, false)}, []Server{server(1, true), server(2, false)}, 1, "none"},
		{"third node", []*Node{node(1, Alive, false), node(2, Alive, true), node(3, Alive, false)}, []Server{server(1, true), server(2, false), server(3, false)}, 1, "n3 given a vote"},
		{"lost, nobody instead", []*Node{node(1, Alive, false), node(2, Alive, false), node(3, Lost, false)}, []Server{server(1, true), server(2, true), server(3, true)}, 1, "none"},
		{"lost, another instead", []*Node{node(1, Alive, false), node(2, Alive, false), node(3, Lost, false), node(4, Alive, false)}, []Server{server(1, true), server(2, true), server(3, true), server(4, false)}, 1, "n4 given a vote"},
		{"lost and replaced", []*Node{node(1, Alive, false), node(2, Alive, false), node(3, Lost, false), node(4, Alive, false)}, []Server{server(1, true), server(2, true), server(3, true), server(4, true)}, 1, "n3 vote taken"},
		{"four votes", []*Node{node(1, Alive, false), node(2, Alive, false), node(3, Alive, false), node(4, Alive, false)}, []Server{server(1, true), server(2, true), server(3, true), server(4, true)}, 4, "none"},
		{"leader leaves", []*Node{node(1, Leaving, false), node(2, Alive, false), node(3, Alive, false), node(4, Alive, false)}, []Server{server(1, true), server(2, true), server(3, true), server(4, true)}, 1, "n1 leadership handed over"},
		{"leaves, two remain", []*Node{node(1, Alive, false), node(2, Alive, false), node(3, Leaving, false)}, []Server{server(1, true), server(2, true), server(3, true)}, 1, "n3 vote taken"},
		{"leaves when another is lost", []*Node{node(1, Leaving, false), node(2, Alive, false), node(3, Lost, false)}, []Server{server(1, true), server(2, true), server(3, true)}, 2, "n3 vote taken"},
		{"leaves, and the lost one has no vote", []*Node{node(1, Leaving, false), node(2, Alive, false), node(3, Lost, false)}, []Server{server(1, true), server(2, true), server(3, false)}, 2, "n1 vote taken"},
		{"leaves, and without its vote nothing is decided", []*Node{node(1, Leaving, false), node(2, Alive, false), node(3, Lost, false), node(4, Lost, false)},
			[]Server{server(1, true), server(2, true), server(3, true), server(4, true)}, 2, "none"},
		{"spot votes, another could", []*Node{node(1, Alive, true), node(2, Alive, false)}, []Server{server(1, true), server(2, false)}, 1, "n2 given a vote"},
		{"spot leads", []*Node{node(1, Alive, true), node(2, Alive, false)}, []Server{server(1, true), server(2, true)}, 1, "n1 leadership handed over"},
		{"workers beside one that votes", []*Node{node(1, Alive, false), worker(2, Alive), worker(3, Alive)}, []Server{server(1, true), server(2, false), server(3, false)}, 1, "none"},
		{"a spot instance before workers", []*Node{node(1, Alive, false), worker(2, Alive), node(3, Alive, true), node(4, Alive, false)}, []Server{server(1, true), server(2, false), server(3, false), server(4, true)}, 1, "n3 given a vote"},
		{"nobody but workers", []*Node{worker(1, Alive), worker(2, Alive), worker(3, Alive)}, []Server{server(1, true), server(2, false), server(3, false)}, 1, "n2 given a vote"},
		{"workers vote, another could", []*Node{worker(1, Alive), worker(2, Alive), worker(3, Alive), node(4, Alive, false)}, []Server{server(1, true), server(2, true), server(3, true), server(4, false)}, 1, "n4 given a vote"},
		{"workers vote, another does", []*Node{worker(1, Alive), worker(2, Alive), worker(3, Alive), node(4, Alive, false)}, []Server{server(1, true), server(2, true), server(3, true), server(4, true)}, 4, "n3 vote taken"},
		{"a worker leads, another votes", []*Node{worker(1, Alive), node(4, Alive, false)}, []Server{server(1, true), server(4, true)}, 1, "n1 leadership handed over"},
		{"a lost worker keeps no place", []*Node{node(1, Alive, false), node(2, Alive, false), worker(3, Lost), worker(4, Alive)}, []Server{server(1, true), server(2, true), server(3, true), server(4, false)}, 1, "n3 vote taken"},
		{"left", []*Node{node(1, Alive, false), node(2, Left, false)}, []Server{server(1, true), server(2, false)}, 1, "n2 removed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := "none"
			if step, ok := NextMembershipStep(&State{Nodes: c.nodes}, c.members, process(c.leader).Node, 5); ok {
				got = fmt.Sprintf("%s %v", step.Node, step.Action)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestANodeIsCaughtUpWhenItSeesItsOwnProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, "", nil)
		defer c.close()
		c.propose(Envelope{Command: &ClusterInit{ID: 42}})
		c.propose(Envelope{Command: join(1)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.groups["n2"].CaughtUp(ctx, process(2)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("caught up before it joined: %v", err)
		}
		c.propose(Envelope{Command: join(2)})
		if _, err := c.groups["n2"].CaughtUp(t.Context(), process(2)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAllNodesKilledComeBackFromDiskWithTheSameState(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, dir, func(c *Config) { c.SnapshotEntries, c.TrailingEntries = 4, 2 })
		defer c.close()
		var version uint64
		for i, e := range oneOfEach() {
			version = c.propose(e).Version
			if i == 15 {
				for _, g := range c.groups {
					if err := g.Snapshot(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		before := c.same(version)
		for _, id := range c.ids {
			c.kill(id)
		}
		for _, id := range c.ids {
			if g := c.restart(id); !g.InGroup() {
				t.Fatalf("%s has forgotten its group", id)
			}
		}
		c.leader()
		if after := c.same(version); !bytes.Equal(before, after) {
			t.Fatalf("state changed over the restart:\n%s\n%s", before, after)
		}
		for _, id := range c.ids {
			if got, err := ReadIdentity(dir + "/" + string(id)); err != nil || got.Cluster != 42 {
				t.Fatalf("%s: identity %+v, %v", id, got, err)
			}
		}
	})
}

func TestADirectoryThatIsNotThisNodesIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := writeIdentity(dir, Identity{Version: 1, Node: "n1", Cluster: 42}); err != nil {
		t.Fatal(err)
	}
	open := func(node topology.NodeID, cluster uint64) error {
		c := DefaultConfig()
		c.Node, c.Dir, c.Cluster = node, dir, cluster
		g, err := Open(c, NewMachine(), newNetwork().transport(node), nil, quiet())
		if err == nil {
			err = g.Close()
		}
		return err
	}
	if err := open("n1", 42); err != nil {
		t.Fatal(err)
	}
	if err := open("n2", 42); !errors.Is(err, ErrOtherNode) {
		t.Errorf("other node: %v", err)
	}
	if err := open("n1", 43); !errors.Is(err, ErrOtherCluster) {
		t.Errorf("other cluster: %v", err)
	}
	c := DefaultConfig()
	c.Node, c.Dir = "n1", dir
	g, err := Open(c, NewMachine(), newNetwork().transport("n1"), nil, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := open("n1", 42); !errors.Is(err, ErrDirInUse) {
		t.Errorf("directory in use: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if err := writeIdentity(dir, Identity{Version: 2, Node: "n1"}); err != nil {
		t.Fatal(err)
	}
	if err := open("n1", 42); !errors.Is(err, ErrNewerVersion) {
		t.Errorf("newer version: %v", err)
	}
}

func TestALogOfAnotherClusterStopsTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, "", func(c *Config) { c.Cluster = 7 })
		defer c.close()
		_, g := c.leader()
		if _, err := g.Propose(t.Context(), Envelope{Command: &ClusterInit{ID: 42}}); err != nil {
			t.Fatal(err)
		}
		<-g.Failed()
		if !errors.Is(g.Err(), ErrOtherCluster) {
			t.Fatal(g.Err())
		}
	})
}

func TestANodeComesBackUnderAnotherAddressOverTCP(t *testing.T) {
	dir := t.TempDir()
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	groups := map[int]*Group{}
	start := func(n int) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c := DefaultConfig()
		c.Node, c.Dir = process(n).Node, fmt.Sprintf("%s/%d", dir, n)
		m := NewMachine()
		if groups[n], err = Open(c, m, NewTransport(l, dial, m, quiet()), nil, quiet()); err != nil {
			t.Fatal(err)
		}
		return l.Addr().String()
	}
	defer func() {
		for _, g := range groups {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	lead := func() *Group {
		for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			for _, g := range groups {
				if _, ok := g.Leads(); ok {
					return g
				}
			}
		}
		t.Fatal("no leader")
		return nil
	}
	propose := func(k Command) (version uint64) {
		for {
			out, err := lead().Propose(t.Context(), Envelope{Command: k})
			if errors.Is(err, ErrNotLeader) || errors.Is(err, ErrUncertain) || errors.Is(err, ErrBusy) {
				continue
			}
			if err != nil || !out.Done() {
				t.Fatalf("%T: %+v, %v", k, out, err)
			}
			return out.Version
		}
	}
	addresses := []string{start(1), start(2), start(3)}
	var servers []Server
	for n, a := range addresses {
		servers = append(servers, Server{process(n + 1).Node, a, true})
	}
	for _, g := range groups {
		if _, err := g.Bootstrap(servers); err != nil {
			t.Fatal(err)
		}
	}
	propose(&ClusterInit{ID: 42})
	for n, a := range addresses {
		k := join(n + 1)
		k.Node.Addresses.Data = a
		propose(k)
	}
	if err := groups[3].Close(); err != nil {
		t.Fatal(err)
	}
	delete(groups, 3)
	again := join(3)
	again.Version, again.Node.Boot, again.Node.Addresses.Data = 1, 301, start(3)
	version := propose(again)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for n, g := range groups {
		if _, err := g.Machine().WaitVersion(ctx, version); err != nil {
			t.Fatalf("n%d: %v", n, err)
		}
	}
	if _, err := groups[3].CaughtUp(ctx, topology.Process{Node: "n3", Boot: 301}); err != nil {
		t.Fatal(err)
	}
}

var _ raft.WithPreVote = (*faultyTransport)(nil)
