package backup

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// fetched gives copies of all that Fetch gives, ascending by key group.
func fetched(ctx context.Context, vaults Vaults, r FetchRequest) ([]GroupDelta, error) {
	var mu sync.Mutex
	chains := map[topology.KeyGroup][]GroupDelta{}
	err := Fetch(ctx, vaults, r, func(chain []GroupDelta) error {
		mu.Lock()
		defer mu.Unlock()
		g := chain[0].Group
		if chains[g] != nil {
			return errors.New("a key group came twice")
		}
		for _, d := range chain {
			if d.Group != g {
				return errors.New("a chain of two key groups")
			}
			d.Data = slices.Clone(d.Data)
			chains[g] = append(chains[g], d)
		}
		return nil
	})
	var all []GroupDelta
	for g := r.Range.From; g < r.Range.To; g++ {
		all = append(all, chains[g]...)
	}
	return all, err
}

// failing is vaults that give a few deltas whenever chains are read, and in all, unless they are of the node that is spared.
type failing struct {
	Vaults
	after  int
	spared topology.NodeID

	mu    sync.Mutex
	inAll int
	asked []vault.ChainRequest // of vaults that are not spared
}

var errOutOfOrder = errors.New("the vault is out of order")

func (f *failing) Vault(ctx context.Context, p topology.Process) (vault.Access, error) {
	access, err := f.Vaults.Vault(ctx, p)
	if err != nil || p.Node == f.spared {
		return access, err
	}
	return failingVault{access, f}, nil
}

type failingVault struct {
	vault.Access
	of *failing
}

func (v failingVault) Chain(ctx context.Context, r vault.ChainRequest, take func(d *vault.Delta) error) error {
	v.of.mu.Lock()
	v.of.asked = append(v.of.asked, r)
	v.of.mu.Unlock()
	left := v.of.after
	return v.Access.Chain(ctx, r, func(d *vault.Delta) error {
		v.of.mu.Lock()
		fails := left == 0 || v.of.inAll <= 0
		v.of.inAll--
		v.of.mu.Unlock()
		if left--; fails {
			return errOutOfOrder
		}
		return take(d)
	})
}

// fetchWorld has a partition's state at epoch 30 in vaults of two nodes: for each key group a delta of each of three checkpoints.
func fetchWorld(t *testing.T, try func(pool Vaults, p *modelPartition, request FetchRequest)) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own")
		p := newModelPartition(5, topology.Range{From: 0, To: modelGroups})
		pool := c.pool("own")
		p.saver = NewSaver(p.saverConfig(pool))
		defer c.stop(p.saver)
		members := []topology.Process{c.node("n1").process, c.node("n2").process}
		sets := setsOf(1, [][]topology.Process{members, members, members})
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, sets})
		r := rand.New(rand.NewPCG(1, 1))
		for e := topology.Epoch(10); e <= 30; e += 10 {
			p.checkpoint(r, e, false)
			settle(time.Second)
		}
		try(pool, p, FetchRequest{Query: testQuery, Stage: 1, Range: p.rng, Epoch: 30, Groups: modelGroups, Sets: sets, Current: c.currentOf})
	})
}

// holds says whether deltas lead to the state at an epoch.
func (p *modelPartition) holds(deltas []GroupDelta, e topology.Epoch) bool {
	var got [modelGroups][modelKeys]uint32
	for _, d := range deltas {
		apply(&got[d.Group], d.Data)
	}
	return got == p.at[e]
}

func TestFetchGoesOnAtAnotherVaultWithTheFirstKeyGroupThatWasNotTaken(t *testing.T) {
	for after := range 10 {
		fetchWorld(t, func(pool Vaults, p *modelPartition, request FetchRequest) {
			f := &failing{Vaults: pool, after: after, inAll: 1000, spared: "n2"}
			deltas, err := fetched(context.Background(), f, request)
			if err != nil || !p.holds(deltas, 30) {
				t.Errorf("vaults that fail after %d deltas: %v", after, err)
			}
			if len(f.asked) == 0 {
				t.Error("no vault failed")
			}
		})
	}
}

func TestFetchThatIsTriedAgainTakesNoKeyGroupTwice(t *testing.T) {
	fetchWorld(t, func(pool Vaults, p *modelPartition, request FetchRequest) {
		f := &failing{Vaults: pool, after: 1000, inAll: 50}
		part, err := fetched(context.Background(), f, request)
		var lost *LostError
		if !errors.As(err, &lost) || len(part) == 0 {
			t.Fatalf("%d deltas, %v", len(part), err)
		}
		has := func(g topology.KeyGroup) bool {
			return slices.ContainsFunc(part, func(d GroupDelta) bool { return d.Group == g })
		}
		request.Has = has
		rest, err := fetched(context.Background(), pool, request)
		if err != nil || !p.holds(append(slices.Clone(part), rest...), 30) {
			t.Error("the two do not lead to the state", err)
		}
		for _, d := range rest {
			if has(d.Group) {
				t.Errorf("key group %d came in both", d.Group)
			}
		}
	})
}

func TestFetchEndsWithWhatTakeSaysAndAsksNobodyElse(t *testing.T) {
	fetchWorld(t, func(pool Vaults, _ *modelPartition, request FetchRequest) {
		request.Range.To = topology.BlockGroups
		f := &failing{Vaults: pool, after: 1000, inAll: 1000}
		damaged := errors.New("it is damaged")
		if err := Fetch(context.Background(), f, request, func([]GroupDelta) error { return damaged }); !errors.Is(err, damaged) {
			t.Error(err)
		}
		if len(f.asked) != 1 {
			t.Errorf("%d vaults were asked", len(f.asked))
		}
	})
}
