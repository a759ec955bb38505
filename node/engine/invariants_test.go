package engine_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestAtMostOneSealForEachSourceKeyGroupAndEpoch is invariant 1 as far as one owner goes: the seals of a run cover every split's offsets once,
// in order, and no split twice in an epoch.
func TestAtMostOneSealForEachSourceKeyGroupAndEpoch(t *testing.T) {
	c := newCatalog(t)
	sql := `CREATE TABLE src (k BIGINT) WITH ('connector'='datagen','rows-per-second'='50000','number-of-rows'='5000','splits'='9');
CREATE TABLE out (k BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k FROM src`
	v := variant{nodes: 3, workers: 2, batchRows: 100, forkRows: 10}
	_, o := runQuery(t, c, sql, v.options(c))
	next, epoch, rows := map[string]int64{}, map[string]topology.Epoch{}, 0
	for _, s := range o.result.Seals.Seals() {
		for _, sp := range s.Splits {
			if sp.From != next[sp.ID] || s.Last <= epoch[sp.ID] || s.First <= epoch[sp.ID] {
				t.Fatalf("seal %+v of split %s: offset %d and an epoch after %d were next", s, sp.ID, next[sp.ID], epoch[sp.ID])
			}
			if !s.Range.Contains(topology.GroupOf(engine.SplitHash(sp.ID), 256)) {
				t.Fatalf("split %s was sealed by partition %v", sp.ID, s.Range)
			}
			next[sp.ID], epoch[sp.ID] = sp.To, s.Last
			rows += sp.Rows
		}
	}
	if rows != 5000 || len(next) != 9 {
		t.Fatalf("%d rows of 5000 in %d splits of 9", rows, len(next))
	}
}

// TestCodingEmptyEpochsDifferentlyChangesNothing is invariant 8: the seals of a run, with every empty epoch sealed on its own, give the same.
func TestCodingEmptyEpochsDifferentlyChangesNothing(t *testing.T) {
	c := newCatalog(t)
	sql := `CREATE TABLE src (id BIGINT, k BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 10, 3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector'='datagen','rows-per-second'='3000','number-of-rows'='1000','splits'='3','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='999','fields.k.min'='0','fields.k.max'='20');
CREATE TABLE out (k BIGINT, we TIMESTAMP_LTZ(3), n BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
CREATE TABLE running (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO running SELECT k, COUNT(*) FROM src GROUP BY k;
INSERT INTO out SELECT k, window_end, COUNT(*) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY k, window_start, window_end`
	v := variant{nodes: 2, workers: 1, batchRows: 100, forkRows: 1 << 30}
	p, want := runQuery(t, c, sql, v.options(c), "out")
	o := v.options(c)
	o.Replay = engine.SpellOut(want.result.Seals)
	_, got := runQuery(t, c, sql, o, "out")
	got.sameAs(t, p, want)
}

// stopped is a sink that takes nothing until it is opened.
type stopped struct {
	open chan struct{}
	rows atomic.Int64
}

func (s *stopped) Open(context.Context, int) (connector.Lane, error) { return stoppedLane{s}, nil }
func (s *stopped) Close(bool) error                                  { return nil }

type stoppedLane struct{ *stopped }

func (s stoppedLane) Write(_, _ topology.Epoch, rows []connector.Rows) error {
	<-s.open
	for _, r := range rows {
		s.rows.Add(int64(r.To - r.From))
	}
	return nil
}
func (s stoppedLane) Commit(topology.Epoch) error { return nil }
func (s stoppedLane) Committed() topology.Epoch   { return 0 }
func (s stoppedLane) End() error                  { return nil }
func (s stoppedLane) Close() error                { return nil }

// TestSourcesStandStillAndNothingIsDroppedWhenOnePartitionIsStoppedForAnHour is invariant 19.
func TestSourcesStandStillAndNothingIsDroppedWhenOnePartitionIsStoppedForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stopped{open: make(chan struct{})}
		c := newCatalog(t)
		if err := c.connectors.Register(&connector.Definition{Name: "stopped", Updates: true, NewSink: func(connector.Config) (connector.Sink, error) { return s, nil }}); err != nil {
			t.Fatal(err)
		}
		const rows = 3_000_000
		p := c.compile(t, fmt.Sprintf(`CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='%d');
CREATE TABLE out (k BIGINT, v BIGINT) WITH ('connector'='stopped');
INSERT INTO out SELECT k, v FROM src`, rows), nil)
		m := transport.NewMemory(transport.Options{})
		o := engine.Options{Connectors: c.connectors, Nodes: 3, Workers: 1, Transport: func(n topology.NodeID) transport.Transport { return m.Node(string(n)) },
			Limits: engine.Limits{BatchRows: 1000, ForkRows: 1 << 40, GroupBytes: 64 << 10, Log: dataplane.Limits{Bytes: 1 << 20, Epochs: 64}}}
		var progress func() engine.Progress
		o.Started = func(f func() engine.Progress) { progress = f }
		done := make(chan error, 1)
		var res *engine.Result
		go func() {
			var err error
			res, err = engine.Run(context.Background(), p, o)
			done <- err
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		before := progress().RowsIn
		time.Sleep(time.Hour)
		synctest.Wait()
		after := progress().RowsIn
		if after != before || before == 0 || before >= rows {
			t.Errorf("sources read %d rows, an hour later %d of %d: they do not stand still", before, after, rows)
		}
		// What was read and not taken: at most the logs' limits and one epoch beyond them, on both sides of the links.
		if bytes := before * 16; bytes > 3*(8<<20) {
			t.Errorf("%d bytes were read ahead of a stopped partition", bytes)
		}
		close(s.open)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := s.rows.Load(); got != rows || res.Progress.RowsIn != rows {
			t.Fatalf("%d rows arrived of %d, %d were read", got, rows, res.Progress.RowsIn)
		}
	})
}

// markerCounter counts the end markers that a connection sends.
type markerCounter struct {
	transport.Conn
	markers *atomic.Int64
}

func (c markerCounter) Send(msg []byte) error {
	for rest := msg; len(rest) > 0; {
		m, next, err := dataplane.Next(rest)
		if err != nil {
			return err
		}
		if m.Type == dataplane.TypeMarkers {
			var list dataplane.Markers
			if err := list.Decode(m.Payload); err != nil {
				return err
			}
			c.markers.Add(int64(len(list.List)))
		}
		rest = next
	}
	return c.Conn.Send(msg)
}

type countingTransport struct {
	transport.Transport
	markers *atomic.Int64
}

type countingListener struct {
	transport.Listener
	markers *atomic.Int64
}

func (t countingTransport) Listen(addr string) (transport.Listener, error) {
	l, err := t.Transport.Listen(addr)
	return countingListener{l, t.markers}, err
}

func (t countingTransport) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	c, err := t.Transport.Dial(ctx, addr)
	return markerCounter{c, t.markers}, err
}

func (l countingListener) Accept() (transport.Conn, error) {
	c, err := l.Listener.Accept()
	return markerCounter{c, l.markers}, err
}

// TestEndMarkersAreBoundedByNodesTimesStagesTimesEpochs is invariant 27: on each node markers go to every other node once for each stage
// and epoch, however many consumer partitions there are.
func TestEndMarkersAreBoundedByNodesTimesStagesTimesEpochs(t *testing.T) {
	c := newCatalog(t)
	p := c.compile(t, `SET 'seal' = 'rows:10';
CREATE TABLE src (k BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='2000','splits'='8');
CREATE TABLE out (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k, COUNT(*) FROM src GROUP BY k`, nil)
	const nodes = 4
	m, markers := transport.NewMemory(transport.Options{}), &atomic.Int64{}
	o := engine.Options{Connectors: c.connectors, Nodes: nodes, Workers: 1,
		Transport: func(n topology.NodeID) transport.Transport { return countingTransport{m.Node(string(n)), markers} }}
	res, err := engine.Run(context.Background(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	epochs := int64(res.Progress.Head)
	if most := epochs * nodes * (nodes - 1); markers.Load() > most || markers.Load() == 0 {
		t.Fatalf("%d markers for %d epochs of one shuffled stage on %d nodes, at most %d", markers.Load(), epochs, nodes, most)
	}
}
