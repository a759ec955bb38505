package backup

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestABlockIsLostWhenNoVaultThatLivesHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "own")
		p := newModelPartition(5, topology.Range{From: 0, To: modelGroups})
		pool := c.pool("own")
		p.saver = NewSaver(p.saverConfig(pool))
		defer c.stop(p.saver)
		n1, n2, n3 := c.node("n1"), c.node("n2"), c.node("n3")
		sets := setsOf(1, [][]topology.Process{{n1.process, n2.process}, {n2.process, n3.process}, {n3.process, n1.process}})
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, sets})
		p.checkpoint(rand.New(rand.NewPCG(1, 1)), 10, false)
		settle(time.Second)
		request := FetchRequest{Query: testQuery, Stage: 1, Range: p.rng, Epoch: 10, Groups: modelGroups, Sets: sets, Current: c.currentOf}
		dead := []topology.NodeID{}
		want := func(step string, blocks ...topology.BlockID) {
			t.Helper()
			got, err := Lost(context.Background(), pool, request, func(n topology.NodeID) bool { return !slices.Contains(dead, n) })
			if err != nil || !slices.Equal(got, blocks) {
				t.Errorf("%s: lost are %v, %v; want %v", step, got, err, blocks)
			}
		}
		want("all live")
		n2.kill()
		dead = append(dead, "n2")
		want("one is dead")
		n1.kill()
		want("another does not answer and may have it")
		dead = append(dead, "n1")
		want("two are dead", 0)
		request.Empty = []topology.BlockID{0}
		want("it is given up already")
		request.Empty = nil
		n1.start() // with its disk
		dead = []topology.NodeID{"n2"}
		want("one is back")
		request.Epoch = 20
		want("an epoch that was never saved", 0, 1, 2)
		request.Epoch = 0
		want("nothing was there")
	})
}

// unasked is vaults of which one must not be asked.
type unasked struct {
	Vaults
	t    *testing.T
	node topology.NodeID
}

func (u unasked) Vault(ctx context.Context, p topology.Process) (vault.Access, error) {
	if p.Node == u.node {
		u.t.Errorf("%s is asked, though others live", p.Node)
	}
	return u.Vaults.Vault(ctx, p)
}

func TestVaultsOfNodesThatLiveAreAskedBeforeOneThatVanished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "own")
		p := newModelPartition(5, topology.Range{From: 0, To: modelGroups})
		pool := c.pool("own")
		p.saver = NewSaver(p.saverConfig(pool))
		defer c.stop(p.saver)
		n1, n2, n3 := c.node("n1"), c.node("n2"), c.node("n3")
		sets := setsOf(1, [][]topology.Process{{n1.process, n2.process}, {n2.process, n3.process}, {n3.process, n2.process}})
		p.saver.SetVaults(1, [][]topology.VaultSet{nil, sets})
		p.checkpoint(rand.New(rand.NewPCG(1, 1)), 10, false)
		settle(time.Second)
		sets[0].Members, sets[0].Former = []topology.Process{n2.process}, []topology.Process{n1.process}
		lives := func(n topology.NodeID) bool { return n != "n2" }
		request := FetchRequest{Query: testQuery, Stage: 1, Range: p.rng, Epoch: 10, Groups: modelGroups, Sets: sets, Current: c.currentOf, Lives: lives}
		if _, err := fetched(context.Background(), unasked{pool, t, "n2"}, request); err != nil {
			t.Error(err)
		}
	})
}
