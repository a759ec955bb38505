package member

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestANodeWithoutFlagsIsAClusterOfOneThatSurvivesItsRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		stores := raftfsm.MemoryStores()
		first := c.start("n1", 1, stores, nil)
		if s := c.joined(first); s.Cluster.ID != 42 || s.Node("n1").Boot != 1 {
			t.Fatalf("joined %+v", s)
		}
		c.kill(first)
		second := c.start("n1", 2, stores, nil)
		if s := c.joined(second); s.Cluster.ID != 42 || s.Node("n1").Boot != 2 || s.Node("n1").Version != 2 {
			t.Fatalf("joined again %+v", s)
		}
	})
}

func joining(c *Config)   { c.Joins, c.Expect = []string{"n1"}, 0 }
func founding3(c *Config) { c.Joins, c.Expect = []string{"n1"}, 3 }

func TestNodesThatJoinAreTakenInAndVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		late := c.start("n2", 2, raftfsm.MemoryStores(), joining)
		time.Sleep(30 * time.Second)
		if late.Group().InGroup() {
			t.Fatal("a node that is told to join has founded a cluster")
		}
		c.joined(c.start("n1", 1, raftfsm.MemoryStores(), nil))
		c.joined(late)
		c.joined(c.start("n3", 3, raftfsm.MemoryStores(), joining))
		time.Sleep(5 * time.Second)
		members, err := late.Group().Members()
		if err != nil || len(members) != 3 {
			t.Fatalf("members %v, %v", members, err)
		}
		for _, m := range members {
			if !m.Voter {
				t.Errorf("%s does not vote", m.Node)
			}
		}
	})
}

func TestFoundersFoundOneClusterTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		var nodes []*node
		for i, name := range []string{"n1", "n2", "n3", "n4"} {
			nodes = append(nodes, c.start(name, topology.BootID(i+1), raftfsm.MemoryStores(), founding3))
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
		}
		for _, n := range nodes {
			if s := c.joined(n); s.Cluster.ID != 42 {
				t.Fatalf("%s is in %x", n.config.Node.ID, s.Cluster.ID)
			}
		}
	})
}

func TestCommandsFindTheLeaderFromAnyMemberAlsoWhenItDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		var nodes []*node
		for i, name := range []string{"n1", "n2", "n3"} {
			nodes = append(nodes, c.start(name, topology.BootID(i+1), raftfsm.MemoryStores(), founding3))
		}
		for _, n := range nodes {
			c.joined(n)
		}
		propose := func(n *node, version uint64) {
			t.Helper()
			out, err := n.Propose(t.Context(), raftfsm.Envelope{Command: &raftfsm.ClusterSet{Version: version, Set: []raftfsm.KV{{Key: "k", Value: string(rune('a' + version))}}}})
			if err != nil || out.Code != raftfsm.Applied {
				t.Fatalf("%s: %+v, %v", n.config.Node.ID, out, err)
			}
		}
		for i, n := range nodes {
			propose(n, uint64(i+1))
		}
		dead := c.leader()
		c.kill(dead)
		v := uint64(4)
		for _, n := range nodes {
			if n != dead {
				propose(n, v)
				v++
			}
		}
	})
}

func TestAProposalWithoutALeaderEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		n := c.start("n1", 1, raftfsm.MemoryStores(), joining)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := n.Propose(ctx, raftfsm.Envelope{Command: &raftfsm.ClusterSet{}})
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, raftfsm.ErrNotLeader) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestANodeTakenForLostByMistakeJoinsAgainAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		n := c.start("n1", 1, raftfsm.MemoryStores(), nil)
		c.joined(n)
		for range 5 {
			have := n.Machine().View().Node("n1")
			out, err := n.Propose(t.Context(), raftfsm.Envelope{Command: &raftfsm.NodeStatus{Process: have.Process(), Version: have.Version, Status: raftfsm.Lost}})
			if err != nil || out.Code != raftfsm.Applied {
				t.Fatalf("%+v, %v", out, err)
			}
			began := time.Now()
			s, err := n.Machine().Wait(t.Context(), func(s *raftfsm.State) bool { return s.Node("n1").Status == raftfsm.Alive })
			if err != nil || s.Node("n1").Boot != 1 {
				t.Fatalf("%+v, %v", s, err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("joined again after %v", took)
			}
		}
	})
}

func TestANameInUseIsRefusedAndALaterProcessOfTheSameNodeReplacesTheEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		c.joined(c.start("n1", 1, raftfsm.MemoryStores(), nil))
		old := c.start("n2", 2, raftfsm.MemoryStores(), joining)
		c.joined(old)
		elsewhere := func(c *Config) { joining(c); c.Node.Addresses.Data = "elsewhere" }
		twin := c.start("n2", 3, raftfsm.MemoryStores(), elsewhere)
		<-twin.ended
		if !errors.Is(twin.err, errNameInUse) || !strings.Contains(twin.err.Error(), "--name") {
			t.Fatalf("the twin ended with %v", twin.err)
		}
		c.kill(twin)
		c.w.listen("control n2") // it no longer answers
		later := c.start("n2", 4, raftfsm.MemoryStores(), elsewhere)
		<-old.ended
		if !errors.Is(old.err, errReplaced) {
			t.Fatalf("the one that was replaced ended with %v", old.err)
		}
		c.kill(old)
		c.joined(later)
	})
}
