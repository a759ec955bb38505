package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/blackhole"
	"github.com/seepnode/seepnode/node/connector/datagen"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// slowBackup takes a checkpoint for each value sent to turn.
type slowBackup struct {
	turn  chan struct{}
	saved []backup.Checkpoint
}

func (b *slowBackup) Save(c backup.Checkpoint) {
	<-b.turn
	b.saved = append(b.saved, c)
}

func (b *slowBackup) epochs() (out []topology.Epoch) {
	for _, c := range b.saved {
		out = append(out, c.Epoch)
	}
	return out
}

// bases are the key groups that the n-th checkpoint brought whole.
func (b *slowBackup) bases(n int) (out []topology.KeyGroup) {
	for _, g := range b.saved[n].Groups {
		if g.Base {
			out = append(out, g.Group)
		}
	}
	return out
}

// savingPartition is the partition of a keyed count that has begun, driven by hand.
func savingPartition(t *testing.T) (*partition, *slowBackup) { return savingPartitionOf(t, 1, "") }

// savingPartitionOf is that of a stage; the source has more options.
func savingPartitionOf(t *testing.T, stage int, options string) (*partition, *slowBackup) {
	t.Helper()
	c := &testCatalog{}
	for _, d := range []*connector.Definition{blackhole.Definition(), datagen.Definition()} {
		if err := c.connectors.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	p, err := plan.Compile(`
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='1','fields.k.min'='0','fields.k.max'='9'`+options+`);
CREATE TABLE out (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k, COUNT(*) FROM src GROUP BY k`, c, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q := onOneNode(t, c, p, Limits{})
	b := &slowBackup{turn: make(chan struct{})}
	q.config.Backup = b
	part := newPartition(q, p.Stages[stage], &q.placement.Stages[stage][0])
	part.placement.Store(q.placement)
	if err := part.begin(context.Background()); err != nil {
		t.Fatal(err)
	}
	part.saving.raise(topology.EpochForever)
	t.Cleanup(func() {
		part.shut()
		if err := q.Close(false); err != nil {
			t.Error(err)
		}
	})
	return part, b
}

func (p *partition) mustCheckpoint(t *testing.T, c topology.Epoch, ended bool) {
	t.Helper()
	if err := p.checkpoint(c, ended); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// TestACheckpointIsSavedOnceTheSealsThatItIsMadeOfAreDurable: a vault keeps the first that it gets of an epoch, and what is lost with all computers'
// power is sealed anew.
func TestACheckpointIsSavedOnceTheSealsThatItIsMadeOfAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		close(b.turn)
		p.saving.durable = 0
		saved := func(want ...topology.Epoch) {
			t.Helper()
			if synctest.Wait(); !slices.Equal(b.epochs(), want) {
				t.Fatalf("saved %v, want %v", b.epochs(), want)
			}
		}
		p.mustCheckpoint(t, 128, false)
		p.setDurable(127)
		saved()
		p.setDurable(128)
		saved(128)
		p.mustCheckpoint(t, 256, false)
		p.mustCheckpoint(t, 384, false) // is overtaken, or with marks that stay behind none would ever be saved
		p.mustCheckpoint(t, 512, false)
		p.setDurable(300)
		saved(128, 256)
		p.setDurable(512)
		saved(128, 256, 512)
		p.mustCheckpoint(t, 640, true)
		p.saving.close() // what may be lost with the power would be saved
		p.setDurable(640)
		saved(128, 256, 512)
	})
}

// TestPartitionsWhoseMarksAreLateSaveTheSameCheckpoints, whenever they began and a mark came: those of one alone are never complete.
func TestPartitionsWhoseMarksAreLateSaveTheSameCheckpoints(t *testing.T) {
	const lines, line, first = 64, 128, 5
	for late := topology.Epoch(1); late < 10*line; late += 45 {
		synctest.Test(t, func(t *testing.T) {
			var saved [2][]topology.Epoch
			for k := range saved {
				p, b := savingPartition(t)
				close(b.turn)
				p.saving.durable = 0
				for e := topology.Epoch(1 + k*first*line); e <= lines*line; e++ {
					if e%line == 0 {
						p.mustCheckpoint(t, e, false)
					}
					if k == 0 || e%100 == 0 { // the other one hears less often
						p.setDurable(e - late)
						synctest.Wait()
					}
				}
				p.next = lines*line + 1 // sources stand still there
				for range 3 {
					p.setDurable(topology.EpochForever)
					synctest.Wait()
					if err := p.saveAgain(); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				saved[k] = b.epochs()
				if !slices.IsSorted(saved[k]) || saved[k][len(saved[k])-1] != lines*line {
					t.Fatalf("marks %d late: saved %v", late, saved[k])
				}
			}
			longest, last := topology.Epoch(0), topology.Epoch(first*line)
			for _, e := range saved[0] {
				if slices.Contains(saved[1], e) {
					longest, last = max(longest, e-last), e
				}
			}
			if longest > 2*late+2*line {
				t.Errorf("marks %d late: %d epochs without one that both have: %v %v", late, longest, saved[0], saved[1])
			}
		})
	}
}

func TestACheckpointThatIsOvertakenIsNotSavedAndItsBasesComeWithTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		p.mustCheckpoint(t, 128, false) // the backup is slow with this one
		p.needBase([]topology.KeyGroup{3, 5})
		p.mustCheckpoint(t, 256, false)
		p.needBase([]topology.KeyGroup{4})
		p.mustCheckpoint(t, 384, false)
		close(b.turn)
		synctest.Wait()
		if want := []topology.Epoch{128, 384}; !slices.Equal(b.epochs(), want) {
			t.Fatalf("saved %v, want %v", b.epochs(), want)
		}
		if want := []topology.KeyGroup{3, 4, 5}; !slices.Equal(b.bases(1), want) {
			t.Errorf("bases of %v, want %v", b.bases(1), want)
		}
	})
}

func TestAKeyGroupOfWhichMostHasChangedIsSavedWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		close(b.turn)
		op := slices.IndexFunc(p.groups, func(groups []relational.Group) bool { return groups != nil })
		tables := make([]*state.Table, 5)
		for i := 1; i < len(tables); i++ {
			g := &p.groups[op][i]
			if err := p.openGroup(p.executors[0].keyed(op), g, topology.KeyGroup(i)); err != nil {
				t.Fatal(err)
			}
			var err error
			if tables[i], err = g.State.Register("keys", []batch.Type{batch.TypeBigInt}); err != nil {
				t.Fatal(err)
			}
		}
		touch := func(epoch topology.Epoch, i, keys int) {
			p.groups[op][i].State.Begin(epoch)
			for k := range keys {
				key := []byte{byte(k)}
				tables[i].Upsert(batch.HashKey(key), key)
			}
			p.changed[i], p.memory[op*p.rng.Len()+i] = epoch, 2*wholeBytes
		}
		for i := 1; i < len(tables); i++ {
			touch(1, i, 8)
		}
		p.mustCheckpoint(t, 128, false)
		p.acknowledge(128)
		p.forget(math.MaxInt)
		touch(129, 1, 8)
		touch(129, 2, 6)
		touch(129, 3, 5)
		touch(129, 4, 8)
		p.memory[op*p.rng.Len()+4] = wholeBytes - 1
		p.mustCheckpoint(t, 256, false)
		if want := []topology.KeyGroup{1, 2}; !slices.Equal(b.bases(1), want) {
			t.Errorf("saved whole are %v, want %v", b.bases(1), want)
		}
	})
}

func TestAPartitionThatLeavesGivesUpWhatWaitsUnlessItIsItsFinalState(t *testing.T) {
	for _, ended := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p, b := savingPartition(t)
			p.mustCheckpoint(t, 128, false)
			p.mustCheckpoint(t, 256, ended)
			left := make(chan struct{})
			go func() {
				p.saving.close()
				close(left)
			}()
			synctest.Wait()
			close(b.turn)
			<-left
			want := []topology.Epoch{128}
			if ended {
				want = append(want, 256)
			}
			if !slices.Equal(b.epochs(), want) {
				t.Errorf("ended %v: saved %v, want %v", ended, b.epochs(), want)
			}
		})
	}
}

func TestBasesOfLargeKeyGroupsAreSpreadOverCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		close(b.turn)
		for i := range p.memory {
			p.memory[i] = baseBytes / 2 / int64(len(p.groups))
		}
		p.needBase([]topology.KeyGroup{9, 1, 4, 2, 200})
		for i, want := range [][]topology.KeyGroup{{1, 2}, {4, 9}, {200}, nil} {
			p.mustCheckpoint(t, topology.Epoch(128*(i+1)), false)
			if got := b.bases(i); !slices.Equal(got, want) {
				t.Errorf("checkpoint %d has bases of %v, want %v", i+1, got, want)
			}
		}
	})
}

func TestWhoIsRestoredFromLongChainsBringsBasesWithItsFirstCheckpointUnasked(t *testing.T) {
	chain := func(g topology.KeyGroup, base bool, deltas int, flags byte) (all []backup.GroupDelta) {
		for i := range 1 + deltas {
			d := backup.GroupDelta{Group: g, Base: base && i == 0, Data: []byte{groupVersion, flags}}
			if i == 0 {
				d.Data[1] = 0
			}
			all = append(all, d)
		}
		return all
	}
	chains := slices.Concat(
		chain(1, true, chainDeltas, 0),
		chain(2, true, chainDeltas+1, 0),
		chain(3, false, chainDeltas+1, 0), // what begins a chain is its base
		chain(4, true, 100, groupUnchanged),
		chain(5, true, 100, 0), chain(5, true, 1, 0),
	)
	if got, want := outgrown(chains), []topology.KeyGroup{2, 3}; !slices.Equal(got, want) {
		t.Errorf("outgrown are %v, want %v", got, want)
	}
	if got := outgrown(nil); got != nil {
		t.Errorf("outgrown of nothing are %v", got)
	}
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		refused := errors.New("the chain was looked at")
		p.query.config.Restore = func(_ context.Context, _ topology.StageID, _ topology.Range, _ topology.Epoch, take func([]backup.GroupDelta) error) error {
			if err := take(chain(2, true, chainDeltas+1, 0)); err == nil {
				t.Error("what is no state was taken")
			}
			return refused
		}
		if err := p.restore(t.Context(), 128); !errors.Is(err, refused) {
			t.Fatal(err)
		}
		if p.saveWaits() {
			t.Error("a partition that may never be active has something to save")
		}
		p.saved = 256
		for _, c := range []topology.Epoch{256, 384, 512} {
			if err := p.checkpoint(c, false); err != nil {
				t.Fatal(err)
			}
			b.turn <- struct{}{}
			synctest.Wait()
		}
		for n, want := range [][]topology.KeyGroup{nil, {2}, nil} { // an epoch that is saved again brings none: vaults have it
			if got := b.bases(n); !slices.Equal(got, want) {
				t.Errorf("checkpoint %d brings bases of %v, want %v", n, got, want)
			}
		}
	})
}

func TestAPartitionThatHasEndedSavesItsFinalStateAgainUntilAllBasesAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		close(b.turn)
		for i := range p.memory {
			p.memory[i] = baseBytes
		}
		p.stats.final.Store(128)
		p.needBase([]topology.KeyGroup{1, 2, 3})
		for range 10 {
			select {
			case <-p.wake:
			default:
			}
			if err := p.saveEnd(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		var bases []topology.KeyGroup
		for i, c := range b.saved {
			if !c.Ended || c.Epoch != 128 {
				t.Errorf("checkpoint %d, ended %v", c.Epoch, c.Ended)
			}
			bases = append(bases, b.bases(i)...)
		}
		if want := []topology.KeyGroup{1, 2, 3}; !slices.Equal(bases, want) {
			t.Errorf("bases of %v, want %v", bases, want)
		}
	})
}

func TestAPartitionThatWasRestoredBehindItsEndSavesItsFinalStateForAVaultThatLacksIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		close(b.turn)
		p.over, p.next, p.from, p.saved = true, 129, 128, 128 // as restore leaves it
		p.stats.final.Store(128)
		for i := range p.memory {
			p.memory[i] = baseBytes
		}
		p.needBase([]topology.KeyGroup{2, 3, 4})
		for range 3 {
			if err := p.saveEnd(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if len(b.saved) != 1 {
			t.Fatalf("%d checkpoints were saved, and all is in the first", len(b.saved))
		}
		for _, g := range b.saved[0].Groups {
			if c := b.saved[0]; !g.Base && c.From >= c.Epoch {
				t.Fatalf("key group %d comes as a delta of the epochs (%d,%d], which no vault takes", g.Group, c.From, c.Epoch)
			}
		}
	})
}

// lateKeeper is a Keeper that notes what is asked of it.
type lateKeeper struct {
	connector.Keeper
	t    *testing.T
	told atomic.Int64
	asks atomic.Int64
}

func (k *lateKeeper) Acknowledge(c topology.Epoch)                   { raise(&k.told, int64(c)) }
func (k *lateKeeper) Changed(topology.KeyGroup, topology.Epoch) bool { return true }
func (k *lateKeeper) Size(topology.KeyGroup) int                     { return 0 }
func (k *lateKeeper) AppendDelta(dst []byte, _ topology.KeyGroup, from, through topology.Epoch) []byte {
	k.asks.Add(1)
	if told := topology.Epoch(k.told.Load()); from < told {
		k.t.Errorf("a delta from %d, though those before %d are acknowledged", from, told)
	}
	return binary.AppendVarint(dst, int64(through))
}

func TestAKeeperIsNotToldOfWhatAPendingDeltaStartsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		k := &lateKeeper{t: t}
		p.keepers = append(p.keepers, k)
		acknowledge := func(c topology.Epoch) {
			p.acknowledged(c, 0, 0)
			p.acknowledge(topology.Epoch(p.acked.Load()))
		}
		p.mustCheckpoint(t, 128, false)
		p.mustCheckpoint(t, 256, false) // it waits, and starts at 0
		b.turn <- struct{}{}
		acknowledge(128)
		if told := k.told.Load(); told != 0 {
			t.Errorf("it was told of %d", told)
		}
		synctest.Wait()
		p.mustCheckpoint(t, 384, false)
		b.turn <- struct{}{}
		synctest.Wait()
		acknowledge(256)
		if told := k.told.Load(); told != 128 {
			t.Errorf("it was told of %d, the delta that is made starts at 128", told)
		}
		b.turn <- struct{}{}
		synctest.Wait()
		acknowledge(384)
		if told, asks := k.told.Load(), k.asks.Load(); told != 384 || asks != int64(3*p.rng.Len()) {
			t.Errorf("it was told of %d and asked %d times", told, asks)
		}
		p.keepers = nil
	})
}

// TestAPanicWhileStateIsEncodedIsTheQuerysError has a keeper that has no AppendDelta.
func TestAPanicWhileStateIsEncodedIsTheQuerysError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := savingPartition(t)
		p.keepers = append(p.keepers, &brokenKeeper{})
		p.mustCheckpoint(t, 128, false)
		if err := p.checkpoint(256, false); err == nil || !strings.Contains(err.Error(), "while state was saved") {
			t.Errorf("the error is %v", err)
		}
		p.keepers = nil
	})
}

type brokenKeeper struct{ connector.Keeper }

func (brokenKeeper) Changed(topology.KeyGroup, topology.Epoch) bool { return true }
func (brokenKeeper) Size(topology.KeyGroup) int                     { return 0 }

// A vault keeps the first delta of a key group and epoch that it gets. If that said whether the whole partition had ended, a key group without
// splits would not have ended for ever where the partition had others, and when it became a partition of its own that had ended, whose final
// state no vault took for that: what had been complete could not be restored.
func TestAKeyGroupOfASourceIsSavedAsEndedWhenItsOwnSplitsHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartitionOf(t, 0, ",'number-of-rows'='100','splits'='5'")
		close(b.turn)
		ended := func(checkpoint int) (groups []topology.KeyGroup) {
			for _, g := range b.saved[checkpoint].Groups {
				if g.Ended {
					groups = append(groups, g.Group)
				}
			}
			return groups
		}
		if err := p.source.discover(t.Context(), p, 0); err != nil {
			t.Fatal(err)
		}
		p.mustCheckpoint(t, 128, false)
		if n, want := len(ended(0)), p.rng.Len()-len(p.source.groups); n != want || want == p.rng.Len() {
			t.Errorf("%d key groups have ended, %d have no splits", n, want)
		}
		first := &p.source.groups[0]
		for _, sp := range first.splits {
			sp.ended = true
		}
		p.source.finishEpoch()
		p.mustCheckpoint(t, 256, false)
		if got := ended(1); !slices.Contains(got, first.group) || len(got) != len(ended(0))+1 {
			t.Errorf("%d have ended, %d had when the splits of key group %d had not", len(got), len(ended(0)), first.group)
		}
	})
}
