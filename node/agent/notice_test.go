package agent

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider/ec2/fake"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// interruption is what EC2's metadata service says two minutes before it takes a spot instance away.
const interruption = `{"action": "terminate", "time": "2000-01-01T00:05:00Z"}`

// TestAnAnnouncedInterruptionDrainsANodeWhichLeavesBeforeItsMachineEnds: partitions and copies go to others before the machine ends, so that
// nothing is lost and recovered, and what the query gives is what the same seals give on one node.
func TestAnAnnouncedInterruptionDrainsANodeWhichLeavesBeforeItsMachineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		for i := range 9 {
			name := fmt.Sprintf("vm%d", i+1)
			c.metadata[name] = fake.NewMetadata(name)
		}
		pooled(c, 4)
		waitFor(t, "two machines join", func() bool { return statuses(c.leader())[raftfsm.Alive] == 5 })
		leader := c.leader()
		sql := verifySQL(filepath.Join(c.dir, "out"), 10_000, 500, "SET 'seal.retention' = 'all';")
		if _, err := c.api(leader).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql}); err != nil {
			t.Fatal(err)
		}
		var taken topology.NodeID
		waitFor(t, "a machine of the pool runs a partition and keeps copies", func() bool {
			s := leader.Machine().View()
			for _, n := range s.Nodes {
				if named := strings.Join(s.NamedBy(n.ID, 100), "\n"); n.Tag(tagInstance) == string(n.ID) && strings.Contains(named, "partition") && strings.Contains(named, "vault") {
					taken = n.ID
				}
			}
			return taken != ""
		})
		time.Sleep(2 * time.Second)
		c.metadata[string(taken)].Set("spot/instance-action", interruption)
		waitFor(t, "it is drained", func() bool { return leader.Machine().View().Node(taken).Drain })
		if by := leader.Machine().View().Node(taken).DrainedBy; by != raftfsm.ByNotice {
			t.Errorf("it is drained by %q", by)
		}
		waitFor(t, "it holds nothing and leaves", func() bool {
			s := leader.Machine().View()
			if s.Node(taken).Status == raftfsm.Lost {
				t.Fatalf("%s was lost before it had left, named by %v", taken, s.NamedBy(taken, 5))
			}
			return s.Node(taken).Status == raftfsm.Left && len(s.NamedBy(taken, 1)) == 0
		})
		waitFor(t, "its machine is ended, and as many nodes are there as are needed", func() bool {
			p := c.poolOf(leader)
			return p.Nodes >= p.Needed && !slices.ContainsFunc(p.Instances, func(i client.AutoscaleInstance) bool { return i.ID == string(taken) })
		})
		if leader.Machine().View().Query("q").State == raftfsm.Finished {
			t.Error("the query had finished before the node had left: this shows nothing")
		}
		c.finished(leader, "q")
		c.nothingLost(leader)
		c.same(leader, "q")
	})
}

// TestAnAnnouncedInterruptionDrainsALeaderThatNoPoolStarted: it votes no more and holds nothing when its machine is taken away.
func TestAnAnnouncedInterruptionDrainsALeaderThatNoPoolStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		var agents []*Agent
		for i := 1; i <= 4; i++ {
			name := fmt.Sprintf("n%d", i)
			c.metadata[name] = fake.NewMetadata("i-" + name)
			agents = append(agents, c.start(name, func(k *Config) { k.BootstrapExpect, k.Join, k.Instance = 4, everybody, InstanceIMDS }))
		}
		c.ready(agents...)
		leader := c.leader()
		taken := leader.self.Node
		sql := verifySQL(filepath.Join(c.dir, "out"), 10_000, 500, "SET 'seal.retention' = 'all';")
		if _, err := c.api(leader).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if len(leader.Machine().View().NamedBy(taken, 1)) == 0 {
			t.Fatal("the leader holds nothing that could be moved: this shows nothing")
		}
		c.metadata[string(taken)].Set("spot/instance-action", interruption)
		waitFor(t, "it holds nothing and has no vote", func() bool {
			s := leader.Machine().View()
			return s.Node(taken).DrainedBy == raftfsm.ByNotice && len(s.NamedBy(taken, 1)) == 0 && !backend{leader}.voters()[taken]
		})
		if leader.Machine().View().Query("q").State == raftfsm.Finished {
			t.Error("the query had finished before: this shows nothing")
		}
		c.kill(leader)
		next := c.leader()
		c.finished(next, "q")
		c.nothingLost(next)
		c.same(next, "q")
	})
}

// nothingLost looks that no partition of query q had to be restored.
func (c *cluster) nothingLost(a *Agent) {
	c.t.Helper()
	for _, h := range a.Machine().View().Query("q").History {
		if h.Kind == raftfsm.KindReassigned {
			c.t.Errorf("something was lost with a machine that had told of its end: %s", h.Text)
		}
	}
}

// poolOf is what a node tells of the pool.
func (c *cluster) poolOf(a *Agent) *client.AutoscalePool {
	c.t.Helper()
	x, err := c.api(a).Autoscale(c.t.Context())
	if err != nil || x.Pool == nil {
		c.t.Fatalf("no pool is told of: %+v, %v", x, err)
	}
	return x.Pool
}
