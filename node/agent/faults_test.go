package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/raftfsm"
)

// faultQueries are seeded queries whose sink files and tables must be the same bytes whatever happens to the processes that run them. The table of the
// first is a stage of its own, and what it shows depends on the order in which a key's rows come; the fourth's is a part of the stage that counts. Most
// keys come within a few epochs and never again, so that no later row makes up for what a restore leaves out.
var faultQueries = []struct {
	name, sql     string
	sinks, tables []string
}{
	{name: "stateless", sinks: []string{"out"}, tables: []string{"newest"}, sql: `
SET 'seal' = 'rows:5';
SET 'checkpoint.epochs' = '32';
SET 'parallelism.default' = '3';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='5000','splits'='5','fields.k.min'='0','fields.k.max'='99','fields.v.kind'='sequence','fields.v.start'='0','fields.v.end'='4999');
CREATE TABLE out (v BIGINT, k BIGINT, r BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv','sink.lanes'='2');
CREATE TABLE newest (k BIGINT, v BIGINT, r BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='table');
INSERT INTO out SELECT v, k * 2, RAND_INTEGER(1000) FROM src WHERE k <> 7;
INSERT INTO newest SELECT MOD(v, 4000), v, RAND_INTEGER(1000) FROM src`},
	{name: "two keyed stages", sinks: []string{"out"}, sql: `
SET 'seal' = 'rows:5';
SET 'checkpoint.epochs' = '16';
SET 'parallelism.default' = '3';
SET 'execution.runtime-mode' = 'batch';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='6000','splits'='6','fields.k.min'='0','fields.k.max'='300','fields.v.min'='0','fields.v.max'='1000');
CREATE TABLE out (n BIGINT, keys BIGINT, ma BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT n, COUNT(*), MAX(s) FROM (SELECT k, COUNT(*) AS n, SUM(v) AS s FROM src GROUP BY k) GROUP BY n`},
	{name: "windows", sinks: []string{"out"}, sql: `
SET 'seal' = 'rows:5';
SET 'checkpoint.epochs' = '32';
SET 'parallelism.default' = '2';
CREATE TABLE src (id BIGINT, k INT, v DOUBLE, ts AS TO_TIMESTAMP_LTZ(id * 10, 3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='4000','splits'='4','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='3999','fields.k.min'='0','fields.k.max'='20','fields.v.min'='-1000','fields.v.max'='1000');
CREATE TABLE out (k INT, ws TIMESTAMP_LTZ(3), n BIGINT, s DOUBLE) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT k, window_start, COUNT(*), SUM(v) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '2' SECOND)) GROUP BY k, window_start, window_end`},
	{name: "custom operator with timers", sinks: []string{"out"}, tables: []string{"counts"}, sql: `
SET 'seal' = 'rows:4';
SET 'checkpoint.epochs' = '32';
SET 'parallelism.default' = '2';
CREATE TABLE src (id BIGINT, k BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 10, 3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='3000','splits'='3','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='2999','fields.k.min'='0','fields.k.max'='200');
CREATE TABLE out (k BIGINT, started BIGINT, n BIGINT, r BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
CREATE TABLE counts (k BIGINT, n BIGINT, s BIGINT, started TIMESTAMP_LTZ(3), PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='table');
INSERT INTO out SELECT k, started, n, r FROM bursts(TABLE src PARTITION BY k, 1500);
INSERT INTO counts SELECT id - MOD(id, 3), COUNT(*), SUM(k), MIN(ts) FROM src GROUP BY id - MOD(id, 3)`},
	{name: "union of two sources", sinks: []string{"out", "raw"}, sql: `
SET 'seal' = 'rows:5';
SET 'checkpoint.epochs' = '16';
SET 'parallelism.default' = '2';
SET 'execution.runtime-mode' = 'batch';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='3000','splits'='4','fields.k.min'='0','fields.k.max'='50','fields.v.kind'='sequence','fields.v.start'='0','fields.v.end'='2999');
CREATE TABLE src2 (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='800','splits'='2','seed'='9','fields.k.min'='0','fields.k.max'='50','fields.v.kind'='sequence','fields.v.start'='10000','fields.v.end'='10799');
CREATE TABLE out (k BIGINT, n BIGINT, s BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
CREATE TABLE raw (k BIGINT, v BIGINT, side STRING) WITH ('connector'='filesystem','path'='-','format'='csv','sink.lanes'='3');
CREATE VIEW both_sides AS SELECT k, v, 'low' AS side FROM src WHERE v < 2000 UNION ALL SELECT k, v + 1, 'high' FROM src WHERE v >= 1000 UNION ALL SELECT k, v, 'other' FROM src2;
INSERT INTO raw SELECT * FROM both_sides;
INSERT INTO out SELECT k, COUNT(*), SUM(v) FROM both_sides GROUP BY k`},
}

// bursts groups the rows of a key that are no further apart than a gap, and emits a burst when the watermark has passed it.
type bursts struct {
	gap   int64
	drag  func() time.Duration // how long a row takes; nil: no time
	burst *state.Value[burst]
}

type burst struct {
	Started, Last, Rows int64
	Random              uint64
}

func burstsRegistry(t *testing.T) *operator.Registry {
	t.Helper()
	return dragging(t, nil)
}

// dragging has bursts that take their time.
func dragging(t *testing.T, drag func() time.Duration) *operator.Registry {
	t.Helper()
	r := &operator.Registry{}
	err := r.Register(&operator.Definition{Name: "bursts", Bind: func(c operator.Call) (operator.Binding, error) {
		gap, err := strconv.ParseInt(c.Args[0].Text, 10, 64)
		if err != nil {
			return operator.Binding{}, err
		}
		out := batch.NewSchema(batch.Field{Name: "started", Type: batch.TypeBigInt}, batch.Field{Name: "n", Type: batch.TypeBigInt}, batch.Field{Name: "r", Type: batch.TypeBigInt})
		return operator.Binding{Output: out, New: func() operator.Operator { return &bursts{gap: gap, drag: drag} }}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bursts) Open(s operator.Setup) (err error) {
	b.burst, err = state.NewValue[burst](s, "burst")
	return err
}

func (b *bursts) Row(ctx *operator.Context, row batch.Row) error {
	if b.drag != nil {
		time.Sleep(b.drag())
	}
	at := row.Int64(row.Batch.Schema.Index("ts"))
	v, ok := b.burst.Get()
	if !ok {
		v = burst{Started: at, Random: ctx.Rand() % 100}
	}
	v.Started, v.Last, v.Rows = min(v.Started, at), max(v.Last, at), v.Rows+1
	b.burst.Set(v)
	return ctx.SetTimer("over", v.Last+b.gap)
}

func (b *bursts) Timer(ctx *operator.Context, t operator.Timer) error {
	v, ok := b.burst.Get()
	if !ok {
		return fmt.Errorf("timer %q without a burst", t.Name)
	}
	b.burst.Delete()
	ctx.Out.Int64(v.Started).Int64(v.Rows).Int64(int64(v.Random)).End()
	return nil
}

// fault is one thing that happens: when, and what.
type fault struct {
	after time.Duration // behind the fault before it; with an event at most so long
	event string        // "" none
	nth   int
	kind  int
	pick  [5]int // what chance says of victims
	lasts time.Duration
	// Of a step of a clock: by how much, whether it is the leader's, and whether its process, or those of all, are killed and started again,
	// which makes them ask for the time.
	seconds                      int64
	leads, restarts, restartsAll bool
	moment                       *moment // it is placed at; nil: none
	victim                       string  // a node: whom the moment is about, or whom pick says
}

const (
	faultKill = iota
	faultKillLeader
	faultKillTwo
	faultPowerLoss
	faultFreeze
	faultIsolate
	faultOneWay
	faultPair
	faultSlow
	faultReset
	faultStep
	faultKillAll
	faultPowerLossAll
	faultLeave
	faultKillSource
	faultKinds
)

// watched are the commands that faults happen at.
var watched = []raftfsm.Kind{raftfsm.KindCheckpoint, raftfsm.KindCheckpoint, raftfsm.KindReassign, raftfsm.KindNodeStatus, raftfsm.KindVaultsChange, raftfsm.KindSealSetChange,
	raftfsm.KindSealsAdopted, raftfsm.KindNodeJoin, raftfsm.KindQueryAdd, raftfsm.KindQueryState, raftfsm.KindShadow, raftfsm.KindSwitch}

// drawFaults draws a schedule.
func drawFaults(r *rand.Rand, names []string) (list []fault) {
	for range 2 + r.IntN(5) {
		f := fault{after: time.Duration(r.IntN(500_000)) * time.Microsecond, kind: r.IntN(faultKinds), lasts: time.Duration(20+r.IntN(2500)) * time.Millisecond}
		for i := range f.pick {
			f.pick[i] = r.IntN(1 << 20)
		}
		f.seconds = int64(f.pick[1]%1201) - 600
		f.restarts = f.pick[2]%2 == 0
		switch r.IntN(4) {
		case 0, 1:
			f.event, f.nth, f.after = commandEvent(watched[r.IntN(len(watched))]), 1+r.IntN(3), 400*time.Millisecond
		case 2:
			f.event, f.nth, f.after = syncEvent(names[r.IntN(len(names))]), 1+r.IntN(40), 400*time.Millisecond
		}
		list = append(list, f)
	}
	return list
}

// cause makes a fault happen.
func (w *trial) cause(f fault) {
	n := len(w.names)
	if f.victim == "" {
		f.victim = w.names[f.pick[0]%n]
	}
	x, y := f.victim, w.names[(slices.Index(w.names, f.victim)+1+f.pick[1]%(n-1))%n]
	if w.tally != nil {
		w.tally.count("%s", kindNames[f.kind])
	}
	others := slices.DeleteFunc(slices.Clone(w.names), func(o string) bool { return o == x })
	restart := func(names ...string) {
		for i, name := range names {
			w.later(f.lasts+time.Duration(f.pick[2+i%3]%300)*time.Millisecond, func() { w.up(name) })
		}
	}
	switch f.kind {
	case faultKill, faultKillLeader, faultKillSource:
		if f.kind == faultKillLeader {
			x = w.leads()
		} else if f.kind == faultKillSource {
			x = w.source(x)
		}
		w.down(false, x)
		restart(x)
	case faultKillTwo:
		w.down(f.pick[2]%2 == 0, x, y)
		restart(x, y)
	case faultPowerLoss:
		w.down(true, x)
		restart(x)
	case faultKillAll, faultPowerLossAll:
		w.down(f.kind == faultPowerLossAll, w.names...)
		restart(w.names...)
	case faultFreeze:
		w.freeze(x, f.lasts)
	case faultIsolate:
		w.hold([]string{x}, others, f.lasts)
		w.hold(others, []string{x}, f.lasts)
	case faultOneWay:
		if f.pick[2]%2 == 0 {
			w.hold([]string{x}, others, f.lasts)
		} else {
			w.hold(others, []string{x}, f.lasts)
		}
	case faultPair:
		w.hold([]string{x}, []string{y}, f.lasts)
		if f.pick[2]%2 == 0 {
			w.hold([]string{y}, []string{x}, f.lasts)
		}
	case faultSlow:
		w.slow(x, time.Duration(1+f.pick[1]%150)*time.Millisecond, f.lasts)
	case faultLeave:
		w.leave(x, f.lasts)
	case faultReset:
		w.note("connections between %s and %s are reset", x, y)
		w.net.Disconnect(x, y)
	case faultStep:
		if f.leads {
			x = w.leads()
		}
		w.step(x, f.seconds)
		switch {
		case f.restartsAll:
			w.down(false, w.names...)
			restart(w.names...)
		case f.restarts:
			w.down(false, x)
			restart(x)
		}
	}
}

// aloneAt is what a fault does within the event itself: who is killed sends nothing any more.
func (w *trial) aloneAt(f fault) func(whom string) {
	switch f.kind {
	case faultKill, faultPowerLoss:
		return w.die
	case faultKillAll, faultPowerLossAll:
		return func(string) {
			for _, n := range w.names {
				w.die(n)
			}
		}
	}
	return nil
}

// endure makes faults happen, one after the other, while done does not say that all is done, ends them, and waits for done; at most so
// long after the last one has ended. It says whether done did.
func (w *trial) endure(faults []fault, most time.Duration, done func() bool) bool {
	var armed *trigger
	last, over := time.Now(), time.Time{}
	for {
		healed := w.healed()
		if len(faults) > 0 && done() && w.events.disarm() {
			faults = nil
		}
		if len(faults) > 0 {
			f := faults[0]
			if f.event != "" && armed == nil {
				armed = &trigger{event: f.event, nth: f.nth, whom: w.names[f.pick[0]%len(w.names)], at: w.aloneAt(f)}
				w.events.arm(armed)
			}
			come := false
			f.victim = w.names[f.pick[0]%len(w.names)]
			if f.moment != nil {
				about := ""
				if f.moment.seen != nil {
					about, come = f.moment.seen(w)
				} else {
					about = w.leads()
				}
				if about != "" && f.pick[4]%3 > 0 {
					f.victim = about
				}
			}
			if armed != nil {
				f.victim = w.events.aim(armed, f.victim) // who died within the event is who is dead
				come = armed.fired.Load()
			}
			if time.Since(last) >= f.after || come {
				if come && f.moment != nil {
					w.note("%s:", f.moment.name)
					if w.tally != nil {
						w.tally.count("%s", f.moment.name)
						w.tally.count("%s, %s", f.moment.name, kindNames[f.kind])
						if f.moment.chase != nil {
							f.moment.chase.count(w, f)
						}
					}
				}
				if armed != nil {
					w.note("at %q number %d: %v", f.event, f.nth, armed.fired.Load())
					w.events.arm(nil)
				}
				w.during++
				w.cause(f)
				armed, faults, last = nil, faults[1:], time.Now()
			}
		} else if healed {
			if over.IsZero() {
				over = time.Now()
			}
			if time.Since(over) > most {
				return false
			}
		}
		if len(faults) == 0 && healed && done() {
			return true
		}
		if len(faults) == 0 && healed {
			time.Sleep(20 * time.Millisecond)
		} else {
			time.Sleep(500 * time.Microsecond)
		}
	}
}

// TestIdentityUnderFaults: what sinks show is byte for byte what one node that never fails gives, whatever happens to processes, disks,
// network and clocks.
func TestIdentityUnderFaults(t *testing.T) {
	tally := &tally{counts: map[string]int{}}
	defer tally.check(t)
	for i, q := range faultQueries {
		t.Run(q.name, func(t *testing.T) {
			want := onOneNode(t, q.sql, q.sinks, q.tables...)
			for _, seed := range seeds(t, 40, 3) {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						identityUnderFaults(t, seed, i, want, tally, func(r *rand.Rand, names []string) []fault {
							if n := int(seed)*len(faultQueries) + i; n < 2*len(moments)*len(momentKinds) {
								return drawAtMoment(n, r, names)
							}
							return drawFaults(r, names)
						})
					})
				})
			}
		})
	}
}

// keptCases are schedules that once failed, or that somebody had reason to suspect. What goroutines do next is not part of a seed, so that one run of
// a case says little.
var keptCases = []struct {
	seed  uint64
	query int // of faultQueries
	why   string
}{
	{755752342, 0, "it was noted for a query taken for one that kills its processes"},
}

// TestEveryKeptCaseRunsTenTimes: once with -short.
func TestEveryKeptCaseRunsTenTimes(t *testing.T) {
	times := 10
	if testing.Short() {
		times = 1
	}
	for _, k := range keptCases {
		q := faultQueries[k.query]
		t.Run(fmt.Sprintf("%s, seed=%d", q.name, k.seed), func(t *testing.T) {
			want := onOneNode(t, q.sql, q.sinks, q.tables...)
			for range times {
				synctest.Test(t, func(t *testing.T) {
					identityUnderFaults(t, k.seed, k.query, want, nil, func(r *rand.Rand, names []string) []fault { return drawFaults(r, names) })
				})
			}
			if t.Failed() {
				t.Logf("the case was kept because %s", k.why)
			}
		})
	}
}

func identityUnderFaults(t *testing.T, seed uint64, query int, want map[string]string, tally *tally, draw func(r *rand.Rand, names []string) []fault) {
	q := &faultQueries[query]
	w := newTrial(t, seed*uint64(len(faultQueries))+uint64(query), 5, burstsRegistry(t))
	defer w.end()
	w.tally = tally
	set := sinkPaths(t, w.dir, q.sinks)
	var adding sync.WaitGroup
	defer adding.Wait()
	adding.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if _, err := w.person().AddQuery(ctx, client.AddQueryRequest{Name: "q", SQL: q.sql, Set: set}); err != nil {
			t.Errorf("adding: %v", err)
		}
	})
	state := func() raftfsm.QueryState {
		if query := w.latest().Query("q"); query != nil {
			return query.State
		}
		return 0
	}
	ok := w.endure(draw(w.r, w.names), 2*time.Minute, func() bool { return state() == raftfsm.Finished || state() == raftfsm.Failed })
	if query := w.latest().Query("q"); query != nil && query.State == raftfsm.Failed && strings.HasPrefix(query.Reason, "query of death") {
		t.Skipf("lost: the bytes of this one schedule, which all others compare. Kills one after the other at the same row look like what that row does: %s. "+
			"It runs whenever they do not meet; how many may be taken for that is bounded in node/coordinator", query.Reason)
	}
	if !ok || state() != raftfsm.Finished {
		if query := w.latest().Query("q"); query != nil {
			t.Errorf("the query is %v: %s %s; complete %d", query.State, query.Reason, query.Resolves, query.Complete)
			for _, h := range query.History[max(0, len(query.History)-40):] {
				t.Logf("history %d %s %s", h.AtMs%1_000_000, h.Kind, h.Text)
			}
		}
		w.explain()
	}
	sameBytes(t, w.shown(q.sinks, q.tables...), want)
	if query := w.latest().Query("q"); query != nil {
		count := map[string]int{}
		for _, h := range query.History {
			count[h.Kind]++
		}
		t.Logf("%v; %d faults, history %v", time.Since(w.began), w.during, count)
	}
	if t.Failed() {
		t.Logf("seed %d:\n%s", seed, w.story())
	}
}
