package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestNonDeterministicOperatorIsAlwaysCaughtAfterAKill is invariant 15: whenever the process that runs such an operator is killed after its rows
// have been taken by others that live on, its successor gives other rows, and the query stops with the operator's name. Rows that nobody has
// taken, or only those who were killed as well, are nowhere any more, and there is nothing that a successor could be held against: the kill waits
// until there is. It comes at any moment from then on, or when everything has ended.
//
// Where one key alone drifts its key group is named. Where all do it is, if in some epoch only one of the victim's key groups had rows, which are given in
// the same epochs again; what is named did drift.
func TestNonDeterministicOperatorIsAlwaysCaughtAfterAKill(t *testing.T) {
	for _, one := range []bool{true, false} {
		t.Run(fmt.Sprintf("one key=%v", one), func(t *testing.T) { nonDeterministicIsCaught(t, one) })
	}
}

func nonDeterministicIsCaught(t *testing.T, one bool) {
	// Key groups of keys 0 to 9 among 256 that the victim has.
	had := topology.Range{From: 64, To: 128}
	drifting := map[topology.KeyGroup]int64{}
	keys := batch.New(batch.NewSchema(batch.Field{Name: "k", Type: batch.TypeBigInt}))
	for k := range int64(10) {
		keys.Reset()
		keys.Cols[0].AppendInt64(k)
		g := topology.GroupOf(batch.HashKey(batch.AppendKey(nil, keys, []int{0}, 0)), 256)
		if had.Contains(g) && (!one || len(drifting) == 0) {
			drifting[g] = k
		}
	}
	only := int64(-1)
	for _, k := range drifting {
		if one {
			only = k
		}
	}
	lasts := topology.Epoch(0)
	if one {
		lasts = 3 // the key has had rows by then
	}
	t.Logf("key groups that drift, and keys: %v", drifting)
	counter := &atomic.Int64{}
	named := 0
	c := newCatalog(t, &operator.Definition{Name: "drifting", Bind: func(operator.Call) (operator.Binding, error) {
		return operator.Binding{Output: batch.NewSchema(batch.Field{Name: "n", Type: batch.TypeBigInt}), New: func() operator.Operator { return &driftingKey{counter, only} }}, nil
	}})
	rows := 10
	if !one {
		rows = 1 // so that in some epochs only one of the keys has rows
	}
	sql := fmt.Sprintf("SET 'seal' = 'rows:%d';\n", rows) + `SET 'checkpoint.epochs' = '64';
CREATE TABLE src (k BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='1000','fields.k.min'='0','fields.k.max'='9');
CREATE TABLE out (n BIGINT, c BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT n, COUNT(*) FROM drifting(TABLE src PARTITION BY k) GROUP BY n`
	first, rounds := schedule{16, 8, 0, 0}.seeds()
	for i := range uint64(rounds) {
		t.Run(fmt.Sprintf("seed=%d", first+i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c, sql, nil, first+i, 0)
				defer w.end()
				for i := range 4 {
					w.start(engine.NodeName(i))
				}
				w.place(4)
				victim := engine.NodeName(1)
				for until := int64(20 + w.intN(120)); w.steps.Load() < until || !w.takenByOthers(1, victim, lasts); {
					if err := w.failure(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Millisecond)
				}
				if w.intN(4) == 0 {
					time.Sleep(time.Second) // everything has ended by now
				}
				w.kill(victim)
				w.reassign()
				for range 5000 {
					time.Sleep(2 * time.Millisecond)
					synctest.Wait()
					if w.failure() != nil {
						break
					}
					w.lead()
				}
				var m *engine.Mismatch
				if !errors.As(w.failure(), &m) || !strings.Contains(m.Operator, "drifting") || m.Epoch == 0 || !had.Contains(m.KeyGroup) || !had.Contains(m.Last) {
					w.dump()
					t.Fatalf("the query goes on, or stopped for another reason: %v", w.failure())
				}
				_, drifts := drifting[m.KeyGroup]
				if m.KeyGroup == m.Last && !drifts || m.KeyGroup != m.Last && one {
					t.Errorf("%v", m)
				}
				if m.KeyGroup == m.Last {
					named++
				}
			})
		})
	}
	if named == 0 {
		t.Error("not once a key group was named")
	}
}

// driftingKey is drifting for one key, or for all when that is negative.
type driftingKey struct {
	counter *atomic.Int64
	key     int64
}

func (d *driftingKey) Open(operator.Setup) error { return nil }
func (d *driftingKey) Row(ctx *operator.Context, row batch.Row) error {
	n := -row.Int64(0)
	if d.key < 0 || row.Int64(0) == d.key {
		n = d.counter.Add(1)
	}
	ctx.Out.Int64(n).End()
	return nil
}

// takenByOthers says whether some other process has taken an epoch by which the victim had given rows of a stage for so many epochs more.
func (w *world) takenByOthers(stage topology.StageID, victim topology.NodeID, lasts topology.Epoch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	gave, ok := w.gave[tracedKey{victim, stage}]
	for _, n := range w.alive() {
		if ok && n.place.Node != victim && w.took[tracedKey{n.place.Node, stage + 1}] >= gave+lasts {
			return true
		}
	}
	return false
}

// TestWithSourcesStoppedEveryStartedCheckpointCompletesAndLogsShrinkToNothing is invariant 17.
func TestWithSourcesStoppedEveryStartedCheckpointCompletesAndLogsShrinkToNothing(t *testing.T) {
	c := newCatalog(t)
	sql := `SET 'checkpoint.epochs' = '16';
CREATE TABLE src (k BIGINT) WITH ('connector'='datagen','rows-per-second'='5000','fields.k.min'='0','fields.k.max'='99');
CREATE TABLE out (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k, COUNT(*) FROM src GROUP BY k`
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, c, sql, nil, 1, time.Now().UnixMilli())
		defer w.end()
		for i := range 3 {
			w.start(engine.NodeName(i))
		}
		w.place(3)
		lead := func(d time.Duration) {
			for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
				w.lead()
			}
		}
		lead(2 * time.Second)
		w.change(func(p *engine.Placement) { p.Paused = true })
		lead(time.Second)
		complete := w.placement.Complete
		for _, n := range w.alive() {
			for _, p := range n.query.Status().Partitions {
				if len(p.Lines) > 0 {
					t.Errorf("stage %d %v: checkpoints %v were started and are not complete; the latest complete one is %d", p.Stage, p.Range, p.Lines, complete)
				}
				if p.Epoch >= complete+16 {
					t.Errorf("stage %d %v went on to epoch %d", p.Stage, p.Range, p.Epoch)
				}
			}
		}
		w.change(func(p *engine.Placement) { p.Trim = topology.EpochForever - 1 })
		time.Sleep(time.Second)
		for _, n := range w.alive() {
			for _, p := range n.query.Status().Partitions {
				if p.LogBytes > 0 {
					t.Errorf("stage %d %v holds %d bytes of output", p.Stage, p.Range, p.LogBytes)
				}
			}
		}
		if complete == 0 {
			t.Error("no checkpoint was completed")
		}
	})
}

// TestFrozenShadowOrZombieNeverSlowsAProducer is invariant 18 at the output log: only active subscribers, and those that are to be, hold a
// producer back.
func TestFrozenShadowOrZombieNeverSlowsAProducer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	l := dataplane.NewLog(1, dataplane.Limits{Bytes: 1, Epochs: 4}, true, nil, nil)
	l.Expect([]uint64{1})
	active, err := l.Subscribe(1, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	for shadow := range uint64(3) {
		if _, err := l.Subscribe(10+shadow, 1, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	for e := topology.Epoch(1); e < 1000; e++ {
		if !l.MayAppend() {
			t.Fatalf("the producer is held back at epoch %d", e)
		}
		l.Append(dataplane.Entry{First: e, Last: e, Watermark: int64(r.IntN(1000))})
		active.Ack(e)
	}
	l.Trim(500)
	if _, err := l.Subscribe(20, 501, false, nil); err != nil {
		t.Fatal(err)
	}
	var trimmed *dataplane.TrimmedError
	if _, err := l.Subscribe(20, 500, false, nil); !errors.As(err, &trimmed) || trimmed.Floor != 501 {
		t.Fatalf("below the trim point: %v, want TRIMMED with floor 501", err)
	}
}
