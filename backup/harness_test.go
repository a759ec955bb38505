package backup

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testQuery = topology.QueryID{Incarnation: 7, Generation: 1}

// testCluster is nodes with vaults on disks in memory, a network between them, and what an FSM would say of seal sets.
type testCluster struct {
	t     testing.TB
	r     *rand.Rand // of the test's goroutine
	net   *transport.Memory
	nodes []*testNode
	boots topology.BootID
	pools []*Pool

	mu       sync.Mutex
	current  map[topology.NodeID]topology.Process
	lost     map[topology.Process]bool
	left     map[topology.NodeID]bool
	sets     map[topology.SealLog]topology.SealSet
	fates    *rand.Rand // of proposals
	honest   bool       // no answer is lost
	later    sync.WaitGroup
	changed  func() // after each change of what the FSM says
	proposed int
	script   []int           // fates of the next proposals
	leaving  topology.NodeID // lives, but is no candidate
}

type testNode struct {
	c        *testCluster
	id       topology.NodeID
	process  topology.Process
	fs       *vault.Memory
	v        *vault.Vault
	up       bool
	cancel   context.CancelFunc
	listener transport.Listener
	serving  sync.WaitGroup
	delay    time.Duration // of commits
}

func newTestCluster(t testing.TB, seed uint64, names ...topology.NodeID) *testCluster {
	c := &testCluster{t: t, r: rand.New(rand.NewPCG(seed, 1)), fates: rand.New(rand.NewPCG(seed, 2)), net: transport.NewMemory(transport.Options{}), honest: true,
		current: map[topology.NodeID]topology.Process{}, lost: map[topology.Process]bool{}, left: map[topology.NodeID]bool{}, sets: map[topology.SealLog]topology.SealSet{}, changed: func() {}}
	for _, id := range names {
		n := &testNode{c: c, id: id, fs: vault.NewMemory()}
		c.nodes = append(c.nodes, n)
		n.start()
	}
	return c
}

// stop ends everything, writers first.
func (c *testCluster) stop(closers ...interface{ Close() error }) {
	for _, x := range closers {
		x.Close()
	}
	for _, p := range c.pools {
		p.Close()
	}
	for _, n := range c.nodes {
		n.kill()
	}
	c.later.Wait()
}

func (c *testCluster) node(id topology.NodeID) *testNode {
	return c.nodes[slices.IndexFunc(c.nodes, func(n *testNode) bool { return n.id == id })]
}

func (n *testNode) start() {
	c := n.c
	c.boots++
	n.process = topology.Process{Node: n.id, Boot: c.boots}
	config := vault.DefaultConfig("/vault", "c1", n.id, n.process.Boot)
	config.FS, config.SegmentBytes, config.ReserveBytes = n.fs, 32<<10, 2<<10
	if n.delay > 0 {
		config.CommitDelay = n.delay
	}
	v, err := vault.Open(config)
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := c.net.Node(string(n.id)).Listen(string(n.id) + ":7602")
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.v, n.up, n.cancel, n.listener = v, true, cancel, l
	n.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.serving.Go(func() { v.Serve(ctx, conn) })
		}
	})
	c.mu.Lock()
	c.current[n.id] = n.process
	changed := c.changed
	c.mu.Unlock()
	changed()
}

// commitsAfter starts the node again as one whose vault fsyncs what it holds so much later.
func (n *testNode) commitsAfter(delay time.Duration) {
	n.kill()
	n.delay = delay
	n.start()
}

// kill is kill -9. The FSM hears of it by tell.
func (n *testNode) kill() {
	if !n.up {
		return
	}
	n.fs.Kill()
	n.up = false
	n.cancel()
	n.listener.Close()
	n.serving.Wait()
	n.v.Close()
}

func (n *testNode) losePower() {
	n.kill()
	n.fs.PowerLoss(n.c.r)
}

// tell makes the FSM take a node that is down for lost.
func (n *testNode) tell() {
	n.c.mu.Lock()
	n.c.lost[n.process] = true
	changed := n.c.changed
	n.c.mu.Unlock()
	changed()
}

func (c *testCluster) pool(of topology.NodeID) *Pool {
	n := c.node(of)
	p := NewPool(n.process, n.v, func(ctx context.Context, to topology.Process) (vault.Conn, error) {
		return c.net.Node(string(of)).Dial(ctx, string(to.Node)+":7602")
	})
	c.pools = append(c.pools, p)
	return p
}

func (c *testCluster) alive(p topology.Process) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current[p.Node] == p && !c.lost[p] && !c.left[p.Node]
}

func (c *testCluster) currentOf(n topology.NodeID) (topology.Process, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current[n], !c.left[n]
}

func (c *testCluster) candidates() []topology.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []topology.Process
	for _, n := range c.nodes {
		if p := c.current[n.id]; !c.lost[p] && !c.left[n.id] && n.id != c.leaving {
			all = append(all, p)
		}
	}
	return all
}

func (c *testCluster) set(log topology.SealLog) (topology.SealSet, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sets[log]
	return s, ok
}

func (c *testCluster) proposals() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proposed
}

const (
	fateLost      = 1 // never made, and nobody knows
	fateUncertain = 2 // made, and nobody knows
	fateLate      = 3 // made within 3 seconds
)

var errAnswerLost = errors.New("leadership was lost")

// changeSet is the FSM's SealSetChange: conditional. Unless the cluster is honest, answers get lost and proposals come late.
func (c *testCluster) changeSet(ctx context.Context, log topology.SealLog, term topology.Term, version uint64, members []topology.Process) (topology.SealSet, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proposed++
	apply := func() (topology.SealSet, error) {
		s := c.sets[log]
		if s.Term != term || s.Fenced || s.Version != version {
			return s, errors.New("stale")
		}
		s.Members, s.Version = slices.Clone(members), s.Version+1
		c.sets[log] = s
		return s, nil
	}
	fate := c.fates.IntN(5)
	if c.honest {
		fate = 0
	}
	scripted := len(c.script) > 0
	if scripted {
		fate, c.script = c.script[0], c.script[1:]
	}
	switch fate {
	case fateLost:
		return topology.SealSet{}, errAnswerLost
	case fateUncertain:
		apply()
		return topology.SealSet{}, errAnswerLost
	case fateLate:
		delay := time.Duration(1+c.fates.IntN(2000)) * time.Millisecond
		if scripted {
			delay = 2 * time.Second
		}
		c.later.Go(func() {
			time.Sleep(delay)
			c.mu.Lock()
			defer c.mu.Unlock()
			apply()
		})
		return topology.SealSet{}, errAnswerLost
	}
	return apply()
}

// fence is the FSM's Reassign: it raises the term of a log for successors.
func (c *testCluster) fence(log topology.SealLog) topology.SealSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sets[log]
	s.Term, s.Fenced = s.Term+10, true
	c.sets[log] = s
	return s
}

// share is the FSM's Switch of some of the sources of a log: it raises the term, and the owner goes on with the rest.
func (c *testCluster) share(log topology.SealLog) topology.SealSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sets[log]
	s.Term += 10
	c.sets[log] = s
	return s
}

// writer grants owner a log at the vaults of the nodes named.
func (c *testCluster) writer(owner topology.NodeID, log topology.SealLog, copies int, members ...topology.NodeID) *SealWriter {
	set := topology.SealSet{Log: log, Owner: c.node(owner).process, Term: topology.Term(log), Version: 1}
	for _, m := range members {
		set.Members = append(set.Members, c.node(m).process)
	}
	c.mu.Lock()
	c.sets[log] = set
	c.mu.Unlock()
	return NewSealWriter(SealConfig{Query: testQuery, Set: set, Self: set.Owner, Copies: copies, Vaults: c.pool(owner), ChangeSet: c.changeSet,
		Adopted: func(context.Context, topology.StageID, uint64, []topology.SealLog) error { return nil },
		Sets:    c.set, Alive: c.alive, Current: c.currentOf, Candidates: c.candidates})
}
