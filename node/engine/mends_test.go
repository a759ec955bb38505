package engine

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestBasesThatAreAskedForWhileSourcesStandStillAreSavedWithTheLastCheckpointAgain: no later checkpoint would bring them.
func TestBasesThatAreAskedForWhileSourcesStandStillAreSavedWithTheLastCheckpointAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		close(b.turn)
		p.role, p.next = Active, 129
		p.mustCheckpoint(t, 128, false)
		p.needBase([]topology.KeyGroup{3, 5})
		for range 3 { // once more, and not again and again
			if err := p.saveAgain(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if want := []topology.Epoch{128, 128}; !slices.Equal(b.epochs(), want) {
			t.Fatalf("saved %v, want %v", b.epochs(), want)
		}
		if want := []topology.KeyGroup{3, 5}; !slices.Equal(b.bases(1), want) {
			t.Errorf("bases of %v, want %v", b.bases(1), want)
		}
	})
}

// TestAShadowThatTakesOverWhileSourcesStandStillSavesTheCheckpointThatItStandsAt: they wait for that to be complete, and no later one comes before.
func TestAShadowThatTakesOverWhileSourcesStandStillSavesTheCheckpointThatItStandsAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		close(b.turn)
		line := p.checkpointEpochs()
		p.role, p.next, p.from = Active, 3*line+1, line
		for range 3 { // once
			if err := p.saveAgain(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if want := []topology.Epoch{3 * line}; !slices.Equal(b.epochs(), want) {
			t.Fatalf("saved %v, want %v", b.epochs(), want)
		}
		p.next++ // between two of them there is nothing to save
		if err := p.saveAgain(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(b.epochs()) != 1 {
			t.Errorf("saved %v", b.epochs())
		}
	})
}

// TestTheLastCheckpointIsSavedOnceMoreForBasesOfKeyGroupsThatWereGivenAway: it was of these too, so that the vault which asks has not taken it, and
// when everything has ended there is no later one.
func TestTheLastCheckpointIsSavedOnceMoreForBasesOfKeyGroupsThatWereGivenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := savingPartition(t)
		close(b.turn)
		p.role, p.next = Active, 121
		p.mustCheckpoint(t, 128, true)
		p.stats.final.Store(128)
		given := p.rng.To - 1
		p.narrowTo(topology.Range{From: p.rng.From, To: given})
		p.needBase([]topology.KeyGroup{given})
		for range 3 { // once more, and not again and again
			if err := p.saveEnd(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if want := []topology.Epoch{128, 128}; !slices.Equal(b.epochs(), want) {
			t.Fatalf("saved %v, want %v", b.epochs(), want)
		}
	})
}

// TestADurableMarkThatIsLostWithALinkAfterTheEndIsAskedForAgain: a consumer that has had the end of a producer reads no more of it.
func TestADurableMarkThatIsLostWithALinkAfterTheEndIsAskedForAgain(t *testing.T) {
	l := dataplane.NewLog(1, dataplane.Limits{Bytes: 1 << 20, Epochs: 64}, true, nil, nil)
	c, err := l.Subscribe(1, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	in := &inlet{cursor: c, ended: true}
	p := &partition{inlets: [][]*inlet{{in}}, wired: true, wake: make(chan struct{}, 1)}
	l.SetDurable(5)
	if d := p.inputsDurable(); d != 5 || !p.wired {
		t.Fatalf("durable through %d, wired: %v", d, p.wired)
	}
	l.Fail(dataplane.ErrLost)
	if d := p.inputsDurable(); d != dataplane.DurableUnknown || p.wired || in.cursor != nil {
		t.Errorf("durable through %d, wired: %v, subscribed: %v: nobody asks the producer again", d, p.wired, in.cursor != nil)
	}
}

// TestAReleasedEpochIsToldToSourcesAndShadowsElsewhere: others have no use for it.
func TestAReleasedEpochIsToldToSourcesAndShadowsElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		source  int
		role    Role
		standby bool
		want    int64
	}{
		"a source":                {0, Active, false, 7},
		"a shadow":                {-1, Shadow, false, 7},
		"one that is to stay one": {-1, Shadow, true, 0},
		"one that is neither":     {-1, Active, false, 0},
		"one that was replaced":   {0, Retired, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				teller, hearer := NewNode(NodeConfig{ID: "a", Boot: 1}), NewNode(NodeConfig{ID: "b", Boot: 2})
				tells, hears := openQuery(t, teller), openQuery(t, hearer)
				joinNodes(t, teller, hearer)
				synctest.Wait()
				tells.plan.Stages[0].Source = c.source
				tells.tell(&Placement{Stages: [][]Placed{{{Partition: topology.Partition{Node: "b", Boot: 2}, Instance: 1, Role: c.role, Standby: c.standby}}}}, 7)
				synctest.Wait()
				if got := hears.heard.Load(); got != c.want {
					t.Errorf("heard of epoch %d, want %d", got, c.want)
				}
			})
		})
	}
}

// TestAReleasedEpochIsToldAgainOverANewConnection: a source that seals only on hearing of others' epochs would not seal before its next row.
func TestAReleasedEpochIsToldAgainOverANewConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		teller, hearer := NewNode(NodeConfig{ID: "a", Boot: 1}), NewNode(NodeConfig{ID: "b", Boot: 2})
		told, hears := openQuery(t, teller), openQuery(t, hearer)
		told.heard.Store(7) // over a connection that was lost
		joinNodes(t, teller, hearer)
		synctest.Wait()
		if got := hears.heard.Load(); got != 7 {
			t.Errorf("heard of epoch %d, 7 is released", got)
		}
	})
}

// TestWhatWasReleasedBeforeAQueryWasOpenOrASourcePlacedOnANodeIsHeardThere: a source there that stands still at a checkpoint which others have left
// behind would do so for ever.
func TestWhatWasReleasedBeforeAQueryWasOpenOrASourcePlacedOnANodeIsHeardThere(t *testing.T) {
	placed := func(node topology.NodeID, boot topology.BootID) Placement {
		return Placement{Stages: [][]Placed{{{Partition: topology.Partition{Node: node, Boot: boot}, Role: Active}}}}
	}
	t.Run("open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			teller, hearer := NewNode(NodeConfig{ID: "a", Boot: 1}), NewNode(NodeConfig{ID: "b", Boot: 2})
			told := openQuery(t, teller)
			joinNodes(t, teller, hearer)
			told.Update(placed("b", 2))
			runUpdates(t, told)
			(&partition{query: told, followed: told.placement}).tell(7)
			synctest.Wait()
			hears := openQuery(t, hearer)
			time.Sleep(2 * tellEvery)
			if got := hears.heard.Load(); got != 7 {
				t.Errorf("heard of epoch %d, 7 is released", got)
			}
		})
	})
	t.Run("placed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			teller, hearer := NewNode(NodeConfig{ID: "a", Boot: 1}), NewNode(NodeConfig{ID: "b", Boot: 2})
			told, hears := openQuery(t, teller), openQuery(t, hearer)
			joinNodes(t, teller, hearer)
			told.Update(placed("c", 3))
			runUpdates(t, told)
			(&partition{query: told, followed: told.placement}).tell(7)
			time.Sleep(2 * tellEvery)
			told.Update(placed("b", 2))
			time.Sleep(2 * tellEvery)
			if got := hears.heard.Load(); got != 7 {
				t.Errorf("heard of epoch %d, 7 is released", got)
			}
		})
	})
}

// TestSourcesAreWokenWhenLogsHaveRoomAgain: they stand still, so that nothing else wakes them.
func TestSourcesAreWokenWhenLogsHaveRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spill := dataplane.MemorySpill(1)
		q := openQuery(t, NewNode(NodeConfig{ID: "a", Boot: 1, Spill: spill}))
		runUpdates(t, q)
		source := &partition{spec: q.plan.Stages[0], wake: make(chan struct{}, 1)}
		q.mu.Lock()
		q.parts = append(q.parts, source)
		q.mu.Unlock()
		l := dataplane.NewLog(1, dataplane.Limits{Bytes: 1 << 20, Epochs: 64}, true, nil, nil)
		l.SpillTo(spill)
		l.Append(dataplane.Entry{First: 1, Last: 1})
		synctest.Wait()
		if len(source.wake) != 0 || !spill.Pressed() {
			t.Fatalf("woken: %d, pressed: %v", len(source.wake), spill.Pressed())
		}
		l.Trim(1)
		synctest.Wait()
		if len(source.wake) == 0 || spill.Pressed() {
			t.Errorf("woken: %d, pressed: %v", len(source.wake), spill.Pressed())
		}
	})
}

// runUpdates runs a query that has no partitions on its node for as long as the test runs.
func runUpdates(t *testing.T, q *Query) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = q.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// openQuery opens a query of one source on a node.
func openQuery(t *testing.T, n *Node) *Query {
	t.Helper()
	id := topology.QueryID{Incarnation: 1, Generation: 1}
	q, err := n.NewQuery(QueryConfig{ID: id, Retain: true, Plan: &plan.Plan{Settings: plan.Settings{Zone: "UTC", SealRows: 1}, Stages: []*plan.Stage{{Source: 0}}}})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// joinNodes connects two nodes for as long as the test runs.
func joinNodes(t *testing.T, a, b *Node) {
	t.Helper()
	net := transport.NewMemory(transport.Options{})
	listener, err := net.Node(string(a.config.ID)).Listen("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	dialled, err := net.Node(string(b.config.ID)).Dial(ctx, listener.Addr())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var joined sync.WaitGroup
	joined.Go(func() { _ = a.Join(ctx, Peer{Node: b.config.ID, Boot: b.config.Boot}, accepted) })
	joined.Go(func() { _ = b.Join(ctx, Peer{Node: a.config.ID, Boot: a.config.Boot}, dialled) })
	t.Cleanup(func() {
		cancel()
		joined.Wait()
		_ = listener.Close()
	})
	synctest.Wait()
}
