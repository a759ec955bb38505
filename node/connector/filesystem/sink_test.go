package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

var countSchema = batch.NewSchema(batch.Field{Name: "w", Type: batch.TypeString}, batch.Field{Name: "n", Type: batch.TypeBigInt})

func counts(from, to int) *batch.Batch {
	b := batch.New(countSchema)
	for i := from; i < to; i++ {
		b.Cols[0].AppendString(fmt.Sprintf("w%d", i))
		b.Cols[1].AppendInt64(int64(i))
		b.EndRow(batch.Insert)
	}
	return b
}

// dirText is names and contents of all files of dir, hidden ones too.
func dirText(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		if e.Name() == manifestName {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s: %q\n", e.Name(), text)
	}
	return b.String()
}

func newTestSink(t *testing.T, c connector.Config) connector.Sink {
	t.Helper()
	s, err := newSink(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFilesDependOnRowsAndEpochsAlone(t *testing.T) {
	epochs := make([]*batch.Batch, 21)
	for i := range epochs {
		epochs[i] = counts(0, 0)
	}
	epochs[1], epochs[3], epochs[4], epochs[19], epochs[20] = counts(0, 3), counts(3, 4), counts(4, 6), counts(6, 7), counts(7, 8)
	connectortest.Sink(t, func(t *testing.T, schedule connectortest.Schedule) string {
		dir := t.TempDir()
		s := newTestSink(t, config(countSchema, "path", dir, "format", "csv", "sink.rolling.epochs", "4"))
		connectortest.Drive(t, s, 0, epochs, schedule)
		got := dirText(t, dir)
		want := "0000000000000abc-0000-000000000001-000000000004.csv: \"w0,0\\nw1,1\\nw2,2\\nw3,3\\n\"\n" +
			"0000000000000abc-0000-000000000005-000000000008.csv: \"w4,4\\nw5,5\\n\"\n" +
			"0000000000000abc-0000-000000000017-000000000020.csv: \"w6,6\\n\"\n" +
			"0000000000000abc-0000-000000000021-000000000024.csv: \"w7,7\\n\"\n"
		if got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
		return got
	})
}

func TestRollIsVisibleWithTheCommitOfItsLastEpoch(t *testing.T) {
	dir := t.TempDir()
	s := newTestSink(t, config(countSchema, "path", dir+"/new/dir", "format", "json"))
	l, err := s.Open(context.Background(), 3)
	if err != nil {
		t.Fatal(err)
	}
	dir += "/new/dir"
	visible := func() string {
		files, _ := filepath.Glob(dir + "/*.json")
		return strings.Join(files, " ")
	}
	for _, w := range []struct {
		first, last topology.Epoch
		rows        *batch.Batch
		files       int
	}{{1, 2, counts(0, 1), 0}, {3, 7, counts(1, 2), 0}, {8, 8, counts(0, 0), 1}, {9, 17, counts(2, 3), 1}, {18, 24, counts(0, 0), 2}} {
		before := visible()
		if err := l.Write(w.first, w.last, connectortest.Halves(w.rows)); err != nil {
			t.Fatal(err)
		}
		if now := visible(); now != before {
			t.Fatalf("visible without Commit: %s", now)
		}
		if err := l.Commit(w.last); err != nil {
			t.Fatal(err)
		}
		if want := w.last / 8 * 8; l.Committed() != want {
			t.Fatalf("after epoch %d: committed %d, want %d", w.last, l.Committed(), want)
		}
		got := visible()
		n := len(strings.Fields(strings.ReplaceAll(got, filepath.Join(dir, manifestName), "")))
		if n != w.files {
			t.Fatalf("after epoch %d: %s", w.last, got)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(filepath.Join(dir, "0000000000000abc-0003-000000000001-000000000008.json"))
	if string(text) != "{\"w\":\"w0\",\"n\":0}\n{\"w\":\"w1\",\"n\":1}\n" {
		t.Fatalf("%q", text)
	}
}

func TestCloseWithoutEndLeavesNothingUnfinished(t *testing.T) {
	dir := t.TempDir()
	s := newTestSink(t, config(countSchema, "path", dir, "format", "csv"))
	l, err := s.Open(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Write(1, 1, connectortest.Halves(counts(0, 100000))); err != nil {
		t.Fatal(err)
	}
	if files := dirText(t, dir); !strings.HasPrefix(files, ".0000000000000abc-0000-") {
		t.Fatal("no temporary file while the roll is open")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if files := dirText(t, dir); files != "" {
		t.Fatalf("left: %s", files)
	}
}

func TestDirectoryOfAnotherQueryIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := config(countSchema, "path", dir, "format", "csv")
	connectortest.Write(t, newTestSink(t, c), 0, []*batch.Batch{counts(0, 1)}, 0)
	for _, k := range []struct {
		name   string
		change func(*connector.Config)
		want   string
	}{
		{"incarnation", func(c *connector.Config) { c.Incarnation = 0xdef }, "another query (incarnation 0000000000000abc)"},
		{"table", func(c *connector.Config) { c.Table = "u" }, "table t"},
		{"lanes", func(c *connector.Config) { c.Lanes = 2 }, "another shape"},
	} {
		other := c
		k.change(&other)
		_, err := newTestSink(t, other).Open(context.Background(), 0)
		if err == nil || !strings.Contains(err.Error(), k.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", k.name, err)
		}
	}
	for name, text := range map[string]string{"notes.txt": "mine", manifestName: "{"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, name), text)
		_, err := newTestSink(t, config(countSchema, "path", dir, "format", "csv")).Open(context.Background(), 0)
		if err == nil || !strings.Contains(err.Error(), "empty it or give another path") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLanesOpenTogether(t *testing.T) {
	dir := t.TempDir()
	c := config(countSchema, "path", dir, "format", "csv")
	c.Lanes = 16
	var wait sync.WaitGroup
	for lane := range c.Lanes {
		wait.Go(func() {
			connectortest.Write(t, newTestSink(t, c), lane, []*batch.Batch{counts(lane, lane+1)}, 0)
		})
	}
	wait.Wait()
	if n := strings.Count(dirText(t, dir), "\n"); n != c.Lanes {
		t.Fatalf("%d files:\n%s", n, dirText(t, dir))
	}
}

func TestUnwritableDirectoryIsNamed(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir+"/file", "x")
	_, err := newTestSink(t, config(countSchema, "path", file+"/out", "format", "csv")).Open(context.Background(), 0)
	if err == nil || !strings.Contains(err.Error(), file) || !errors.Is(err, syscall.ENOTDIR) {
		t.Fatalf("error: %v", err)
	}
}

func TestRetractionsAndGapsAreRefused(t *testing.T) {
	l, err := newTestSink(t, config(countSchema, "path", t.TempDir(), "format", "csv")).Open(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	b := counts(0, 1)
	b.Weights = []int8{batch.Retract}
	if err := l.Write(1, 1, connectortest.Halves(b)); err == nil || !strings.Contains(err.Error(), "retraction") {
		t.Errorf("%v", err)
	}
	if l, err = newTestSink(t, config(countSchema, "path", t.TempDir(), "format", "csv")).Open(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Write(1, 1, nil), l.Write(2, 3, nil)); err != nil {
		t.Error(err)
	}
	if err := l.Write(5, 5, nil); err == nil {
		t.Error("a gap was taken")
	}
	if l, err = newTestSink(t, config(countSchema, "path", t.TempDir(), "format", "csv")).Open(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(3, 8, nil); err == nil {
		t.Error("a start within a roll was taken")
	}
}

func TestRollsMustDivideTheCheckpointInterval(t *testing.T) {
	for epochs, ok := range map[string]bool{"1": true, "4": true, "8": true, "3": false, "16": false, "0": false, "-4": false} {
		if err := definition.Check(config(countSchema, "path", "p", "format", "csv", "sink.rolling.epochs", epochs)); (err == nil) != ok {
			t.Errorf("%s: %v", epochs, err)
		}
	}
}

func TestWhatTheSinkWritesTheSourceReads(t *testing.T) {
	for _, format := range []string{"csv", "json"} {
		dir := t.TempDir()
		connectortest.Write(t, newTestSink(t, config(countSchema, "path", dir, "format", format)), 0, []*batch.Batch{counts(0, 50), counts(50, 500)}, 0)
		got := readAll(t, config(countSchema, "path", dir, "format", format, "source.split.bytes", "1000"))
		if got.Len() != 500 || connectortest.Digest(got, 0) != connectortest.Digest(counts(0, 500), 0) {
			t.Errorf("%s: %d rows, or others", format, got.Len())
		}
	}
}
