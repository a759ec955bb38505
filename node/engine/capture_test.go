package engine_test

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// captured is what the sinks 'capture' and, in the producing stage, 'tap' were given, by table. They take retractions.
type captured struct {
	mu   sync.Mutex
	rows map[string][]capturedRow
}

type capturedRow struct {
	epoch  topology.Epoch
	lane   int
	weight int
	text   string // values with | between them
}

// registerCapture makes a catalog's 'capture' and 'tap' write to a new captured.
func registerCapture(t testing.TB, c *catalog) *captured {
	t.Helper()
	got := &captured{rows: map[string][]capturedRow{}}
	for _, fused := range []bool{false, true} {
		d := &connector.Definition{Name: "capture", Updates: true, Fused: fused, NewSink: func(cfg connector.Config) (connector.Sink, error) {
			return &captureSink{got, cfg.Table}, nil
		}}
		if fused {
			d.Name = "tap"
		}
		if err := c.connectors.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

type captureSink struct {
	to    *captured
	table string
}

func (s *captureSink) Open(_ context.Context, lane int) (connector.Lane, error) {
	return &captureLane{s, lane}, nil
}
func (s *captureSink) Close(bool) error { return nil }

type captureLane struct {
	*captureSink
	lane int
}

func (l *captureLane) Write(_, last topology.Epoch, rows []connector.Rows) error {
	l.to.mu.Lock()
	defer l.to.mu.Unlock()
	for _, r := range rows {
		for i := r.From; i < r.To; i++ {
			l.to.rows[l.table] = append(l.to.rows[l.table], capturedRow{last, l.lane, int(r.Batch.Weight(i)), rowText(r.Batch, i)})
		}
	}
	return nil
}
func (l *captureLane) Commit(topology.Epoch) error { return nil }
func (l *captureLane) Committed() topology.Epoch   { return 0 }
func (l *captureLane) End() error                  { return nil }
func (l *captureLane) Close() error                { return nil }

// fixed is a bounded source of the splits ids, whose rows are one BIGINT each; a row's offset is its index.
type fixed struct {
	ids  []string
	rows map[string][]int64
}

func (f *fixed) Discover(context.Context) ([]connector.Split, error) {
	var out []connector.Split
	for _, id := range f.ids {
		out = append(out, connector.Split{ID: id})
	}
	return out, nil
}
func (f *fixed) Bounded() bool                  { return true }
func (f *fixed) MonitorInterval() time.Duration { return 0 }
func (f *fixed) Open(_ context.Context, s connector.Split, offset int64) (connector.Reader, error) {
	return &fixedReader{f.rows[s.ID], offset}, nil
}

// registerFixed makes a source readable as a connector of a name.
func registerFixed(t testing.TB, c *catalog, name string, s connector.Source) {
	t.Helper()
	err := c.connectors.Register(&connector.Definition{Name: name, Bounded: func(connector.Config) bool { return true },
		NewSource: func(connector.Config) (connector.Source, error) { return s, nil }})
	if err != nil {
		t.Fatal(err)
	}
}

type fixedReader struct {
	rows []int64
	at   int64
}

func (r *fixedReader) Read(out *batch.Batch, l connector.Limit) (connector.Status, error) {
	for range l.Rows {
		if r.at == int64(len(r.rows)) {
			return connector.End, nil
		}
		out.Cols[0].AppendInt64(r.rows[r.at])
		out.EndRow(batch.Insert)
		r.at++
	}
	return connector.More, nil
}
func (r *fixedReader) Offset() int64 { return r.at }
func (r *fixedReader) Close() error  { return nil }

func rowText(b *batch.Batch, i int) string {
	var values []string
	for k := range b.Cols {
		c := &b.Cols[k]
		text := "NULL"
		if !c.IsNull(i) {
			switch c.Kind() {
			case batch.KindInt64:
				text = fmt.Sprint(c.Int64s[i])
			case batch.KindFloat64:
				text = fmt.Sprint(c.Float64s[i])
			case batch.KindBool:
				text = fmt.Sprint(c.Bools[i])
			case batch.KindBytes:
				text = fmt.Sprintf("%q", c.Bytes(i))
			default:
				text = fmt.Sprintf("kind %d", c.Kind())
			}
		}
		values = append(values, text)
	}
	return strings.Join(values, "|")
}

// lines are a table's rows with their epochs and weights: epoch by epoch, in it lane by lane, each in the order it was written. The lanes of
// 'tap' are where partitions begin, so that lanes themselves are not shown.
func (c *captured) lines(table string) string {
	rows := append([]capturedRow(nil), c.rows[table]...)
	sort.SliceStable(rows, func(i, j int) bool {
		if rows[i].epoch != rows[j].epoch {
			return rows[i].epoch < rows[j].epoch
		}
		return rows[i].lane < rows[j].lane
	})
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%d %+d %s\n", r.epoch, r.weight, r.text)
	}
	return b.String()
}

// final is what a table holds in the end: its rows sorted, each with how often it is there.
func (c *captured) final(table string) []string {
	count := map[string]int{}
	for _, r := range c.rows[table] {
		count[r.text] += r.weight
	}
	out := []string{}
	for text, n := range count {
		if n != 0 {
			out = append(out, fmt.Sprintf("%d x %s", n, text))
		}
	}
	sort.Strings(out)
	return out
}

// difference shows the first line in which two texts differ; "" when there is none.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is %q, want %q", i+1, b[i], a[i])
		}
	}
	if len(a) != len(b) {
		return fmt.Sprintf("%d lines, want %d", len(b), len(a))
	}
	return ""
}
