package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	modelKeys   = 6
	modelGroups = 40 // three blocks, the last one short
)

// modelState is a key group's state: values of some keys, and when each was touched last.
type modelState struct {
	values  [modelKeys]uint32
	touched [modelKeys]topology.Epoch
}

func (s *modelState) delta(from topology.Epoch) []byte {
	var out []byte
	for k := range s.values {
		if s.touched[k] > from {
			out = binary.LittleEndian.AppendUint32(append(out, byte(k)), s.values[k])
		}
	}
	return out
}

func apply(values *[modelKeys]uint32, data []byte) {
	for ; len(data) > 0; data = data[5:] {
		values[data[0]] = binary.LittleEndian.Uint32(data[1:])
	}
}

// modelPartition is a partition as an engine runs it.
type modelPartition struct {
	id    uint64
	rng   topology.Range
	saver *Saver

	mu     sync.Mutex
	acked  topology.Epoch
	bases  map[topology.KeyGroup]bool
	states [modelGroups]modelState
	at     map[topology.Epoch][modelGroups][modelKeys]uint32
	ended  map[topology.KeyGroup]bool // those that change no more
}

func newModelPartition(id uint64, rng topology.Range) *modelPartition {
	return &modelPartition{id: id, rng: rng, bases: map[topology.KeyGroup]bool{}, at: map[topology.Epoch][modelGroups][modelKeys]uint32{}}
}

func (p *modelPartition) saverConfig(vaults Vaults) SaverConfig {
	return SaverConfig{Query: testQuery, Vaults: vaults,
		Acked: func(_ topology.StageID, _ uint64, e topology.Epoch, _ int64, _ uint64) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.acked = max(p.acked, e)
		},
		NeedBase: func(_ topology.StageID, _ uint64, groups []topology.KeyGroup) {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, g := range groups {
				p.bases[g] = true
			}
		}}
}

// checkpoint touches some keys and saves.
func (p *modelPartition) checkpoint(r *rand.Rand, e topology.Epoch, ended bool) {
	p.mu.Lock()
	c := Checkpoint{Query: testQuery, Stage: 1, Range: p.rng, Instance: p.id, From: p.acked, Epoch: e, Ended: ended}
	var at [modelGroups][modelKeys]uint32
	for g := p.rng.From; g < p.rng.To; g++ {
		s := &p.states[g]
		for k := range s.values {
			if r.IntN(4) == 0 && !p.ended[g] {
				s.values[k], s.touched[k] = r.Uint32(), e
			}
		}
		d := GroupDelta{Group: g, Base: p.bases[g], Ended: p.ended[g]}
		if d.Base {
			d.Data = s.delta(0)
		} else {
			d.Data = s.delta(c.From)
		}
		c.Groups = append(c.Groups, d)
		at[g] = s.values
	}
	clear(p.bases)
	p.at[e] = at
	saver := p.saver
	p.mu.Unlock()
	saver.Save(c)
}

func (p *modelPartition) wantFetched(t *testing.T, ctx context.Context, c *testCluster, vaults Vaults, sets []topology.VaultSet, e, state topology.Epoch) {
	t.Helper()
	deltas, err := fetched(ctx, vaults, FetchRequest{Query: testQuery, Stage: 1, Range: p.rng, Epoch: e, Groups: modelGroups, Sets: sets, Current: c.currentOf})
	if err != nil {
		t.Errorf("epoch %d: %v", e, err)
		return
	}
	var got [modelGroups][modelKeys]uint32
	last := p.rng.From
	for _, d := range deltas {
		if d.Group < last {
			t.Fatalf("key group %d after %d", d.Group, last)
		}
		last = d.Group
		if d.Base {
			got[d.Group] = [modelKeys]uint32{}
		}
		apply(&got[d.Group], d.Data)
	}
	if got != p.at[state] {
		t.Errorf("the state fetched at epoch %d is another one than was saved", e)
	}
}

func setsOf(version uint64, blocks [][]topology.Process) []topology.VaultSet {
	var out []topology.VaultSet
	for _, b := range blocks {
		out = append(out, topology.VaultSet{Version: version, Members: b})
	}
	return out
}

// TestBaseAndDeltasEqualTheStateAtEveryAcknowledgedCheckpoint runs checkpoints while vaults die, restart, lose power and are
// replaced: what is acknowledged is at every vault of the sets, and what is fetched is what was saved.
func TestBaseAndDeltasEqualTheStateAtEveryAcknowledgedCheckpoint(t *testing.T) {
	rounds := uint64(12)
	if testing.Short() {
		rounds = 4
	}
	for seed := range rounds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomCheckpoints(t, seed) })
		})
	}
}

func randomCheckpoints(t *testing.T, seed uint64) {
	ctx := context.Background()
	c := newTestCluster(t, seed, "n1", "n2", "n3", "n4", "own")
	r := rand.New(rand.NewPCG(seed, 3))
	p := newModelPartition(5, topology.Range{From: 3, To: modelGroups})
	pool := c.pool("own")
	p.saver = NewSaver(p.saverConfig(pool))
	defer func() { c.stop(p.saver) }()
	members := func() (blocks [][]topology.Process) {
		live := c.nodes[:4]
		for range topology.Blocks(modelGroups) {
			var set []topology.Process
			for _, i := range r.Perm(4)[:2] {
				set = append(set, live[i].process)
			}
			blocks = append(blocks, set)
		}
		return blocks
	}
	sets := setsOf(1, members())
	p.saver.SetVaults(1, [][]topology.VaultSet{nil, sets})
	checked, acknowledged := topology.Epoch(0), 0
	change := func() { // what was acknowledged until now is on other vaults
		synctest.Wait()
		p.mu.Lock()
		checked = max(checked, p.acked)
		p.mu.Unlock()
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, sets})
	}
	for e := topology.Epoch(10); e <= 800; e += 10 {
		p.checkpoint(r, e, false)
		n := c.nodes[r.IntN(4)]
		switch k := r.IntN(16); {
		case k == 0 && n.up:
			n.kill()
			n.start()
		case k == 1 && n.up:
			n.losePower()
			n.start()
		case k == 2:
			c.net.Disconnect("own", string(n.id))
		case k == 3:
			n.fs.SetCapacity(n.fs.Used())
		case k == 4, k == 5:
			for _, n := range c.nodes {
				n.fs.SetCapacity(0)
			}
		case k == 6 && e > 100:
			sets = setsOf(uint64(e), members())
			change()
		}
		// As the coordinator does: processes that are gone are replaced, here by their successors.
		changed := false
		for b := range sets {
			for i, m := range sets[b].Members {
				if now, _ := c.currentOf(m.Node); now != m {
					sets = slices.Clone(sets)
					sets[b].Members = slices.Clone(sets[b].Members)
					sets[b].Members[i], changed = now, true
				}
			}
		}
		if changed {
			change()
		}
		time.Sleep(time.Duration(r.IntN(60)) * time.Millisecond)
		p.mu.Lock()
		acked := p.acked
		p.mu.Unlock()
		if acked > checked {
			acknowledged++
			checked = acked
			p.wantFetched(t, ctx, c, pool, sets, acked, acked)
			if k := r.IntN(4); k == 0 {
				for _, n := range c.nodes {
					n.v.Trim(ctx, testQuery, acked)
				}
			}
		}
	}
	for _, n := range c.nodes {
		n.fs.SetCapacity(0)
	}
	for e := topology.Epoch(900); e < 960; e += 10 {
		p.checkpoint(r, e, e == 950)
		settle(2 * time.Second)
	}
	if p.acked != 950 || acknowledged < 3 {
		t.Fatalf("checkpoint %d of 950 and %d in all were acknowledged; %+v", p.acked, acknowledged, p.saver.Stats())
	}
	for b, set := range sets { // each member has it
		for _, m := range set.Members {
			alone := slices.Clone(sets)
			alone[b].Members = []topology.Process{m}
			p.wantFetched(t, ctx, c, pool, alone, 950, 950)
			p.wantFetched(t, ctx, c, pool, alone, 2000, 950) // it had ended
		}
	}
}

func TestACheckpointIsAcknowledgedOnlyWhenAllVaultsOfTheSetNowKnownHaveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newModelPartition(5, topology.Range{From: 0, To: 16})
		p.saver = NewSaver(p.saverConfig(c.pool("own")))
		defer c.stop(p.saver)
		of := func(nodes ...topology.NodeID) [][]topology.VaultSet {
			var set []topology.Process
			for _, n := range nodes {
				set = append(set, c.node(n).process)
			}
			return [][]topology.VaultSet{nil, setsOf(1, [][]topology.Process{set})}
		}
		p.saver.SetVaults(1, of("n1", "n2"))
		p.checkpoint(r, 10, false)
		settle(time.Second)
		if p.acked != 10 {
			t.Fatalf("acknowledged %d; %+v", p.acked, p.saver.Stats())
		}
		c.net.SetHeld("own", "n2", true)
		p.checkpoint(r, 20, false)
		settle(time.Second)
		p.checkpoint(r, 30, false)
		p.checkpoint(r, 40, false)
		p.checkpoint(r, 50, false)
		settle(time.Second)
		if s := p.saver.Stats(); p.acked != 10 || s.Dropped != 1 || s.Age < 2*time.Second {
			t.Fatalf("acknowledged %d without n2; %+v", p.acked, s)
		}
		p.saver.SetVaults(1, of("n1", "n3")) // which lacks the base of 20
		settle(time.Second)
		if p.acked != 10 || len(p.bases) != 16 {
			t.Fatalf("acknowledged %d; bases of %v are wanted", p.acked, slices.Sorted(maps.Keys(p.bases)))
		}
		p.checkpoint(r, 60, false)
		settle(time.Second)
		if s := p.saver.Stats(); p.acked != 60 || s.Failed != 3 || s.BaseBytes == 0 {
			t.Fatalf("acknowledged %d; %+v", p.acked, s)
		}
	})
}

func TestAFullDiskOfAVaultIsSeenInTheStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newModelPartition(5, topology.Range{From: 0, To: 16})
		p.saver = NewSaver(p.saverConfig(c.pool("own")))
		defer c.stop(p.saver)
		n1 := c.node("n1")
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, setsOf(1, [][]topology.Process{{n1.process}})})
		p.checkpoint(r, 10, false)
		settle(time.Second)
		n1.fs.SetCapacity(1) // not even what the vault keeps in reserve is room
		p.checkpoint(r, 20, false)
		settle(time.Second)
		s := p.saver.Stats()
		if len(s.Problems) != 1 || s.Problems[0].Process != n1.process || !errors.As(s.Problems[0].Err, new(*vault.DiskFullError)) || s.Failed == 0 || p.acked != 10 {
			t.Fatalf("%+v", s)
		}
		n1.fs.SetCapacity(0)
		p.checkpoint(r, 30, false)
		settle(time.Second)
		if s := p.saver.Stats(); len(s.Problems) != 0 || p.acked != 30 {
			t.Fatalf("acknowledged %d; %+v", p.acked, s)
		}
		n1.kill()
		p.checkpoint(r, 40, false)
		settle(time.Second)
		if s := p.saver.Stats(); len(s.Problems) != 1 || p.acked != 30 {
			t.Fatalf("acknowledged %d; %+v", p.acked, s)
		}
	})
}

func TestFetchTellsVaultsThatLackAStateFromThoseThatCannotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		c := newTestCluster(t, 1, "n1", "n2", "n3", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newModelPartition(5, topology.Range{From: 0, To: modelGroups})
		pool := c.pool("own")
		p.saver = NewSaver(p.saverConfig(pool))
		defer c.stop(p.saver)
		n1, n2, n3 := c.node("n1"), c.node("n2"), c.node("n3")
		pairs := [][]topology.Process{{n1.process, n2.process}, {n2.process, n3.process}, {n3.process, n1.process}}
		sets := setsOf(1, pairs)
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, sets})
		p.checkpoint(r, 10, false)
		settle(time.Second)
		p.wantFetched(t, ctx, c, pool, sets, 10, 10)
		request := FetchRequest{Query: testQuery, Stage: 1, Range: p.rng, Epoch: 20, Groups: modelGroups, Sets: sets, Current: c.currentOf}
		var lost *LostError
		if _, err := fetched(ctx, pool, request); !errors.As(err, &lost) || !lost.Reachable || len(lost.Answers) != 2 {
			t.Errorf("epoch 20 was never saved and no partition had ended: %v", err)
		}
		n1.losePower()
		p.wantFetched(t, ctx, c, pool, sets, 10, 10) // the others have it
		n2.kill()
		request.Epoch = 10
		if _, err := fetched(ctx, pool, request); !errors.As(err, &lost) || lost.Reachable || lost.Block != 0 || len(lost.Answers) != 2 {
			t.Errorf("two vaults are down: %v", err)
		}
		request.Empty = []topology.BlockID{0}
		if deltas, err := fetched(ctx, pool, request); err != nil || len(deltas) != modelGroups-16 || deltas[0].Group != 16 {
			t.Errorf("without block 0: %d deltas, %v", len(deltas), err)
		}
		n1.start() // another process, with the disk of the former one
		p.wantFetched(t, ctx, c, pool, sets, 10, 10)
	})
}

func TestThePoolGivesNoOtherProcessOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		c := newTestCluster(t, 1, "n1", "own")
		defer c.stop()
		pool := c.pool("own")
		n1 := c.node("n1")
		old := n1.process
		a, err := pool.Vault(ctx, old)
		if err != nil || a.Node() != "n1" || a.Boot() != old.Boot {
			t.Fatalf("%v, %v", a, err)
		}
		if b, err := pool.Vault(ctx, old); err != nil || a != b {
			t.Errorf("another connection: %v", err)
		}
		if a, err := pool.Vault(ctx, c.node("own").process); err != nil || a != vault.Access(c.node("own").v) {
			t.Errorf("the own vault is %v, %v", a, err)
		}
		n1.kill()
		settle(time.Second)
		if _, err := pool.Vault(ctx, old); err == nil {
			t.Error("a vault that is down")
		}
		n1.start()
		var gone *GoneError
		if _, err := pool.Vault(ctx, old); !errors.As(err, &gone) || gone.Now != n1.process {
			t.Errorf("%v", err)
		}
		if a, err := pool.Vault(ctx, n1.process); err != nil || a.Boot() != n1.process.Boot {
			t.Errorf("%v", err)
		}
		c.net.Disconnect("own", "n1")
		settle(time.Millisecond)
		if _, err := pool.Vault(ctx, n1.process); err != nil {
			t.Errorf("after the connection broke: %v", err)
		}
		pool.Forget(n1.process)
		pool.Close()
		if _, err := pool.Vault(ctx, n1.process); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

func TestCloseAndForgetEndWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newModelPartition(5, topology.Range{From: 0, To: 16})
		p.saver = NewSaver(p.saverConfig(c.pool("own")))
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, setsOf(1, [][]topology.Process{{c.node("n1").process}})})
		c.net.SetHeld("own", "n1", true)
		p.checkpoint(r, 10, false)
		settle(10 * time.Millisecond)
		p.saver.Forget(1, 5)
		c.net.SetHeld("own", "n1", false)
		settle(time.Minute)
		if p.acked != 0 {
			t.Errorf("a forgotten instance had %d acknowledged", p.acked)
		}
		c.net.SetHeld("own", "n1", true)
		p.checkpoint(r, 20, false)
		settle(10 * time.Millisecond)
		c.stop(p.saver)
		p.checkpoint(r, 30, false)
	})
}

func TestFetchReadsFormerVaultsWhateverTheirProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		c := newTestCluster(t, 1, "n1", "n2", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newModelPartition(5, topology.Range{From: 0, To: modelGroups})
		pool := c.pool("own")
		p.saver = NewSaver(p.saverConfig(pool))
		defer c.stop(p.saver)
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, c.everywhere([]topology.NodeID{"n1"}, nil)})
		p.checkpoint(r, 10, false)
		settle(time.Second)
		sets := c.everywhere([]topology.NodeID{"n2"}, []topology.NodeID{"n1"})
		p.wantFetched(t, ctx, c, pool, sets, 10, 10)
		old := c.node("n1").process
		c.node("n1").losePower()
		c.node("n1").start()
		p.wantFetched(t, ctx, c, pool, sets, 10, 10)
		c.mu.Lock()
		c.current["n1"] = old // the metadata does not know of its present process yet
		c.mu.Unlock()
		p.wantFetched(t, ctx, c, pool, sets, 10, 10)
		c.mu.Lock()
		c.left["n1"] = true
		c.mu.Unlock()
		request := FetchRequest{Query: testQuery, Stage: 1, Range: p.rng, Epoch: 10, Groups: modelGroups, Sets: sets, Current: c.currentOf}
		var lost *LostError
		if _, err := fetched(ctx, pool, request); !errors.As(err, &lost) || !lost.Reachable || len(lost.Answers) != 2 {
			t.Errorf("the former vault has left: %v", err)
		}
	})
}

func TestTheLastCheckpointOfAnEndedPartitionIsSentUntilItIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newModelPartition(5, topology.Range{From: 0, To: modelGroups})
		p.saver = NewSaver(p.saverConfig(c.pool("own")))
		defer c.stop(p.saver)
		p.checkpoint(r, 10, true)
		settle(5 * time.Second) // no vaults are known yet
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, c.everywhere([]topology.NodeID{"n1"}, nil)})
		settle(5 * time.Second)
		if p.acked != 10 {
			t.Fatalf("acknowledged %d", p.acked)
		}
		c.node("n1").losePower()
		p.checkpoint(r, 20, true)
		settle(20 * time.Second)
		c.node("n1").start()
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, c.everywhere([]topology.NodeID{"n1"}, nil)})
		settle(5 * time.Second)
		if p.acked != 20 {
			t.Fatalf("acknowledged %d; %+v", p.acked, p.saver.Stats())
		}
	})
}

// TestACheckpointThatAVaultDidNotTakeIsSentAgainThoughNoLaterOneComes: while sources stand still there is none.
func TestACheckpointThatAVaultDidNotTakeIsSentAgainThoughNoLaterOneComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "own")
		r := rand.New(rand.NewPCG(1, 1))
		p := newModelPartition(5, topology.Range{From: 0, To: modelGroups})
		p.saver = NewSaver(p.saverConfig(c.pool("own")))
		defer c.stop(p.saver)
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, c.everywhere([]topology.NodeID{"n1"}, nil)})
		c.node("n1").fs.SetCapacity(1)
		p.checkpoint(r, 10, false)
		settle(5 * time.Second)
		if p.acked != 0 {
			t.Fatalf("a full vault has acknowledged %d", p.acked)
		}
		c.node("n1").fs.SetCapacity(0)
		settle(time.Minute)
		if p.acked != 10 {
			t.Fatalf("acknowledged %d; %+v", p.acked, p.saver.Stats())
		}
	})
}
