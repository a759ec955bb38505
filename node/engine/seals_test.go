package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// lower and upper are the halves of a stage's 256 key groups.
var lower, upper = topology.Range{From: 0, To: 128}, topology.Range{From: 128, To: 256}

// splitsIn are names of n splits whose key groups, of 256, lie in rng.
func splitsIn(rng topology.Range, n int) (ids []string) {
	for i := 0; len(ids) < n; i++ {
		id := fmt.Sprintf("s%d", i)
		if rng.Contains(topology.GroupOf(engine.SplitHash(id), 256)) {
			ids = append(ids, id)
		}
	}
	return ids
}

// sealMaker makes seals of a stage that reads f by hand, remembering how far each split is read.
type sealMaker struct {
	f     *fixed
	stage topology.StageID
	at    map[string]int
	log   *engine.SealLog
}

func newSealMaker(f *fixed, stage topology.StageID, log *engine.SealLog) *sealMaker {
	return &sealMaker{f, stage, map[string]int{}, log}
}

// splitNews is what a split has in an epoch: its next rows, and whether it is idle or at its end after them.
type splitNews struct {
	id        string
	rows      int
	idle, end bool
}

// add seals [first, last] of a partition; the splits found in it are those that are named for the first time.
func (m *sealMaker) add(rng topology.Range, first, last topology.Epoch, end bool, news ...splitNews) {
	s := engine.Seal{Stage: m.stage, Range: rng, First: first, Last: last, End: end}
	for _, n := range news {
		from, known := m.at[n.id]
		if !known {
			s.Found = append(s.Found, n.id)
		}
		rows := m.f.rows[n.id][from : from+n.rows]
		m.at[n.id] = from + n.rows
		s.Splits = append(s.Splits, engine.SplitSeal{ID: n.id, From: int64(from), To: int64(from + n.rows), Rows: n.rows, Check: checkOf(rows), Idle: n.idle, End: n.end})
	}
	m.log.Add(s)
}

// checkOf is a seal's Check of rows of a fixed source.
func checkOf(rows []int64) uint64 {
	b := batch.New(batch.NewSchema(batch.Field{Name: "id", Type: batch.TypeBigInt}))
	for _, v := range rows {
		b.Cols[0].AppendInt64(v)
		b.EndRow(batch.Insert)
	}
	check, _ := b.Chain(0, 0, len(rows), nil)
	return check
}

// singlePartition puts every stage whole on the first node.
func singlePartition(s *plan.Stage, _ int) []topology.Partition {
	return []topology.Partition{{Stage: s.ID, Range: topology.Range{From: 0, To: topology.KeyGroup(s.Groups)}, Node: engine.NodeName(0), Boot: 1}}
}

const secondsSQL = `
CREATE TABLE src (id BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 1000, 3), WATERMARK FOR ts AS ts) WITH ('connector'='fixed');
CREATE TABLE out (we TIMESTAMP_LTZ(3), n BIGINT) WITH ('connector'='capture');
INSERT INTO out SELECT window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end`

const copySQL = `
CREATE TABLE src (id BIGINT) WITH ('connector'='fixed');
CREATE TABLE out (id BIGINT) WITH ('connector'='capture');
INSERT INTO out SELECT id FROM src`

// replayFixed runs seals of fixed sources, by connector name.
func replayFixed(t *testing.T, sql string, sources map[string]*fixed, v variant, layout func(*plan.Stage, int) []topology.Partition,
	seals func(p *plan.Plan) *engine.SealLog) capturedRun {
	t.Helper()
	c := newCatalog(t, burstsDefinition())
	for _, name := range []string{"fixed", "fixed2"} {
		if f := sources[name]; f != nil {
			registerFixed(t, c, name, f)
		}
	}
	out := capturedRun{rows: registerCapture(t, c), plan: c.compile(t, sql, nil)}
	o := v.options(c)
	o.Replay = seals(out.plan)
	if layout != nil {
		o.Layout = layout
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var err error
	if out.result, err = engine.Run(ctx, out.plan, o); err != nil {
		t.Fatalf("%v: %v", v, err)
	}
	return out
}

// handMade are seals whose outcome a person can work out: windows of ten seconds count rows that are seconds.
type handMade struct {
	name  string
	sql   string
	rows  map[string][]int64
	seals func(m *sealMaker)
	want  []string // final rows
	late  int64
}

// run compares a single partition with two halves and random layouts, and with what is wanted.
func (h handMade) run(t *testing.T) {
	t.Run(h.name, func(t *testing.T) {
		f := &fixed{rows: h.rows}
		for id := range h.rows {
			f.ids = append(f.ids, id)
		}
		sort.Strings(f.ids)
		seals := func(*plan.Plan) *engine.SealLog {
			m := newSealMaker(f, 0, engine.NewSealLog(0))
			h.seals(m)
			return m.log
		}
		v := variant{nodes: 2, workers: 1, batchRows: 100, forkRows: 1 << 40, memory: true}
		first := replayFixed(t, h.sql, map[string]*fixed{"fixed": f}, v, singlePartition, seals)
		if got := first.rows.final("out"); !slices.Equal(got, h.want) || first.result.Progress.RowsLate != h.late {
			t.Errorf("got\n%s\n%d late; want\n%s\n%d late", strings.Join(got, "\n"), first.result.Progress.RowsLate, strings.Join(h.want, "\n"), h.late)
		}
		for seed := range uint64(8) {
			v.uneven = seed // 0: halves
			got := replayFixed(t, h.sql, map[string]*fixed{"fixed": f}, v, nil, seals)
			for _, d := range got.differences(first, []string{"out"}) {
				t.Errorf("layout %d: %s", seed, d)
			}
		}
	})
}

func TestIdleAndEndedSplitsGiveTheSameWatermarkOnAnyLayout(t *testing.T) {
	low, high := splitsIn(lower, 2), splitsIn(upper, 1)
	a, b, c := low[0], low[1], high[0]
	all := topology.Range{From: 0, To: 256}
	for _, h := range []handMade{
		// After epoch 1 the watermark is that of c, 40. In epoch 2 b wakes up with 51, which holds it at 51, so that 55 and 56 are in time.
		{name: "a split wakes up behind the others", rows: map[string][]int64{a: {100, 101}, b: {50, 51, 300}, c: {40, 200, 55, 56, 300}}, seals: func(m *sealMaker) {
			m.add(all, 1, 1, false, splitNews{id: a, rows: 1}, splitNews{id: b, rows: 1, idle: true}, splitNews{id: c, rows: 1})
			m.add(all, 2, 2, false, splitNews{id: b, rows: 1}, splitNews{id: c, rows: 1})
			m.add(all, 3, 3, false, splitNews{id: c, rows: 2})
			m.add(all, 4, 4, true, splitNews{id: a, rows: 1, end: true}, splitNews{id: b, rows: 1, end: true}, splitNews{id: c, rows: 1, end: true})
		}, want: []string{"1 x 210000|1", "1 x 50000|1", "1 x 60000|4", "1 x 110000|2", "1 x 310000|2"}},
		// What has ended says nothing of the time of c, which is idle: 41 is in time.
		{name: "one split has ended and the other is idle", rows: map[string][]int64{a: {100}, c: {40, 41, 300}}, seals: func(m *sealMaker) {
			m.add(all, 1, 1, false, splitNews{id: a, rows: 1, end: true}, splitNews{id: c, rows: 1, idle: true})
			m.add(all, 2, 2, false)
			m.add(all, 3, 3, false, splitNews{id: c, rows: 1})
			m.add(all, 4, 4, true, splitNews{id: c, rows: 1, end: true})
		}, want: []string{"1 x 110000|1", "1 x 310000|1", "1 x 50000|2"}},
		// c does not hold the watermark back while it is idle: a's 100 closes the window of 40, and 41 is late.
		{name: "a split is left behind while it is idle", rows: map[string][]int64{a: {100, 300}, c: {40, 41, 300}}, seals: func(m *sealMaker) {
			m.add(all, 1, 1, false, splitNews{id: c, rows: 1, idle: true})
			m.add(all, 2, 2, false, splitNews{id: a, rows: 1})
			m.add(all, 3, 5, false, splitNews{id: c, rows: 1})
			m.add(all, 6, 6, true, splitNews{id: a, rows: 1, end: true}, splitNews{id: c, rows: 1, end: true})
		}, want: []string{"1 x 110000|1", "1 x 310000|2", "1 x 50000|1"}, late: 1},
	} {
		sort.Strings(h.want)
		h.sql = secondsSQL
		h.run(t)
	}
}

// pausing is a source whose splits have nothing for a while before the row at index 1.
type pausing struct{ fixed }

type pausingReader struct {
	fixedReader
	pause int
}

func (p *pausing) Open(_ context.Context, s connector.Split, offset int64) (connector.Reader, error) {
	return &pausingReader{fixedReader{p.rows[s.ID], offset}, 30}, nil
}

func (r *pausingReader) Read(out *batch.Batch, l connector.Limit) (connector.Status, error) {
	if replayed := l.ElapsedMs < 0; r.at == 1 && len(r.rows) > 1 && r.pause > 0 && !replayed {
		r.pause--
		return connector.Idle, nil
	}
	if r.at == 0 && len(r.rows) > 1 {
		l.Rows = min(l.Rows, 1)
	}
	return r.fixedReader.Read(out, l)
}

// TestPartitionThatHasEndedSaysNothingOfTheTimeOfIdleOnes: that of c is still 40 while it is idle, so that 41 is in time, although nobody else
// holds the watermark back. A replay never ends a partition early, so that the seals are the clock's.
func TestPartitionThatHasEndedSaysNothingOfTheTimeOfIdleOnes(t *testing.T) {
	a, c := splitsIn(lower, 1)[0], splitsIn(upper, 1)[0]
	sql := "SET 'epoch.length'='1 ms'; SET 'table.exec.source.idle-timeout'='2 ms';" + secondsSQL
	run := func(v variant, replay *engine.SealLog) capturedRun {
		cat := newCatalog(t)
		registerFixed(t, cat, "fixed", &pausing{fixed{ids: []string{a, c}, rows: map[string][]int64{a: {100}, c: {40, 41, 300}}}})
		out := capturedRun{rows: registerCapture(t, cat), plan: cat.compile(t, sql, nil)}
		o := v.options(cat)
		o.Replay = replay
		var err error
		if out.result, err = engine.Run(context.Background(), out.plan, o); err != nil {
			t.Fatal(err)
		}
		return out
	}
	halves := plainVariant
	halves.nodes = 2
	first := run(halves, nil)
	want := []string{"1 x 110000|1", "1 x 310000|1", "1 x 50000|2"}
	if got := first.rows.final("out"); !slices.Equal(got, want) || first.result.Progress.RowsLate != 0 {
		t.Errorf("got\n%s\n%d late", strings.Join(got, "\n"), first.result.Progress.RowsLate)
	}
	wasIdle := false
	for _, s := range first.result.Seals.Seals() {
		for _, sp := range s.Splits {
			wasIdle = wasIdle || sp.Idle
		}
	}
	if !wasIdle {
		t.Error("no split was idle")
	}
	for _, d := range run(plainVariant, first.result.Seals).differences(first, []string{"out"}) {
		t.Errorf("replay: %s", d)
	}
}

func TestReplayFindsSplitsThatOtherPartitionsSealedFirst(t *testing.T) {
	a, c := splitsIn(lower, 1)[0], splitsIn(upper, 1)[0]
	handMade{name: "found in epochs 1 and 2", sql: copySQL, rows: map[string][]int64{a: {100, 101}, c: {40, 41, 300}}, seals: func(m *sealMaker) {
		m.add(lower, 1, 1, false, splitNews{id: a, rows: 1})
		m.add(upper, 1, 2, true, splitNews{id: c, rows: 3, end: true})
		m.add(lower, 2, 4, true, splitNews{id: a, rows: 1, end: true})
	}, want: []string{"1 x 100", "1 x 101", "1 x 300", "1 x 40", "1 x 41"}}.run(t)
}

// TestWatermarksStayWithTheirEpochOnAnyLayout: a seal of epochs 1 to 3 says nothing of epochs 1 and 2, and the watermark at 2 is the other's.
func TestWatermarksStayWithTheirEpochOnAnyLayout(t *testing.T) {
	a, c := splitsIn(lower, 1)[0], splitsIn(upper, 1)[0]
	handMade{name: "first seals end at different epochs", sql: secondsSQL, rows: map[string][]int64{a: {100, 200, 210}, c: {40, 41, 300}}, seals: func(m *sealMaker) {
		m.add(lower, 1, 1, false, splitNews{id: a, rows: 1})
		m.add(lower, 2, 2, false, splitNews{id: a, rows: 1})
		m.add(upper, 1, 3, false, splitNews{id: c, rows: 2})
		m.add(lower, 3, 4, true, splitNews{id: a, rows: 1, end: true})
		m.add(upper, 4, 5, true, splitNews{id: c, rows: 1, end: true})
	}, want: []string{"1 x 110000|1", "1 x 210000|1", "1 x 220000|1", "1 x 310000|1"}, late: 2}.run(t)
}

const sealsSQL = `SET 'key-groups'='16';
CREATE TABLE src (id BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 100, 3), k AS MOD(id, 5), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector'='fixed');
CREATE TABLE src2 (id BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 100, 3), k AS MOD(id, 5), WATERMARK FOR ts AS ts) WITH ('connector'='fixed2');
CREATE TABLE windows (we TIMESTAMP_LTZ(3), n BIGINT) WITH ('connector'='capture');
CREATE TABLE attached (we TIMESTAMP_LTZ(3), n BIGINT) WITH ('connector'='capture','sink.lanes'='3');
CREATE TABLE hops (k BIGINT, n BIGINT) WITH ('connector'='tap');
CREATE TABLE timers (k BIGINT, n BIGINT) WITH ('connector'='capture');
CREATE VIEW u AS SELECT ts, k, id FROM src UNION ALL SELECT ts, k, id FROM src2;
CREATE VIEW w AS SELECT k, COUNT(*) AS v, window_start, window_end, window_time FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY k, window_start, window_end, window_time;
CREATE VIEW w2 AS SELECT k, v, window_time FROM w;
INSERT INTO windows SELECT window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE w2, DESCRIPTOR(window_time), INTERVAL '3' SECOND)) GROUP BY window_start, window_end;
INSERT INTO attached SELECT window_end, SUM(v) FROM w GROUP BY window_start, window_end;
INSERT INTO hops SELECT k, COUNT(*) FROM TABLE(HOP(TABLE u, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '2' SECOND)) GROUP BY k, window_start, window_end;
INSERT INTO timers SELECT k, n FROM bursts(TABLE u PARTITION BY k, 700)`

// randomSplits is a source of a few splits whose rows go up and, a little, down.
func randomSplits(r *rand.Rand) *fixed {
	f := &fixed{rows: map[string][]int64{}}
	for i := range 1 + r.IntN(4) {
		id := fmt.Sprintf("split%d-%d", i, r.IntN(100))
		f.ids = append(f.ids, id)
		at := int64(r.IntN(20))
		for range 1 + r.IntN(25) {
			at += int64(r.IntN(9)) - 1
			f.rows[id] = append(f.rows[id], at)
		}
	}
	sort.Strings(f.ids)
	return f
}

// randomSeals seals the splits of a partition to their ends: rows, ends and idleness as they come, ranges of epochs in between.
func randomSeals(r *rand.Rand, m *sealMaker, rng topology.Range, groups int) {
	var open []string
	for _, id := range m.f.ids {
		if rng.Contains(topology.GroupOf(engine.SplitHash(id), groups)) {
			open = append(open, id)
		}
	}
	for next := topology.Epoch(1); ; {
		last := next
		if r.IntN(3) == 0 {
			last += topology.Epoch(r.IntN(4))
		}
		var news []splitNews
		var still []string
		for _, id := range open {
			if next > 1 && r.IntN(3) == 0 {
				still = append(still, id)
				continue
			}
			left := len(m.f.rows[id]) - m.at[id]
			n := splitNews{id: id, rows: min(r.IntN(4), left)}
			n.end = n.rows == left
			n.idle = n.rows == 0 && !n.end && r.IntN(2) == 0
			if !n.end {
				still = append(still, id)
			}
			news = append(news, n)
		}
		open = still
		m.add(rng, next, last, len(open) == 0, news...)
		if len(open) == 0 {
			return
		}
		next = last + 1
	}
}

// TestRandomSealsGiveTheSameBytesOnAnyLayout replays seals of partitions that are cut at a random key group through windows, windows over windows,
// hops and timers.
func TestRandomSealsGiveTheSameBytesOnAnyLayout(t *testing.T) {
	late := int64(0)
	for seed := range uint64(rounds(t, 60, 12)) {
		r := rand.New(rand.NewPCG(seed, 66))
		sources := map[string]*fixed{"fixed": randomSplits(r), "fixed2": randomSplits(r)}
		cuts := r.Uint64()
		seals := func(p *plan.Plan) *engine.SealLog {
			r := rand.New(rand.NewPCG(seed, cuts))
			log := engine.NewSealLog(0)
			for _, s := range p.Stages {
				if s.Source < 0 {
					continue
				}
				m := newSealMaker(sources[p.Tables[s.Source].Connector], s.ID, log)
				cut := topology.KeyGroup(r.IntN(s.Groups))
				if cut > 0 {
					randomSeals(r, m, topology.Range{From: 0, To: cut}, s.Groups)
				}
				randomSeals(r, m, topology.Range{From: cut, To: topology.KeyGroup(s.Groups)}, s.Groups)
			}
			return log
		}
		want := replayFixed(t, sealsSQL, sources, plainVariant, nil, seals)
		late += want.result.Progress.RowsLate
		for i := range 5 {
			v, from := randomVariant(r), seals
			if i == 0 {
				v, from = plainVariant, func(p *plan.Plan) *engine.SealLog { return engine.SpellOut(seals(p)) }
			}
			got := replayFixed(t, sealsSQL, sources, v, nil, from)
			for _, d := range got.differences(want, []string{"windows", "attached", "hops", "timers"}) {
				t.Errorf("seed %d %v: %s", seed, v, d)
			}
		}
	}
	if late == 0 {
		t.Error("no row was late in any round")
	}
}

// TestLateRowsOfWindowsOverWindowsAreTheSameOnAnyLayout: partitions that have no split yet, or no more, must not hold the watermark elsewhere than
// they would together.
func TestLateRowsOfWindowsOverWindowsAreTheSameOnAnyLayout(t *testing.T) {
	const sql = `SET 'seal'='rows:1';
SET 'key-groups'='16';
CREATE TABLE src (id BIGINT, k BIGINT, v BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 10 + MOD(id * 7919, 1300), 3), WATERMARK FOR ts AS ts) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='40','splits'='3',
  'seed'='1373','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='39','fields.k.min'='0','fields.k.max'='1','fields.v.min'='-5','fields.v.max'='9');
CREATE TABLE windows (we TIMESTAMP_LTZ(3), k BIGINT, v BIGINT) WITH ('connector'='capture');
CREATE TABLE attached (we TIMESTAMP_LTZ(3), k BIGINT, v BIGINT) WITH ('connector'='capture');
CREATE VIEW w AS SELECT k, COUNT(*) AS v, window_start, window_end, window_time FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY k, window_start, window_end, window_time;
INSERT INTO windows SELECT window_end, k, v FROM w;
INSERT INTO attached SELECT window_end, COUNT(*), SUM(v) FROM w GROUP BY window_start, window_end`
	want, compile, err := runCaptured(t, sql, plainVariant, nil)
	if compile != nil || err != nil {
		t.Fatal(compile, err)
	}
	if want.result.Progress.RowsLate == 0 {
		t.Error("no row was late")
	}
	for seed := range uint64(rounds(t, 40, 10)) {
		v := variant{nodes: 5, workers: 1, batchRows: 1 << 14, forkRows: 1 << 40, memory: true, uneven: seed + 1}
		got, _, err := runCaptured(t, sql, v, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range got.differences(want, []string{"windows", "attached"}) {
			t.Errorf("%v: %s", v, d)
		}
	}
}
