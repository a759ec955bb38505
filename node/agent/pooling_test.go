package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider"
	"github.com/seepnode/seepnode/autoscale/provider/ec2"
	"github.com/seepnode/seepnode/autoscale/provider/ec2/fake"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestNoNodeIsNeededForStandbysAlone(t *testing.T) {
	on := func(node topology.NodeID) topology.Process { return topology.Process{Node: node, Boot: 1} }
	st := &raftfsm.Stage{Partitions: []topology.Assignment{{Process: on("n1")}, {Process: on("n2")}},
		Shadows: []topology.Shadow{{Process: on("n2"), Purpose: topology.ForStandby}, {Process: on("n3"), Purpose: topology.ForStandby}, {Process: on("n4")}, {Process: on("n5"), Purpose: topology.ForSpeed}}}
	works, more := working(&raftfsm.State{Queries: []*raftfsm.Query{{Stages: []*raftfsm.Stage{st}}}})
	if want := map[topology.NodeID]int{"n1": 1, "n2": 2, "n3": 1, "n4": 1, "n5": 1}; !maps.Equal(works, want) || len(more) != 4 || more["n3"] {
		t.Errorf("%v work, and %v for more than standbys", works, more)
	}
}

// machines is a provider whose machines are agents of a test's cluster.
type machines struct {
	c *cluster

	mu     sync.Mutex
	list   []provider.Instance // that run
	agents map[string]*Agent   // by id
	dead   []provider.Instance // that ended with their parent
	starts int
	refuse error
}

func (m *machines) Name() string { return "machines" }

func (m *machines) Launch(_ context.Context, r provider.Request) (provider.Instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.IndexFunc(m.list, func(i provider.Instance) bool { return i.Token == r.Token }); i >= 0 {
		return m.list[i], nil
	}
	if m.refuse != nil {
		return provider.Instance{}, m.refuse
	}
	m.starts++
	i := provider.Instance{ID: fmt.Sprintf("vm%d", m.starts), Token: r.Token, State: provider.Running, LaunchedMs: time.Now().UnixMilli()}
	m.run(i)
	m.list = append(m.list, i)
	return i, nil
}

// run starts an instance's agent. The caller holds the lock.
func (m *machines) run(i provider.Instance) {
	m.agents[i.ID] = m.c.start(i.ID, func(k *Config) {
		k.BootstrapExpect, k.Join, k.Instance, k.Tags = 0, everybody, i.Token, map[string]string{raftfsm.RoleTag: raftfsm.RoleWorker}
		if m.c.metadata[i.ID] != nil {
			k.Instance = InstanceIMDS
		}
	})
}

func (m *machines) Terminate(_ context.Context, ids []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		m.end(id)
	}
	return nil
}

// end ends a machine without a word. The caller holds the lock.
func (m *machines) end(id string) {
	m.list = slices.DeleteFunc(m.list, func(i provider.Instance) bool { return i.ID == id })
	if a := m.agents[id]; a != nil {
		delete(m.agents, id)
		m.c.kill(a)
	}
}

func (m *machines) List(context.Context) ([]provider.Instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.list)
	slices.SortFunc(list, func(a, b provider.Instance) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// running is how many there are and how many were ever started.
func (m *machines) running() (now, ever int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.list), m.starts
}

// pooled starts three nodes with a pool of machines.
func pooled(c *cluster, spares int) *machines {
	m := &machines{c: c, agents: map[string]*Agent{}}
	c.provide = func(context.Context, *Agent, string) (provider.Provider, error) { return m, nil }
	var list []*Agent
	for i := 1; i <= 3; i++ {
		list = append(list, c.start(fmt.Sprintf("n%d", i), func(k *Config) {
			k.BootstrapExpect, k.Join = 3, everybody
			k.Autoscale, k.Provider, k.Spares, k.MaxNodes = "rate", providerLocal, spares, 8
		}))
	}
	c.ready(list...)
	return m
}

// waitFor waits up to two minutes.
func waitFor(t *testing.T, what string, good func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if good() {
			return
		}
	}
	t.Fatalf("not after two minutes: %s", what)
}

// statuses counts the cluster's nodes by what the metadata holds of them.
func statuses(a *Agent) map[raftfsm.Status]int {
	out := map[raftfsm.Status]int{}
	for _, n := range a.Machine().View().Nodes {
		out[n.Status]++
	}
	return out
}

func TestThePoolOutlivesItsLeaderAndReplacesMachinesThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		m := pooled(c, 4)
		waitFor(t, "two machines join, beside three nodes of which one should work and four be spare", func() bool {
			return statuses(c.leader())[raftfsm.Alive] == 5
		})
		c.kill(c.leader())
		time.Sleep(time.Minute)
		leader := c.leader()
		if now, ever := m.running(); now != 3 || ever != 3 {
			t.Errorf("after the leader's end %d machines run and %d were started; one takes its place", now, ever)
		}
		m.mu.Lock()
		lost := m.list[0].ID
		m.end(lost)
		m.mu.Unlock()
		waitFor(t, "another machine takes the place of one that ended", func() bool {
			now, ever := m.running()
			n := leader.Machine().View().Node("vm4")
			return now == 3 && ever == 4 && n != nil && statuses(leader)[raftfsm.Alive] == 5
		})
		time.Sleep(10 * time.Second) // the next list
		a, err := c.api(leader).Autoscale(t.Context())
		if err != nil || a.Pool == nil || a.Pool.Needed != 5 || a.Pool.Nodes != 5 || len(a.Pool.Instances) != 3 || a.Pool.Instances[0].Node == "" {
			t.Errorf("autoscale status is %+v, %+v, %v", a, a.Pool, err)
		}
	})
}

func TestNodesThatNobodyNeedsAreDrainedAndGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		m := pooled(c, 4)
		waitFor(t, "two machines join", func() bool { return statuses(c.leader())[raftfsm.Alive] == 5 })
		old := c.leader()
		for _, a := range c.running() {
			a.config.Spares = 0 // for who leads next
		}
		if _, err := c.api(old).TransferRaft(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the machines are given back", func() bool {
			now, _ := m.running()
			return now == 0 && statuses(c.leader())[raftfsm.Left] == 2
		})
		if n := statuses(c.leader())[raftfsm.Alive]; n != 3 {
			t.Errorf("%d nodes are left of the three that no provider started", n)
		}
		time.Sleep(time.Minute)
		if now, ever := m.running(); now != 0 || ever != 2 {
			t.Errorf("%d machines run, %d were started", now, ever)
		}
	})
}

func TestARefusalOfTheProviderIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		m := pooled(c, 0)
		m.refuse = &provider.Error{Kind: provider.Quota, Err: errors.New("VcpuLimitExceeded"), Do: "ask for more"}
		for _, a := range c.running() {
			a.config.Spares = 4
		}
		if _, err := c.api(c.leader()).TransferRaft(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the refusal is shown", func() bool {
			a, err := c.api(c.leader()).Autoscale(t.Context())
			return err == nil && a.Pool != nil && a.Pool.ErrorKind == "quota" && strings.Contains(a.Pool.Error, "VcpuLimitExceeded: ask for more") && a.Pool.Retry.After(time.Now())
		})
	})
}

func TestAutoscaleIsPausedForTheWholeCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		m := pooled(c, 0)
		k := c.api(c.running()[1])
		if a, err := k.PauseAutoscale(t.Context()); err != nil || !a.Paused {
			t.Fatalf("%+v, %v", a, err)
		}
		for _, a := range c.running() {
			a.config.Spares = 4
		}
		if _, err := k.TransferRaft(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, ever := m.running(); ever != 0 {
			t.Errorf("%d machines were started while paused", ever)
		}
		if a, err := k.ResumeAutoscale(t.Context()); err != nil || a.Paused {
			t.Fatalf("%+v, %v", a, err)
		}
		waitFor(t, "machines join after it was resumed", func() bool { return statuses(c.leader())[raftfsm.Alive] == 5 })
	})
}

func TestConfigOfThePoolIsChecked(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"policy":          {func(c *Config) { c.Autoscale = "magic" }, "--autoscale \"magic\": give rate, threshold or off"},
		"policy's number": {func(c *Config) { c.AutoscaleOptions = map[string]string{"threshold": "0.7"} }, "--autoscale-option: threshold=0.7: give a number of percent"},
		"no provider":     {func(c *Config) { c.Spares = 2 }, "are for a --provider"},
		"unknown":         {func(c *Config) { c.Provider, c.MaxNodes = "gce", 3 }, "give local, exec or ec2"},
		"no limit":        {func(c *Config) { c.Provider = "local" }, "needs --max-nodes"},
		"all spares":      {func(c *Config) { c.Provider, c.MaxNodes, c.Spares = "local", 3, 3 }, "fewer spares than nodes"},
		"missing option":  {func(c *Config) { c.Provider, c.MaxNodes = "ec2", 3 }, "needs --provider-option template="},
		"unknown option": {func(c *Config) {
			c.Provider, c.MaxNodes, c.ProviderOptions = "local", 3, map[string]string{"color": "red"}
		}, "no option color; it has dir, idle-timeout, launch-deadline"},
		"wrong time": {func(c *Config) {
			c.Provider, c.MaxNodes, c.ProviderOptions = "local", 3, map[string]string{"idle-timeout": "soon"}
		}, "like 90s or 3m"},
		"market": {func(c *Config) {
			c.Provider, c.MaxNodes, c.ProviderOptions = "ec2", 3, map[string]string{"template": "t", "market": "flea"}
		}, "must be one of on-demand, spot, spot-first"},
		"tags": {func(c *Config) {
			c.Provider, c.MaxNodes, c.ProviderOptions = "ec2", 3, map[string]string{"template": "t", "tags": "team"}
		}, `--provider-option tags: tag "team": give KEY=VALUE, with + between several`},
		"instance": {func(c *Config) { c.Instance = "a b" }, "give the id of the machine, or imds"},
	} {
		c := DefaultConfig()
		c.Name = "n1"
		x.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v; it should say %q", name, err, x.want)
		}
	}
}

// own are machines that end with the agent that started them, and leave their disks.
type own struct {
	*machines
	spares int
}

func (o own) Tokens() (out []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range o.list {
		out = append(out, i.Token)
	}
	return out
}

func (own) Close() error { return nil }

// Revive implements offspring.
func (o own) Revive(context.Context) (tokens []string, _ error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, i := range o.dead {
		o.run(i)
		tokens = append(tokens, i.Token)
	}
	o.list, o.dead = append(o.list, o.dead...), nil
	return tokens, nil
}

// die ends all machines as their agent's end does.
func (o own) die() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dead = slices.Clone(o.list)
	for _, i := range o.dead {
		o.end(i.ID)
	}
}

// parent starts n1 with machines of its own, and a query.
func (o own) parent(t *testing.T) *Agent {
	t.Helper()
	o.c.provide = func(context.Context, *Agent, string) (provider.Provider, error) { return o, nil }
	a := o.start()
	waitFor(t, "its own join", func() bool { return statuses(a)[raftfsm.Alive] == 1+o.spares })
	if _, err := o.c.api(a).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: `
CREATE TABLE s (k BIGINT NOT NULL) WITH ('connector' = 'datagen', 'rows-per-second' = '100', 'fields.k.min' = '0', 'fields.k.max' = '9');
CREATE TABLE t (k BIGINT NOT NULL, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'table');
INSERT INTO t SELECT k, COUNT(*) FROM s GROUP BY k;`}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its own hold something", func() bool { return ownHold(a) > 0 })
	time.Sleep(5 * time.Second)
	return a
}

func (o own) start() *Agent {
	a := o.c.start("n1", func(k *Config) {
		k.BootstrapExpect = 1
		k.Autoscale, k.Provider, k.Spares, k.MaxNodes = "rate", providerLocal, o.spares, 1+o.spares
	})
	a.mu.Lock()
	a.children = o
	a.mu.Unlock()
	o.c.ready(a)
	return a
}

// ownHold counts what names an agent's own processes.
func ownHold(a *Agent) (n int) {
	s := a.Machine().View()
	for _, id := range a.ownNodes(s) {
		n += len(s.NamedBy(id, 100))
	}
	return n
}

func TestANodeThatEndsBringsHomeWhatItsOwnProcessesHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		m := own{&machines{c: c, agents: map[string]*Agent{}}, 2}
		a := m.parent(t)
		a.Leave(t.Context())
		s := a.Machine().View()
		for _, n := range s.Nodes {
			if n.ID != "n1" && (n.Status != raftfsm.Left || len(s.NamedBy(n.ID, 1)) > 0) {
				t.Errorf("its own %s is %s, named by %v: somebody would take it for lost", n.ID, n.Status, s.NamedBy(n.ID, 5))
			}
		}
		if n := s.Node("n1"); n.Status != raftfsm.Alive || len(s.NamedBy("n1", 1)) == 0 {
			t.Errorf("the node is %s and named by %v: it handed over to its own", n.Status, s.NamedBy("n1", 5))
		}
	})
}

func TestANodeThatWasKilledWithItsOwnProcessesStartsThemAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		m := own{&machines{c: c, agents: map[string]*Agent{}}, 2}
		a := m.parent(t)
		before := c.awaitState(a, "q", client.StateRunning).CompleteEpoch
		c.kill(a)
		m.die()
		a = m.start()
		waitFor(t, "the query goes on", func() bool {
			q, err := c.api(a).Query(t.Context(), "q")
			return err == nil && q.State == client.StateRunning && q.CompleteEpoch > before
		})
		if now, ever := m.running(); now != 2 || ever != 2 {
			t.Errorf("%d machines run and %d were ever started; the two that held something were to come back", now, ever)
		}
	})
}

func TestProcessesThatDiedTogetherComeBackForAQueryThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		m := own{&machines{c: c, agents: map[string]*Agent{}}, 5} // so many that n1 has no copy of something
		a := m.parent(t)
		before := c.awaitState(a, "q", client.StateRunning).CompleteEpoch
		m.die()
		waitFor(t, "the query goes on", func() bool {
			q, err := c.api(a).Query(t.Context(), "q")
			return err == nil && q.State == client.StateRunning && q.CompleteEpoch > before+500
		})
	})
}

func TestOptionsOfProviderEC2SayWhatIsStarted(t *testing.T) {
	for key, value := range map[string]string{"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE": "/dev/null"} {
		t.Setenv(key, value)
	}
	f := &fake.EC2{Now: time.Now}
	f.Start()
	defer f.Close()
	a := &Agent{config: DefaultConfig()}
	a.config.Name, a.config.Provider, a.config.MaxNodes = "n1", providerEC2, 3
	a.config.ProviderOptions = map[string]string{"template": "nodes:7", "market": "spot", "subnets": "subnet-b", "type": "c7g.large", "tags": "team=streams+stage=live",
		"region": "eu-west-1", "endpoint": f.URL()}
	if err := a.config.Validate(); err != nil {
		t.Fatal(err)
	}
	p, err := provide(t.Context(), a, "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Launch(t.Context(), provider.Request{Token: "c-1"}); err != nil {
		t.Fatal(err)
	}
	i := f.Instances()[0]
	if i.Template != "nodes" || !i.Spot || i.Subnet != "subnet-b" || i.Type != "c7g.large" || i.Tags["team"] != "streams" || i.Tags["stage"] != "live" || i.Tags[ec2.TagCluster] != "c" {
		t.Errorf("EC2 started %+v", i)
	}
}
