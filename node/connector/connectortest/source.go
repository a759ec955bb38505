package connectortest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sort"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
)

// readsMax bounds the reads of one split, so that a reader that never ends fails rather than hangs.
const readsMax = 1 << 20

// Unlimited is a limit that no test reaches.
func Unlimited() connector.Limit {
	return connector.Limit{Rows: 1 << 30, Bytes: 1 << 30, ElapsedMs: -1}
}

// Source holds a bounded source against the contract: discovering twice gives the same sorted splits, reading gives the same
// rows with any limits, and opening again at any offset gives the rest. It returns all rows, splits in order.
func Source(t *testing.T, newSource func() (connector.Source, error), schema *batch.Schema) *batch.Batch {
	t.Helper()
	open, counted := OpenFiles()
	src, err := newSource()
	if err != nil {
		t.Fatalf("new source: %v", err)
	}
	if !src.Bounded() {
		t.Fatal("the source is not bounded")
	}
	splits := Discover(t, src)
	again, err := newSource()
	if err != nil {
		t.Fatalf("new source: %v", err)
	}
	if fmt.Sprint(splits) != fmt.Sprint(Discover(t, again)) {
		t.Fatal("a second source discovers other splits")
	}
	all := batch.New(schema)
	for _, split := range splits {
		whole, marks := readByRow(t, src, split, schema)
		sameFromEveryOffset(t, again, split, schema, whole, marks)
		sameWithAnyLimit(t, src, split, schema, whole)
		all.AppendRange(whole, 0, whole.Len())
	}
	if now, _ := OpenFiles(); counted && now > open {
		t.Fatalf("%d more files are open than before", now-open)
	}
	return all
}

// OpenFiles counts the process's open descriptors, where the system tells.
func OpenFiles() (n int, counted bool) {
	entries, err := os.ReadDir("/proc/self/fd")
	return len(entries), err == nil
}

// Discover lists the splits and holds that they are sorted, distinct and the same at the next call.
func Discover(t *testing.T, src connector.Source) []connector.Split {
	t.Helper()
	splits, err := src.Discover(context.Background())
	if err != nil {
		t.Fatalf("discover: %v", err)
	}
	if !sort.SliceIsSorted(splits, func(i, j int) bool { return splits[i].ID < splits[j].ID }) {
		t.Fatalf("splits are not sorted: %v", splits)
	}
	for i := 1; i < len(splits); i++ {
		if splits[i] == splits[i-1] {
			t.Fatalf("split %q is there twice", splits[i].ID)
		}
	}
	return splits
}

// ReadSplit reads a split from an offset until it ends or has nothing more for now.
func ReadSplit(t *testing.T, src connector.Source, split connector.Split, offset int64, schema *batch.Schema, limit connector.Limit) *batch.Batch {
	t.Helper()
	out := batch.New(schema)
	r, err := src.Open(context.Background(), split, offset)
	if err != nil {
		t.Fatalf("open %s at %d: %v", split.ID, offset, err)
	}
	defer closeReader(t, r)
	for range readsMax {
		before := out.Len()
		status, err := r.Read(out, limit)
		if err != nil {
			t.Fatalf("read %s: %v", split.ID, err)
		}
		if out.Len()-before > limit.Rows {
			t.Fatalf("read %s: %d rows with a limit of %d", split.ID, out.Len()-before, limit.Rows)
		}
		CheckColumns(t, out)
		if status != connector.More {
			return out
		}
	}
	t.Fatalf("split %s does not end", split.ID)
	return nil
}

// readByRow reads row by row; marks[i] is the offset where row i starts, the last one the end.
func readByRow(t *testing.T, src connector.Source, split connector.Split, schema *batch.Schema) (*batch.Batch, []int64) {
	t.Helper()
	out := batch.New(schema)
	r, err := src.Open(context.Background(), split, 0)
	if err != nil {
		t.Fatalf("open %s: %v", split.ID, err)
	}
	defer closeReader(t, r)
	marks := []int64{0}
	for range readsMax {
		before := out.Len()
		status, err := r.Read(out, connector.Limit{Rows: 1, Bytes: 1, ElapsedMs: -1})
		if err != nil {
			t.Fatalf("read %s: %v", split.ID, err)
		}
		if out.Len() > before+1 {
			t.Fatalf("read %s: %d rows with a limit of one", split.ID, out.Len()-before)
		}
		if r.Offset() < marks[len(marks)-1] {
			t.Fatalf("split %s: offset fell from %d to %d", split.ID, marks[len(marks)-1], r.Offset())
		}
		if out.Len() > before {
			marks = append(marks, r.Offset())
		} else {
			marks[len(marks)-1] = r.Offset()
		}
		if status == connector.End {
			return out, marks
		}
		if status == connector.Idle {
			t.Fatalf("split %s of a bounded source without a limit of rate is idle", split.ID)
		}
	}
	t.Fatalf("split %s does not end", split.ID)
	return nil, nil
}

func sameFromEveryOffset(t *testing.T, src connector.Source, split connector.Split, schema *batch.Schema, whole *batch.Batch, marks []int64) {
	t.Helper()
	step := max(1, len(marks)/100)
	for i := 0; i < len(marks); i += step {
		rest := ReadSplit(t, src, split, marks[i], schema, Unlimited())
		if rest.Len() != whole.Len()-i {
			t.Fatalf("split %s from offset %d: %d rows, want %d", split.ID, marks[i], rest.Len(), whole.Len()-i)
		}
		if Digest(rest, 0) != Digest(whole, i) {
			t.Fatalf("split %s from offset %d: other rows", split.ID, marks[i])
		}
	}
}

func sameWithAnyLimit(t *testing.T, src connector.Source, split connector.Split, schema *batch.Schema, whole *batch.Batch) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	limits := []connector.Limit{Unlimited(), {Rows: 1, Bytes: 1 << 30, ElapsedMs: -1}, {Rows: 1 << 30, Bytes: 1, ElapsedMs: -1}}
	for range 3 {
		limits = append(limits, connector.Limit{Rows: 1 + random.IntN(100), Bytes: 1 + random.IntN(10000), ElapsedMs: -1})
	}
	for _, limit := range limits {
		if got := ReadSplit(t, src, split, 0, schema, limit); Digest(got, 0) != Digest(whole, 0) {
			t.Fatalf("split %s with limit %+v: %d rows, want %d, or others", split.ID, limit, got.Len(), whole.Len())
		}
	}
}

// Digest is the chain of b's rows from row from on.
func Digest(b *batch.Batch, from int) uint64 {
	h, _ := b.Chain(0, from, b.Len(), nil)
	return h
}

// SortedRows are the rows' canonical bytes, sorted: to compare tables as sets.
func SortedRows(b *batch.Batch) [][]byte {
	all := make([]int, len(b.Cols))
	for i := range all {
		all[i] = i
	}
	rows := make([][]byte, b.Len())
	for i := range rows {
		rows[i] = batch.AppendKey(nil, b, all, i)
	}
	sort.Slice(rows, func(i, j int) bool { return bytes.Compare(rows[i], rows[j]) < 0 })
	return rows
}

// CheckColumns holds that every column of b, nested ones too, has the batch's length and zero values where it is null.
func CheckColumns(t *testing.T, b *batch.Batch) {
	t.Helper()
	for i := range b.Cols {
		if b.Cols[i].Len() != b.Len() {
			t.Fatalf("column %s has %d rows, the batch %d", b.Schema.Fields[i].Name, b.Cols[i].Len(), b.Len())
		}
		checkColumn(t, b.Schema.Fields[i].Name, &b.Cols[i])
	}
}

func checkColumn(t *testing.T, name string, c *batch.Column) {
	t.Helper()
	zero := batch.NewColumn(c.Type)
	zero.AppendNull()
	want := batch.New(batch.NewSchema(batch.Field{Name: name, Type: c.Type}))
	for i := range c.Len() {
		if !c.IsNull(i) {
			continue
		}
		if want.Len() == 0 {
			want.Cols[0].AppendNull()
			want.EndRow(batch.Insert)
		}
		got := batch.New(want.Schema)
		got.Cols[0] = *c
		got.SetLen(c.Len())
		h, _ := got.Chain(0, i, i+1, nil)
		if h != Digest(want, 0) {
			t.Fatalf("column %s, row %d: null with a value", name, i)
		}
	}
	rows := c.Len()
	if c.Kind() == batch.KindList {
		rows = 0
		if len(c.Offsets) > 0 {
			rows = int(c.Offsets[len(c.Offsets)-1])
		}
	}
	for k, child := range c.Children {
		if child.Len() != rows {
			t.Fatalf("column %s: part %s has %d rows, want %d", name, c.Type.Fields[k].Name, child.Len(), rows)
		}
		checkColumn(t, name+"."+c.Type.Fields[k].Name, child)
	}
}

func closeReader(t *testing.T, r connector.Reader) {
	t.Helper()
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}
