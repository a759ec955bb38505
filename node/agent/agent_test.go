package agent

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm"
)

func TestThreeAgentsFormAClusterThatAnyOfThemTellsOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		agents := c.three()
		for _, a := range agents {
			nodes, err := c.api(a).Nodes(t.Context())
			if err != nil || len(nodes) != 3 {
				t.Fatalf("%s: %+v, %v", a.config.Name, nodes, err)
			}
			for _, n := range nodes {
				if n.Status != client.NodeAlive {
					t.Errorf("%s says that %s is %s", a.config.Name, n.Name, n.Status)
				}
			}
			st, err := c.api(a).Status(t.Context())
			if err != nil || st.NodesAlive != 3 || st.Leader == "" || st.Node != a.config.Name {
				t.Errorf("%s: %+v, %v", a.config.Name, st, err)
			}
		}
	})
}

func TestTheLossOfTheLeaderIsNoticedAndAnotherLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		c.three()
		dead := c.leader()
		c.kill(dead)
		began := time.Now()
		next := c.leader()
		s, err := next.Machine().Wait(t.Context(), func(s *raftfsm.State) bool { return s.Node(dead.self.Node).Status == raftfsm.Lost })
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v until %s was known to be lost", took, dead.self.Node)
		}
		if s.Cluster.ID == 0 {
			t.Error("the cluster lost its id")
		}
	})
}

func TestANodeRestartedUnderItsNameHasAnotherBootAndWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		agents := c.three()
		was := agents[1].self
		c.kill(agents[1])
		again := c.start("n2", func(k *Config) { k.BootstrapExpect, k.Join = 0, everybody })
		c.ready(again)
		for _, a := range c.running() {
			s, err := a.Machine().Wait(t.Context(), func(s *raftfsm.State) bool { return s.Node("n2").Boot == again.self.Boot })
			if err != nil || s.Lives(was) || !s.Lives(again.self) {
				t.Fatalf("%s: %v, the old process lives %v", a.config.Name, err, s.Lives(was))
			}
		}
	})
}

func TestAClusterOfOneSurvivesItsOwnRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		a := c.start("n1", nil)
		c.ready(a)
		id := a.Machine().View().Cluster.ID
		c.kill(a)
		a = c.start("n1", nil)
		c.ready(a)
		if s := a.Machine().View(); s.Cluster.ID != id || len(s.Nodes) != 1 {
			t.Fatalf("after the restart: cluster %x with %d nodes, before %x", s.Cluster.ID, len(s.Nodes), id)
		}
	})
}

func TestOfTwoNodesOneLeavesAtOnceAndTheOtherGoesOn(t *testing.T) {
	const rows = 2000
	want := undisturbed(t, rows)
	for _, who := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			defer c.close()
			var agents []*Agent
			for _, name := range []string{"n1", "n2"} {
				agents = append(agents, c.start(name, func(k *Config) { k.BootstrapExpect, k.Join = 2, everybody[:2] }))
			}
			c.ready(agents...)
			if _, err := c.api(agents[0]).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(rows, 200)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			began := time.Now()
			agents[who].Leave(t.Context())
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("leaving took %v; left are %v", took, agents[1-who].Machine().View().NamedBy(agents[who].self.Node, 10))
			}
			c.kill(agents[who])
			c.finished(agents[1-who], "counts")
			if got := c.counts(agents[1-who]); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestWhenOneOfThreeIsLostAndAnotherLeavesTheThirdGoesOn(t *testing.T) {
	const rows = 4000
	want := undisturbed(t, rows)
	for who := range 2 {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			defer c.close()
			agents := c.three()
			if _, err := c.api(agents[0]).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(rows, 200)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			c.kill(agents[2])
			time.Sleep(5 * time.Second)
			leaving, last := agents[who], agents[1-who]
			began := time.Now()
			leaving.Leave(t.Context())
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("leaving took %v; left are %v", took, last.Machine().View().NamedBy(leaving.self.Node, 10))
			}
			c.kill(leaving)
			c.finished(last, "counts")
			if got := c.counts(last); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestANodeThatIsAskedToStopHandsItsPartitionsOver(t *testing.T) {
	const rows = 2000
	want := undisturbed(t, rows)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		c.three()
		if _, err := c.api(c.leader()).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(rows, 200)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		var leaving *Agent
		for _, a := range c.running() {
			if len(a.Machine().View().NamedBy(a.self.Node, 1)) > 0 {
				leaving = a
			}
		}
		began := time.Now()
		leaving.Leave(t.Context())
		if took := time.Since(began); took > leaveWait+5*time.Second {
			t.Errorf("leaving took %v", took)
		}
		c.kill(leaving)
		c.finished(c.running()[0], "counts")
		for _, a := range c.running() {
			if got := c.counts(a); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", a.config.Name, got, want)
			}
		}
	})
}
