package engine_test

import (
	"context"
	"errors"

	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// cluster is in-process nodes that a test kills and replaces; the test itself decides what the leader would.
type cluster struct {
	t       *testing.T
	c       *catalog
	plan    *plan.Plan
	backup  *memoryBackup
	seals   *engine.SealLog
	memory  *transport.Memory
	limits  engine.Limits
	workers int
	steps   atomic.Int64
	events  chan int64    // every so many steps, how many there were
	behind  chan struct{} // a partition must be restored anew

	mu       sync.Mutex
	nodes    map[topology.NodeID]*clusterNode
	topology topology.Topology
	boots    topology.BootID
	pin      topology.Epoch // nothing after it is trimmed: partitions are being restored from it
	failed   error
	ended    map[topology.Partition]bool
	done     chan struct{}
}

type clusterNode struct {
	place topology.Partition // Node and Boot
	node  *engine.Node
	query *engine.Query
	ctx   context.Context
	stop  context.CancelFunc
	links sync.WaitGroup
}

func newCluster(t *testing.T, c *catalog, p *plan.Plan, v variant) *cluster {
	o := v.options(c)
	k := &cluster{t: t, c: c, plan: p, seals: engine.NewSealLog(0), memory: transport.NewMemory(transport.Options{}), limits: o.Limits, workers: v.workers,
		events: make(chan int64, 1), behind: make(chan struct{}, 1), nodes: map[topology.NodeID]*clusterNode{}, ended: map[topology.Partition]bool{}, done: make(chan struct{}), pin: topology.EpochForever}
	k.backup = newMemoryBackup(p)
	return k
}

// Save is the vaults': it keeps the checkpoint, and when one is complete tells everybody.
func (k *cluster) Save(c engine.Checkpoint) {
	k.backup.Save(c)
	complete := k.backup.complete()
	k.mu.Lock()
	complete = min(complete, k.pin)
	var queries []*engine.Query
	for _, n := range k.nodes {
		if n.query != nil {
			queries = append(queries, n.query)
		}
		if n.place.Node == c.Partition.Node && n.query != nil {
			n.query.Acknowledge(c.Partition, c.Epoch)
		}
	}
	k.mu.Unlock()
	for _, q := range queries {
		q.Trim(complete)
	}
}

// start makes a node and joins it with all others.
func (k *cluster) start(name topology.NodeID) *clusterNode {
	k.boots++
	n := &clusterNode{place: topology.Partition{Node: name, Boot: k.boots}}
	n.node = engine.NewNode(engine.NodeConfig{ID: name, Boot: k.boots, Workers: k.workers, Limits: k.limits, Connectors: k.c.connectors, Operators: k.c.operators})
	n.ctx, n.stop = context.WithCancel(context.Background())
	l, err := k.memory.Node(string(name)).Listen("")
	if err != nil {
		k.t.Fatal(err)
	}
	for _, other := range k.nodes {
		accepted := make(chan transport.Conn, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				k.t.Error(err)
			}
			accepted <- conn
		}()
		conn, err := k.memory.Node(string(other.place.Node)).Dial(context.Background(), l.Addr())
		if err != nil {
			k.t.Fatal(err)
		}
		k.join(n, other, <-accepted)
		k.join(other, n, conn)
	}
	if err := l.Close(); err != nil {
		k.t.Fatal(err)
	}
	k.mu.Lock()
	k.nodes[name] = n
	k.mu.Unlock()
	return n
}

func (k *cluster) join(self, peer *clusterNode, conn transport.Conn) {
	self.links.Go(func() {
		if err := self.node.Join(self.ctx, engine.Peer{Node: peer.place.Node, Boot: peer.place.Boot}, conn); err != nil && self.ctx.Err() == nil && peer.ctx.Err() == nil {
			k.t.Errorf("link of %s with %s: %v", self.place.Node, peer.place.Node, err)
		}
	})
}

func (k *cluster) config(from topology.Epoch) engine.QueryConfig {
	c := engine.QueryConfig{ID: topology.QueryID{Incarnation: 7, Generation: 1}, Name: "q", Plan: k.plan, Topology: k.topology, Seals: k.seals, Backup: k, Retain: true,
		TraceChains: func(topology.StageID, topology.Range, topology.Epoch, [][]uint64) {
			if n := k.steps.Add(1); n%40 == 0 {
				select {
				case k.events <- n:
				default:
				}
			}
		}}
	return c
}

func (k *cluster) partitionEnded(p topology.Partition, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.nodes[p.Node]; n == nil || n.place.Boot != p.Boot || n.ctx.Err() != nil {
		return // a node that was killed
	}
	var trimmed *dataplane.TrimmedError
	if errors.As(err, &trimmed) {
		k.t.Logf("behind: %v: %v complete %d pin %d", p, err, k.backup.complete(), k.pin)
		select {
		case k.behind <- struct{}{}:
		default:
		}
		return
	}
	if err != nil && k.failed == nil {
		k.failed = fmt.Errorf("%v: %w", p, err)
		close(k.done)
		return
	}
	k.ended[p] = true
	k.checkDone()
}

func (k *cluster) checkDone() {
	for _, places := range k.topology.Partitions {
		for _, p := range places {
			if !k.ended[p] {
				return
			}
		}
	}
	select {
	case <-k.done:
	default:
		close(k.done)
	}
}

// run starts the query on all nodes.
func (k *cluster) run() {
	for _, n := range k.nodes {
		q, err := n.node.NewQuery(n.ctx, k.config(0))
		if err != nil {
			k.t.Fatal(err)
		}
		k.mu.Lock()
		n.query = q
		k.mu.Unlock()
	}
	for _, n := range k.nodes {
		if err := n.query.Connect(n.ctx); err != nil {
			k.t.Fatal(err)
		}
	}
	for _, n := range k.nodes {
		n.query.Start(n.ctx, k.partitionEnded)
	}
}

// kill ends a node without a word and forgets it.
func (k *cluster) kill(name topology.NodeID) {
	k.mu.Lock()
	n := k.nodes[name]
	delete(k.nodes, name)
	k.mu.Unlock()
	n.stop()
	n.links.Wait()
	if n.query != nil {
		if err := n.query.Close(false); err != nil {
			k.t.Error(err)
		}
	}
}

// reassign puts the key groups of nodes that are gone on others, each lost range split over up to three of them, restored from the last
// complete checkpoint.
func (k *cluster) reassign(r *rand.Rand) {
	var names []topology.NodeID
	k.mu.Lock()
	for i := range 20 {
		if n := k.nodes[engine.NodeName(i)]; n != nil {
			names = append(names, n.place.Node)
		}
	}
	next := topology.Topology{}
	for _, places := range k.topology.Partitions {
		var out []topology.Partition
		for _, p := range places {
			if n := k.nodes[p.Node]; n != nil && n.place.Boot == p.Boot {
				out = append(out, p)
				continue
			}
			for _, part := range topology.Split(p.Range.Len(), 1+r.IntN(3)) {
				n := k.nodes[names[r.IntN(len(names))]]
				out = append(out, topology.Partition{Stage: p.Stage, Node: n.place.Node, Boot: n.place.Boot,
					Range: topology.Range{From: p.Range.From + part.From, To: p.Range.From + part.To}})
			}
		}
		next.Partitions = append(next.Partitions, out)
	}
	k.topology = next
	nodes := k.nodes
	c := k.backup.complete()
	k.pin = c
	k.mu.Unlock()
	restore := func(p topology.Partition) (engine.Restored, error) { return k.backup.restore(p, c), nil }
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			if n.query == nil {
				config := k.config(c)
				config.Topology, config.Restore, config.Replay, config.Resume = next, restore, k.seals, true
				q, err := n.node.NewQuery(n.ctx, config)
				if err == nil {
					err = q.Connect(n.ctx)
				}
				if err != nil {
					k.t.Error(err)
					return
				}
				k.mu.Lock()
				n.query = q
				k.mu.Unlock()
				q.Start(n.ctx, k.partitionEnded)
				return
			}
			if err := n.query.Update(n.ctx, engine.Change{Topology: next, Restore: restore, Replay: k.seals}); err != nil {
				k.t.Errorf("restoring from %d, complete is %d: %v", c, k.backup.complete(), err)
			}
		})
	}
	wg.Wait()
	k.mu.Lock()
	k.pin = topology.EpochForever
	k.checkDone()
	k.mu.Unlock()
}

// TestLostPartitionsAreRestoredElsewhereAndTheOutputIsTheSameBytes kills nodes of a running query, several one after the other, and starts new
// ones; survivors never roll back.
func TestLostPartitionsAreRestoredElsewhereAndTheOutputIsTheSameBytes(t *testing.T) {
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for _, q := range identityQueries {
		t.Run(q.name, func(t *testing.T) {
			c := newCatalog(t, burstsDefinition())
			sinks := q.sinks
			if strings.Contains(q.name, "running") {
				sinks = nil
			}
			sql := "SET 'checkpoint.epochs' = '8';\n" + q.sql
			p, want := runQuery(t, c, sql, variant{nodes: 1, workers: 1, batchRows: 1000, forkRows: 1 << 40}.options(c), sinks...)
			for seed := range uint64(rounds) {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { killAndReassign(t, c, p, sql, sinks, want, seed) })
			}
		})
	}
}

func killAndReassign(t *testing.T, c *catalog, p *plan.Plan, sql string, sinks []string, want outcome, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	set, dirs := map[string]string{}, map[string]string{}
	for _, s := range sinks {
		dirs[s] = t.TempDir()
		set[s+".path"] = dirs[s]
	}
	p = c.compile(t, sql, set)
	v := variant{nodes: 4, workers: 1 + r.IntN(3), batchRows: 1 + r.IntN(100), forkRows: int64(r.IntN(200))}
	k := newCluster(t, c, p, v)
	for i := range v.nodes {
		k.start(engine.NodeName(i))
	}
	for _, s := range p.Stages {
		places := engine.EvenLayout(s, v.nodes)
		for i := range places {
			places[i].Boot = k.nodes[places[i].Node].place.Boot
		}
		k.topology.Partitions = append(k.topology.Partitions, places)
	}
	k.run()
	kills := 0
	for alive := true; alive; {
		select {
		case <-k.done:
			alive = false
		case <-time.After(5 * time.Second):
			for _, n := range k.nodes {
				t.Log(n.query.Dump())
			}
			t.Fatal("stuck")
		case <-k.behind:
			k.reassign(r)
		case <-k.events:
			if kills == 4 || r.IntN(2) == 0 {
				continue
			}
			victim := engine.NodeName(r.IntN(v.nodes))
			if k.nodes[victim] == nil {
				continue
			}
			kills++
			k.kill(victim)
			if len(k.nodes) < 2 || r.IntN(2) == 0 {
				k.start(victim)
			}
			k.reassign(r)
		}
	}
	if k.failed != nil {
		t.Fatalf("after %d kills: %v", kills, k.failed)
	}
	result := &engine.Result{Chains: make([][][]uint64, len(p.Stages))}
	for s, places := range k.topology.Partitions {
		for _, place := range places {
			chains := k.nodes[place.Node].query.Chains(place)
			if result.Chains[s] == nil {
				result.Chains[s] = make([][]uint64, len(chains))
			}
			for i := range chains {
				result.Chains[s][i] = append(result.Chains[s][i], chains[i]...)
			}
		}
	}
	for name := range k.nodes {
		k.kill(name)
	}
	outcome{files: readFiles(t, dirs), result: result}.sameAs(t, p, want)
}
