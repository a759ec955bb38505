package table

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// partition is a lane with what an engine and vaults would hold of it.
type partition struct {
	lane     connector.Keeper
	rng      topology.Range
	oldest   topology.Epoch // the oldest epoch that can be read
	visible  topology.Epoch
	saved    topology.Epoch // of the last checkpoint
	acked    topology.Epoch
	complete topology.Epoch
	deltas   [][][]byte // by key group: what was saved
	at       [][]topology.Epoch
	pending  []pendingDelta
}

// pendingDelta is a delta that a checkpoint asked for and that is not made yet.
type pendingDelta struct {
	g             topology.KeyGroup
	from, through topology.Epoch
}

// save makes the deltas that are pending.
func (p *partition) save() {
	for _, d := range p.pending {
		p.deltas[d.g] = append(p.deltas[d.g], p.lane.AppendDelta(nil, d.g, d.from, d.through))
		p.at[d.g] = append(p.at[d.g], d.through)
	}
	p.pending = p.pending[:0]
}

func TestEveryEpochFromTheTrimPointOnReadsAsTheModelSays(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		store, m := NewStore(), newModel()
		p := &partition{rng: testAll, deltas: make([][][]byte, testGroups), at: make([][]topology.Epoch, testGroups)}
		p.lane = openLane(t, store, p.rng)
		keys := 1 + random.Int64N(60)
		for range 300 {
			switch op := random.IntN(20); {
			case op < 10:
				rows := m.random(random, keys)
				first := m.last() + 1
				for range random.IntN(3) {
					m.write(nil)
				}
				m.write(rows)
				if err := p.lane.Write(first, m.last(), views(rows, p.rng, random)); err != nil {
					t.Fatal(err)
				}
			case op < 14 && m.last() > p.visible:
				p.visible += 1 + topology.Epoch(random.Int64N(int64(m.last()-p.visible)))
				commit(t, p.lane, p.visible)
			case op == 14 && p.visible > p.saved:
				p.checkpoint(m, random)
			case op == 15 && p.saved > p.acked:
				p.save()
				p.acked = p.saved
				p.lane.Acknowledge(p.acked)
			case op == 16 && p.acked > p.oldest:
				p.oldest = min(p.acked, p.visible)
				p.lane.Trim(p.oldest)
			case op == 17:
				p.restore(t, store, m, random)
			default:
				p.compare(t, store, m, random, seed)
			}
		}
		p.compare(t, store, m, random, seed)
	}
}

// checkpoint saves what changed behind the last acknowledged checkpoint, as of the last epoch written. Here that is one that is visible
// by then, as the engine has it for sinks.
func (p *partition) checkpoint(m *model, random *rand.Rand) {
	p.visible = m.last()
	_ = p.lane.Commit(p.visible)
	p.saved = m.last()
	for g := p.rng.From; g < p.rng.To; g++ {
		from := p.acked
		if random.IntN(5) == 0 {
			from = 0 // a vault asked for a base
		}
		if from != 0 && !p.lane.Changed(g, from) {
			continue
		}
		p.pending = append(p.pending, pendingDelta{g, from, p.saved})
	}
	if random.IntN(2) == 0 { // else they are made when more has been written
		p.save()
	}
	p.complete = p.saved
}

// restore replaces the lane by one made of what was saved, which replays what came behind.
func (p *partition) restore(t *testing.T, store *Store, m *model, random *rand.Rand) {
	t.Helper()
	p.save()
	before, again := p.lane, openLane(t, store, p.rng)
	for _, g := range random.Perm(testGroups) {
		for i, delta := range p.deltas[g] {
			if err := again.Apply(topology.KeyGroup(g), delta, p.at[g][i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := read(t, store, p.rng, p.visibleOr(t)), m.at(p.visible, p.rng); p.visible > 0 && got != want {
		t.Fatalf("while the new lane is restored the old one shows\n%s\nwant\n%s", got, want)
	}
	if random.IntN(2) == 0 {
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := store.Read(context.Background(), Request{Query: testQuery, Table: "t", Range: p.rng})
		if early := (*NotVisibleError)(nil); !errors.As(err, &early) {
			t.Fatalf("a lane that was never committed answers %v", err)
		}
	}
	for e := p.complete + 1; e <= m.last(); e++ {
		if err := again.Write(e, e, views(m.rows[e], p.rng, random)); err != nil {
			t.Fatal(err)
		}
	}
	if p.complete == m.last() {
		again.Acknowledge(p.complete)
	}
	commit(t, again, max(p.visible, p.complete))
	p.visible = max(p.visible, p.complete)
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	p.lane, p.oldest, p.saved, p.acked = again, p.complete, p.complete, p.complete
}

func (p *partition) visibleOr(t *testing.T) topology.Epoch {
	if p.visible == 0 {
		commit(t, p.lane, 0)
	}
	return p.visible
}

func (p *partition) compare(t *testing.T, store *Store, m *model, random *rand.Rand, seed uint64) {
	t.Helper()
	if p.visible == 0 {
		return
	}
	from := topology.KeyGroup(random.IntN(testGroups))
	r := topology.Range{From: from, To: from + 1 + topology.KeyGroup(random.IntN(testGroups-int(from)))}
	for _, e := range []topology.Epoch{max(1, p.oldest), p.visible, max(1, p.oldest+topology.Epoch(random.Int64N(int64(p.visible-p.oldest+1))))} {
		if got, want := read(t, store, r, e), m.at(e, r); got != want {
			t.Fatalf("seed %d: epoch %d of %v (visible %d, oldest %d) is\n%s\nwant\n%s", seed, e, r, p.visible, p.oldest, got, want)
		}
	}
	_, err := store.Read(context.Background(), Request{Query: testQuery, Table: "t", Range: r, Epoch: p.visible + 1})
	if early := (*NotVisibleError)(nil); !errors.As(err, &early) || early.Visible != p.visible {
		t.Fatalf("the epoch behind visible %d: %v", p.visible, err)
	}
	if p.oldest > 1 {
		_, err = store.Read(context.Background(), Request{Query: testQuery, Table: "t", Range: r, Epoch: p.oldest - 1})
		if trimmed := (*TrimmedError)(nil); !errors.As(err, &trimmed) || trimmed.Oldest != p.oldest {
			t.Fatalf("the epoch before oldest %d: %v", p.oldest, err)
		}
	}
	for _, row := range store.Tables() {
		if row.Rows < 0 || row.Bytes < 0 {
			t.Fatalf("%+v", row)
		}
	}
}

func TestDeltasDependOnContentsAlone(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	m := newModel()
	one, other := openLane(t, NewStore(), testAll), openLane(t, NewStore(), testAll)
	for e := topology.Epoch(1); e < 60; e++ {
		m.write(m.random(random, 40))
		write(t, one, testAll, e, m.rows[e]...)
		commit(t, one, e)
		if e%10 == 0 { // one prunes and acknowledges, the other is made anew from the first's rows
			one.Acknowledge(e)
			one.Trim(e)
			other = openLane(t, NewStore(), testAll)
			for g := range topology.KeyGroup(testGroups) {
				if err := other.Apply(g, one.AppendDelta(nil, g, 0, e), e); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		if e > 10 {
			write(t, other, testAll, e, m.rows[e]...)
			for g := range topology.KeyGroup(testGroups) {
				for _, from := range []topology.Epoch{0, e / 10 * 10} {
					if a, b := one.AppendDelta(nil, g, from, e), other.AppendDelta(nil, g, from, e); string(a) != string(b) {
						t.Fatalf("epoch %d, key group %d, from %d: %x and %x", e, g, from, a, b)
					}
				}
			}
		}
	}
}

// TestDeltasMadeWhileTheLaneIsWrittenLeadToTheStateOfTheirEpoch has one goroutine write, acknowledge and trim while another makes the deltas of
// each checkpoint and applies them to a lane of its own.
func TestDeltasMadeWhileTheLaneIsWrittenLeadToTheStateOfTheirEpoch(t *testing.T) {
	const line = 5
	random, m := rand.New(rand.NewPCG(9, 9)), newModel()
	for range 400 {
		m.write(m.random(random, 300))
	}
	lane, copied := openLane(t, NewStore(), testAll), NewStore()
	target := openLane(t, copied, testAll)
	checkpoints, saved := make(chan pendingDelta, 2), make(chan topology.Epoch, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := range checkpoints {
			for g := range topology.KeyGroup(testGroups) {
				delta := lane.AppendDelta(nil, g, c.from, c.through)
				if base := delta[1] == 1; base != (c.from == 0) {
					t.Errorf("the delta from %d is a base: %v", c.from, base)
				}
				if err := target.Apply(g, delta, c.through); err != nil {
					t.Error(err)
				}
			}
			saved <- c.through
		}
	}()
	acked := topology.Epoch(0)
	var underway []pendingDelta
	for e := topology.Epoch(1); e <= m.last(); e++ {
		write(t, lane, testAll, e, m.rows[e]...)
		commit(t, lane, e)
		for len(saved) > 0 {
			acked, underway = <-saved, underway[1:]
		}
		if e%line == 0 {
			underway = append(underway, pendingDelta{from: acked, through: e})
			checkpoints <- underway[len(underway)-1]
			lane.Acknowledge(underway[0].from)
			lane.Trim(acked)
		}
	}
	close(checkpoints)
	<-done
	commit(t, target, m.last())
	if got, want := read(t, copied, testAll, m.last()), m.at(m.last(), testAll); got != want {
		t.Fatalf("the copy shows\n%s\nwant\n%s", got, want)
	}
}
