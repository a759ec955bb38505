package backup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// replicated is a partition with a Saver and a Replicator as an agent wires them.
type replicated struct {
	*modelPartition
	c        *testCluster
	replicas *Replicator
	duty     Duty
	told     chan struct{}
}

func newReplicated(c *testCluster, id uint64, rng topology.Range) *replicated {
	p := &replicated{modelPartition: newModelPartition(id, rng), c: c, told: make(chan struct{}, 100)}
	p.duty = Duty{Query: testQuery, Stages: []DutyStage{{Groups: 1}, {Groups: modelGroups}}, Parts: []DutyPart{{1, rng, id}}}
	pool := c.pool("own")
	config := p.saverConfig(pool)
	p.replicas = NewReplicator(ReplicatorConfig{Vaults: pool, Current: c.currentOf, NeedBase: config.NeedBase, Changed: func() { p.told <- struct{}{} }})
	config.Replicas = p.replicas
	p.saver = NewSaver(config)
	return p
}

func (p *replicated) stop() { p.c.stop(p.saver, p.replicas) }

// restart is the partition on a process that knows nothing of what vaults have.
func (p *replicated) restart() {
	p.replicas.Close()
	config := p.replicas.config
	p.replicas = NewReplicator(config)
	p.replicas.Update(p.duty)
}

// meta is the next version of the metadata, and gives its number.
func (p *replicated) meta(complete topology.Epoch, sets []topology.VaultSet) uint64 {
	d := p.duty
	d.Version, d.Complete = d.Version+1, complete
	d.Stages = slices.Clone(d.Stages)
	d.Stages[1].Sets = sets
	p.duty = d
	p.saver.SetVaults(1, [][]topology.VaultSet{nil, sets})
	p.replicas.Update(d)
	return d.Version
}

func (p *replicated) copied() uint64 { return p.replicas.Copied(1, p.rng, p.id) }

// everywhere gives all blocks the same members and former ones.
func (c *testCluster) everywhere(members, former []topology.NodeID) []topology.VaultSet {
	var s topology.VaultSet
	for _, n := range members {
		s.Members = append(s.Members, c.node(n).process)
	}
	for _, n := range former {
		s.Former = append(s.Former, c.node(n).process)
	}
	return slices.Repeat([]topology.VaultSet{s}, topology.Blocks(modelGroups))
}

func TestANewVaultOfAnIdlePartitionGetsItsChains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newReplicated(c, 5, topology.Range{From: 3, To: modelGroups})
		defer p.stop()
		both := c.everywhere([]topology.NodeID{"n1", "n2"}, nil)
		p.meta(0, both)
		for e := topology.Epoch(10); e <= 50; e += 10 {
			p.checkpoint(r, e, false)
			settle(time.Second)
		}
		version := p.meta(40, both)
		settle(time.Second)
		if s := p.replicas.Stats(); p.copied() != version || s.Copied != 0 || s.Lacking != 0 {
			t.Fatalf("copied %d of %d: what was saved need not be asked for; %+v", p.copied(), version, s)
		}
		after := c.everywhere([]topology.NodeID{"n1", "n3"}, []topology.NodeID{"n2"})
		for b := range after {
			after[b].Changed = version + 1
		}
		c.net.SetHeld("own", "n3", true)
		for len(p.told) > 0 {
			<-p.told
		}
		p.meta(40, after)
		settle(time.Second)
		if p.copied() != version || len(p.told) != 0 {
			t.Fatalf("copied %d while n3 has nothing", p.copied())
		}
		c.net.SetHeld("own", "n3", false)
		<-p.told
		if p.copied() != version+1 {
			t.Fatalf("copied %d, not %d", p.copied(), version+1)
		}
		alone := c.everywhere([]topology.NodeID{"n3"}, nil)
		p.wantFetched(t, context.Background(), c, p.saver.config.Vaults, alone, 40, 40)
		settle(time.Second)
		p.wantFetched(t, context.Background(), c, p.saver.config.Vaults, alone, 50, 50) // which is not complete, but what follows builds on it
		p.checkpoint(r, 60, false)
		settle(time.Second)
		if p.acked != 60 || len(p.bases) != 0 {
			t.Errorf("acknowledged %d; bases of %d key groups are wanted", p.acked, len(p.bases))
		}
		if p.replicas.Copied(1, topology.Range{From: 0, To: 9}, p.id) != 0 || p.replicas.Copied(1, p.rng, 77) != 0 {
			t.Error("of what is not here nothing is known")
		}
	})
}

func TestAnEndedPartitionsVaultsAreFoundCompleteAndCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newReplicated(c, 5, topology.Range{From: 0, To: modelGroups})
		defer p.stop()
		both := c.everywhere([]topology.NodeID{"n1", "n2"}, nil)
		p.meta(0, both)
		p.checkpoint(r, 10, false)
		settle(time.Second)
		p.checkpoint(r, 20, true)
		settle(time.Second)
		p.meta(500, both)
		p.restart()
		settle(time.Second)
		if s := p.replicas.Stats(); p.copied() != p.duty.Version || s.Copied != 0 {
			t.Fatalf("copied %d of %d, %+v", p.copied(), p.duty.Version, s)
		}
		c.node("n2").losePower()
		c.node("n2").start() // with its disk
		p.meta(600, c.everywhere([]topology.NodeID{"n1", "n2"}, nil))
		settle(time.Second)
		if s := p.replicas.Stats(); p.copied() != p.duty.Version || s.Copied != 0 {
			t.Fatalf("copied %d of %d, %+v", p.copied(), p.duty.Version, s)
		}
		c.node("n1").kill()
		p.meta(600, c.everywhere([]topology.NodeID{"n3"}, []topology.NodeID{"n1", "n2"})) // a former one has it
		settle(5 * time.Second)
		if p.copied() != p.duty.Version {
			t.Fatalf("copied %d of %d, %+v", p.copied(), p.duty.Version, p.replicas.Stats())
		}
		p.wantFetched(t, context.Background(), c, p.saver.config.Vaults, c.everywhere([]topology.NodeID{"n3"}, nil), 600, 20)
	})
}

// The first and the last key group of the block have ended, the others go on.
func TestAVaultIsNotFoundCompleteForKeyGroupsThatHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newReplicated(c, 5, topology.Range{From: 0, To: topology.BlockOf(0).Range(modelGroups).To})
		defer p.stop()
		p.ended = map[topology.KeyGroup]bool{0: true, p.rng.To - 1: true}
		both, one := c.everywhere([]topology.NodeID{"n1", "n2"}, nil), c.everywhere([]topology.NodeID{"n1"}, nil)
		p.meta(0, both)
		p.checkpoint(r, 10, false)
		settle(time.Second)
		p.meta(10, one)
		p.checkpoint(r, 20, false)
		settle(time.Second)
		p.meta(20, both)
		p.restart()
		settle(time.Second)
		if s := p.replicas.Stats(); p.copied() != p.duty.Version || s.Copied == 0 {
			t.Errorf("copied %d of %d, %+v", p.copied(), p.duty.Version, s)
		}
		p.wantFetched(t, context.Background(), c, p.saver.config.Vaults, c.everywhere([]topology.NodeID{"n2"}, nil), 20, 20)
	})
}

// A vault keeps the first delta of a key group and epoch. That of a partition which had not ended says so of its own splits alone.
func TestWhatHasEndedIsFetchedWhereAPartitionThatHadNotSavedItFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own")
		r := rand.New(rand.NewPCG(1, 1))
		both := c.everywhere([]topology.NodeID{"n1", "n2"}, nil)
		whole, part := newReplicated(c, 5, topology.Range{From: 0, To: modelGroups}), newReplicated(c, 6, topology.Range{From: 0, To: 3})
		defer whole.stop()
		defer part.stop()
		whole.ended = map[topology.KeyGroup]bool{0: true, 1: true, 2: true}
		part.ended = whole.ended
		whole.meta(0, both)
		part.meta(0, both)
		whole.checkpoint(r, 10, false)
		settle(time.Second)
		part.checkpoint(r, 10, true)
		settle(time.Second)
		if part.acked != 10 {
			t.Fatalf("acknowledged %d", part.acked)
		}
		part.wantFetched(t, context.Background(), c, part.saver.config.Vaults, both, 500, 10)
		err := Fetch(context.Background(), part.saver.config.Vaults, FetchRequest{Query: testQuery, Stage: 1, Range: topology.Range{From: 3, To: 4}, Epoch: 500,
			Groups: modelGroups, Sets: both, Current: c.currentOf}, func([]GroupDelta) error { return nil })
		if err == nil {
			t.Errorf("a key group that goes on has the state of epoch 10 at epoch 500")
		}
	})
}

func TestWhatNoVaultHasIsAskedOfThePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newReplicated(c, 5, topology.Range{From: 0, To: modelGroups})
		defer p.stop()
		p.meta(0, c.everywhere([]topology.NodeID{"n1"}, nil))
		p.checkpoint(r, 10, false)
		settle(time.Second)
		p.meta(10, c.everywhere([]topology.NodeID{"n2"}, nil)) // n1's disk is not named any more
		settle(time.Second)
		if p.copied() >= p.duty.Version || len(p.bases) != modelGroups {
			t.Fatalf("copied %d; %d bases are wanted", p.copied(), len(p.bases))
		}
		p.checkpoint(r, 20, false)
		settle(time.Second)
		p.meta(20, c.everywhere([]topology.NodeID{"n2"}, nil))
		settle(time.Second)
		if p.copied() != p.duty.Version {
			t.Errorf("copied %d of %d", p.copied(), p.duty.Version)
		}
	})
}

func TestBlocksWithoutStateAndGenerationsBeforeAreMinded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newReplicated(c, 5, topology.Range{From: 16, To: modelGroups})
		defer p.stop()
		p.meta(0, c.everywhere([]topology.NodeID{"n1"}, nil))
		p.checkpoint(r, 10, false)
		settle(time.Second)
		// The next generation, begun from there without block 0.
		p.saver.Close()
		p.duty.Parts = []DutyPart{{1, topology.Range{From: 0, To: modelGroups}, 6}}
		p.duty.Stages[1].Empty = []topology.BlockID{0}
		p.meta(10, c.everywhere([]topology.NodeID{"n2"}, []topology.NodeID{"n1"}))
		settle(time.Second)
		if got := p.replicas.Copied(1, topology.Range{From: 0, To: modelGroups}, 6); got != p.duty.Version {
			t.Fatalf("copied %d of %d, %+v", got, p.duty.Version, p.replicas.Stats())
		}
		p.wantFetched(t, context.Background(), c, p.saver.config.Vaults, c.everywhere([]topology.NodeID{"n2"}, nil), 10, 10)
	})
}

// TestCopiedSaysThatEveryMemberHasTheCompleteCheckpoint changes sets at random while checkpoints go on and vaults lose power.
func TestCopiedSaysThatEveryMemberHasTheCompleteCheckpoint(t *testing.T) {
	rounds := uint64(6)
	if testing.Short() {
		rounds = 2
	}
	for seed := range rounds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomReplication(t, seed) })
		})
	}
}

func randomReplication(t *testing.T, seed uint64) {
	ctx := context.Background()
	c := newTestCluster(t, seed, "n1", "n2", "n3", "n4", "own")
	r := rand.New(rand.NewPCG(seed, 3))
	p := newReplicated(c, 5, topology.Range{From: 5, To: modelGroups})
	defer p.stop()
	vaults := c.nodes[:4]
	sets := c.everywhere([]topology.NodeID{"n1", "n2"}, nil)
	p.meta(0, sets)
	complete, settled := topology.Epoch(0), 0
	for e := topology.Epoch(10); e <= 400; e += 10 {
		if r.IntN(3) > 0 {
			p.checkpoint(r, e, false)
		}
		if n := vaults[r.IntN(4)]; r.IntN(12) == 0 {
			n.losePower()
			time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
			n.start()
		}
		sets = slices.Clone(sets)
		for b := range sets {
			s := &sets[b]
			s.Members = slices.Clone(s.Members)
			for i, m := range s.Members {
				s.Members[i], _ = c.currentOf(m.Node)
			}
			if p.copied() == p.duty.Version {
				s.Former = nil // as the coordinator forgets them
			}
			if n := vaults[r.IntN(4)]; r.IntN(15) == 0 && !slices.Contains(s.Members, n.process) {
				s.Former = slices.DeleteFunc(append(slices.Clone(s.Former), s.Members[0]), func(f topology.Process) bool { return f.Node == n.id })
				s.Members[0] = n.process
			}
		}
		p.mu.Lock()
		if r.IntN(2) == 0 {
			complete = p.acked
		}
		p.mu.Unlock()
		version := p.meta(complete, sets)
		if r.IntN(3) == 0 {
			for _, n := range vaults {
				n.v.Trim(ctx, testQuery, complete)
			}
		}
		time.Sleep(time.Duration(r.IntN(400)) * time.Millisecond)
		if p.copied() != version || complete == 0 {
			continue
		}
		settled++
		for b := range sets {
			for _, m := range sets[b].Members {
				alone := slices.Clone(sets)
				alone[b] = topology.VaultSet{Members: []topology.Process{m}}
				p.wantFetched(t, ctx, c, p.saver.config.Vaults, alone, complete, complete)
			}
		}
	}
	settle(20 * time.Second)
	if p.copied() != p.duty.Version || settled == 0 {
		t.Errorf("copied %d of %d, %d times in all; %+v", p.copied(), p.duty.Version, settled, p.replicas.Stats())
	}
}

func TestCopiesKeepToTheirRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pacer{rate: 1 << 20}
		start := time.Now()
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				if err := p.wait(context.Background(), 64<<10); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 4*time.Second-pacerBurst {
			t.Errorf("4 MiB at 1 MiB/s took %v", took)
		}
	})
}
