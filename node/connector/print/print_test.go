package print

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

var schema = batch.NewSchema(batch.Field{Name: "w", Type: batch.TypeString}, batch.Field{Name: "n", Type: batch.TypeBigInt})

func rows(texts ...string) *batch.Batch {
	b := batch.New(schema)
	for _, s := range texts {
		var sign byte
		var word string
		var n int64
		if _, err := fmt.Sscanf(s, "%c%s %d", &sign, &word, &n); err != nil {
			panic(err)
		}
		b.Cols[0].AppendString(word)
		b.Cols[1].AppendInt64(n)
		weight := batch.Insert
		if sign == '-' {
			weight = batch.Retract
		}
		b.EndRow(weight)
	}
	return b
}

func printed(t *testing.T, c connector.Config, views []connector.Rows) string {
	t.Helper()
	var out bytes.Buffer
	c.Stdout = &out
	s, err := newSink(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Open(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Write(1, 12, views), l.Write(13, 13, nil), l.End(), l.Close(), s.Close(true)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestChangesArePairedByKey(t *testing.T) {
	changes := rows("+a 1", "-a 1", "+a 2", "-b 1", "-a 2", "+b 2", "-c 1")
	for _, c := range []struct {
		key  []int
		want string
	}{
		{[]int{0}, "+I[a, 1]\n-U[a, 1]\n+U[a, 2]\n-D[b, 1]\n-D[a, 2]\n+I[b, 2]\n-D[c, 1]\n"},
		{[]int{}, "+I[a, 1]\n-U[a, 1]\n+U[a, 2]\n-D[b, 1]\n-U[a, 2]\n+U[b, 2]\n-D[c, 1]\n"},
		{nil, "+I[a, 1]\n-D[a, 1]\n+I[a, 2]\n-D[b, 1]\n-D[a, 2]\n+I[b, 2]\n-D[c, 1]\n"},
	} {
		config := connector.Config{Table: "t", Schema: schema, UpsertKey: c.key}
		for cut := range changes.Len() {
			views := []connector.Rows{{Batch: changes, From: 0, To: cut}, {Batch: changes, From: cut, To: cut}, {Batch: changes, From: cut, To: changes.Len()}}
			if got := printed(t, config, views); got != c.want {
				t.Fatalf("key %v, cut at %d:\n%s\nwant:\n%s", c.key, cut, got, c.want)
			}
		}
	}
}

func TestPrefixAndJSON(t *testing.T) {
	b := rows("+a 1")
	b.Cols[0].AppendNull()
	b.Cols[1].AppendNull()
	b.EndRow(batch.Insert)
	config := connector.Config{Table: "t", Schema: schema, Options: map[string]string{"print-identifier": "out"}}
	if got := printed(t, config, connectortest.Halves(b)); got != "out> +I[a, 1]\nout> +I[null, null]\n" {
		t.Errorf("%s", got)
	}
	config.Options = map[string]string{"format": "json"}
	if got := printed(t, config, connectortest.Halves(b)); got != `{"op":"+I","epoch":12,"w":"a","n":1}`+"\n"+`{"op":"+I","epoch":12,"w":null,"n":null}`+"\n" {
		t.Errorf("%s", got)
	}
}

func TestValuesLookLikeFlinks(t *testing.T) {
	s := batch.NewSchema(batch.Field{Name: "b", Type: batch.TypeBoolean}, batch.Field{Name: "y", Type: batch.TypeBytes},
		batch.Field{Name: "a", Type: batch.ArrayOf(batch.TypeInt)}, batch.Field{Name: "m", Type: batch.MapOf(batch.TypeString, batch.TypeInt)},
		batch.Field{Name: "r", Type: batch.RowOf(batch.Field{Name: "x", Type: batch.TypeInt})}, batch.Field{Name: "t", Type: batch.TypeTimestampLTZ})
	b := batch.New(s)
	b.Cols[0].AppendBool(true)
	b.Cols[1].AppendBytes([]byte{1, 255})
	b.Cols[2].Children[0].AppendInt64(1)
	b.Cols[2].Children[0].AppendNull()
	b.Cols[2].CloseList()
	b.Cols[3].Children[0].AppendString("k")
	b.Cols[3].Children[1].AppendInt64(2)
	b.Cols[3].CloseList()
	b.Cols[4].Children[0].AppendInt64(3)
	b.Cols[4].CloseRow()
	b.Cols[5].AppendInt64(0)
	b.EndRow(batch.Insert)
	config := connector.Config{Table: "t", Schema: s, Zone: time.FixedZone("", 3600)}
	if got := printed(t, config, connectortest.Halves(b)); got != "+I[true, [1, -1], [1, null], {k=2}, +I[3], 1970-01-01 01:00:00.000]\n" {
		t.Errorf("%s", got)
	}
}

// lineWriter fails when a call does not end a line.
type lineWriter struct {
	mu    sync.Mutex
	calls int
	lines int
	t     *testing.T
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	w.lines += bytes.Count(p, []byte("\n"))
	if len(p) == 0 || p[len(p)-1] != '\n' {
		w.t.Errorf("a call wrote %q", p)
	}
	return len(p), nil
}

func TestLanesWriteWholeLinesInOneCallEach(t *testing.T) {
	w := &lineWriter{t: t}
	s, err := newSink(connector.Config{Table: "t", Schema: schema, Stdout: w})
	if err != nil {
		t.Fatal(err)
	}
	const lanes, epochs = 4, 50
	var wait sync.WaitGroup
	for n := range lanes {
		wait.Go(func() {
			l, err := s.Open(context.Background(), n)
			if err != nil {
				t.Error(err)
				return
			}
			for e := range topology.Epoch(epochs) {
				if err := errors.Join(l.Write(e+1, e+1, connectortest.Halves(rows("+a 1", "+b 2", "+c 3"))), l.Commit(e+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if w.calls != lanes*epochs || w.lines != 3*w.calls {
		t.Fatalf("%d calls, %d lines", w.calls, w.lines)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestFailedWritesAreTold(t *testing.T) {
	s, err := newSink(connector.Config{Table: "t", Schema: schema, Stdout: brokenPipe{}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Open(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Write(1, 1, connectortest.Halves(rows("+a 1"))); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(1); err == nil || !strings.Contains(err.Error(), "table t") || !strings.Contains(err.Error(), "broken pipe") {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLinesDoNotDependOnHowEpochsAreCutAndCommitted(t *testing.T) {
	connectortest.Sink(t, func(t *testing.T, schedule connectortest.Schedule) string {
		var out bytes.Buffer
		s, err := newSink(connector.Config{Table: "t", Schema: schema, Stdout: &out, Options: map[string]string{"format": "json"}})
		if err != nil {
			t.Fatal(err)
		}
		connectortest.Drive(t, s, 0, []*batch.Batch{rows("+a 1"), rows(), rows(), rows("-a 1", "+b 2"), rows()}, schedule)
		return out.String()
	})
}

// openLane opens a lane that prints to w.
func openLane(t *testing.T, w io.Writer) *lane {
	t.Helper()
	s, err := newSink(connector.Config{Table: "t", Schema: schema, Stdout: w})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Open(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return l.(*lane)
}

func TestNothingIsPrintedBeforeItsEpochIsCommitted(t *testing.T) {
	var out bytes.Buffer
	l := openLane(t, &out)
	if err := errors.Join(l.Write(1, 3, connectortest.Halves(rows("+a 1"))), l.Write(4, 4, connectortest.Halves(rows("+b 1"))), l.Commit(2)); err != nil {
		t.Fatal(err)
	}
	if out.Len() != 0 {
		t.Fatalf("printed: %s", out.String())
	}
	if err := errors.Join(l.Commit(3), l.Close()); err != nil {
		t.Fatal(err)
	}
	if out.String() != "+I[a, 1]\n" || l.Committed() != 3 {
		t.Fatalf("printed after Commit(3): %s", out.String())
	}
}

func TestMoreThanMayWaitIsPrintedEarly(t *testing.T) {
	var out bytes.Buffer
	l := openLane(t, &out)
	long := rows("+" + strings.Repeat("x", 1<<20) + " 1")
	for e := topology.Epoch(1); e <= 70; e++ {
		if err := l.Write(e, e, connectortest.Halves(long)); err != nil {
			t.Fatal(err)
		}
		if len(l.buffer) > waitingMax {
			t.Fatalf("%d bytes wait", len(l.buffer))
		}
	}
	if err := l.End(); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\n")); n != 70 || l.Committed() != 70 {
		t.Fatalf("%d lines, committed %d", n, l.Committed())
	}
}

// fullDisk takes a few bytes of each second call and nothing of the others.
type fullDisk struct {
	bytes.Buffer
	calls int
}

func (w *fullDisk) Write(p []byte) (int, error) {
	w.calls++
	n := 0
	if w.calls%2 == 0 {
		n, _ = w.Buffer.Write(p[:min(3, len(p))])
	}
	if n == len(p) {
		return n, nil
	}
	return n, syscall.ENOSPC
}

func TestFullDiskBlocksAndNoLineIsLostOrPrintedTwice(t *testing.T) {
	out := &fullDisk{}
	l := openLane(t, out)
	until := func(call func() error) {
		t.Helper()
		for range 100 {
			err := call()
			if err == nil {
				return
			}
			if blocked := new(connector.BlockedError); !errors.As(err, &blocked) {
				t.Fatal(err)
			}
		}
		t.Fatal("blocked for ever")
	}
	until(func() error { return l.Write(1, 1, connectortest.Halves(rows("+a 1", "+b 2"))) })
	until(func() error { return l.Write(2, 2, connectortest.Halves(rows("+c 3"))) })
	until(func() error { return l.Commit(1) })
	until(l.End)
	if out.String() != "+I[a, 1]\n+I[b, 2]\n+I[c, 3]\n" {
		t.Fatalf("printed %q", out.String())
	}
}
