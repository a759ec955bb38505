package tail

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testShape = Shape{Query: topology.QueryID{Incarnation: 1}, Table: "t", UpsertKey: []int{0},
		Schema: batch.NewSchema(batch.Field{Name: "k", Type: batch.TypeBigInt}, batch.Field{Name: "s", Type: batch.TypeString})}
	testRange = topology.Range{From: 4, To: 8}
)

// view is rows of one key group: a negative key is a retraction of the positive one.
func view(g topology.KeyGroup, text string, keys ...int64) connector.Rows {
	b := batch.New(testShape.Schema)
	for _, k := range keys {
		weight := batch.Insert
		if k < 0 {
			weight, k = batch.Retract, -k
		}
		b.Cols[0].AppendInt64(k)
		b.Cols[1].AppendString(text)
		b.EndRow(int8(weight))
	}
	return connector.Rows{Batch: b, To: b.Len(), Group: g}
}

// next is the next event as text.
func next(t *testing.T, f *Follower) string {
	t.Helper()
	e, err := f.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d:", e.Epoch)
	for _, c := range e.Changes {
		fmt.Fprintf(&b, " %d%s%s", c.Group, c.Op, c.Row)
	}
	if e.Dropped > 0 {
		fmt.Fprintf(&b, " dropped %d", e.Dropped)
	}
	if e.Ended {
		b.WriteString(" ended")
	}
	return b.String()
}

func expect(t *testing.T, f *Follower, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := next(t, f); got != w {
			t.Fatalf("%q, want %q", got, w)
		}
	}
}

func TestRowsAreShownWhenTheirEpochIsPublishedAndNotBefore(t *testing.T) {
	h := &Hub{}
	p := h.Open(testShape, testRange)
	if p.Followed() {
		t.Fatal("followed by nobody")
	}
	f := h.Follow(testShape.Query, testShape.Table)
	other := h.Follow(testShape.Query, "u")
	if !p.Followed() {
		t.Fatal("not followed")
	}
	p.Write(3, []connector.Rows{view(4, "a", 1, 2), view(5, "a", -3, 3, -4, 5)})
	p.Write(4, []connector.Rows{view(7, "b", -1)})
	p.Write(6, []connector.Rows{view(7, "b")})
	p.Publish(2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if e, err := f.Next(ctx); err == nil {
		t.Fatalf("shown before it is published: %+v", e)
	}
	p.Publish(3)
	expect(t, f, `3: 4+I{"k":1,"s":"a"} 4+I{"k":2,"s":"a"} 5-U{"k":3,"s":"a"} 5+U{"k":3,"s":"a"} 5-D{"k":4,"s":"a"} 5+I{"k":5,"s":"a"}`)
	p.End()
	expect(t, f, `4: 7-D{"k":1,"s":"b"}`, "0: ended")
	if e, err := other.Next(ctx); err == nil {
		t.Fatalf("of another sink: %+v", e)
	}
	for range 2 {
		f.Close()
		other.Close()
		p.Close()
	}
	if _, err := f.Next(context.Background()); err != ErrClosed || len(h.sinks) != 0 {
		t.Fatal(err, h.sinks)
	}
}

func TestWhatWasGivenAwayIsNotShown(t *testing.T) {
	h := &Hub{}
	p := h.Open(testShape, testRange)
	defer p.Close()
	f := h.Follow(testShape.Query, testShape.Table)
	defer f.Close()
	p.Write(1, []connector.Rows{view(4, "a", 1), view(6, "a", -2, 2)})
	p.Write(2, []connector.Rows{view(7, "a", 1)})
	p.Narrow(topology.Range{From: 5, To: 7})
	p.End()
	expect(t, f, `1: 6-U{"k":2,"s":"a"} 6+U{"k":2,"s":"a"}`, "0: ended")
	if p.bytes != 0 {
		t.Fatal(p.bytes)
	}
}

func TestASlowReaderIsToldWhatItMissedInOrderAndHoldsNoMoreThanItMay(t *testing.T) {
	h := &Hub{BytesMax: 10_000}
	one, two := h.Open(testShape, testRange), h.Open(testShape, topology.Range{From: 8, To: 9})
	defer one.Close()
	defer two.Close()
	f := h.Follow(testShape.Query, testShape.Table)
	defer f.Close()
	text := strings.Repeat("x", 1000)
	for e := topology.Epoch(1); e <= 100; e++ {
		one.Write(e, []connector.Rows{view(4, text, 1, 2)})
		two.Write(e, []connector.Rows{view(8, text, 1)})
		one.Publish(e)
		two.Publish(e)
		if f.bytes > h.BytesMax {
			t.Fatalf("%d bytes held", f.bytes)
		}
	}
	one.End()
	two.End()
	shown, last := map[topology.Range]int64{}, map[topology.Range]topology.Epoch{}
	for ended := 0; ended < 2; {
		e, err := f.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if e.Ended {
			ended++
			continue
		}
		if e.Epoch <= last[e.Range] {
			t.Fatalf("epoch %d after %d", e.Epoch, last[e.Range])
		}
		last[e.Range] = e.Epoch
		shown[e.Range] += int64(len(e.Changes)) + e.Dropped
	}
	if shown[testRange] != 200 || shown[topology.Range{From: 8, To: 9}] != 100 {
		t.Fatal(shown)
	}
}

// TestWhatMayNotBeSeenForLongIsBounded: as of an instance that shadows another.
func TestWhatMayNotBeSeenForLongIsBounded(t *testing.T) {
	h := &Hub{BytesMax: 10_000}
	p := h.Open(testShape, testRange)
	defer p.Close()
	f := h.Follow(testShape.Query, testShape.Table)
	defer f.Close()
	for e := topology.Epoch(1); e <= 100; e++ {
		p.Write(e, []connector.Rows{view(4, strings.Repeat("x", 1000), 1, 2)})
		if p.bytes > h.BytesMax+3000 {
			t.Fatalf("%d bytes held", p.bytes)
		}
	}
	p.Publish(100)
	first, err := f.Next(context.Background())
	if err != nil || first.Dropped == 0 {
		t.Fatal(first, err)
	}
	for e := first.Epoch + 1; e <= 100; e++ {
		got, err := f.Next(context.Background())
		if err != nil || got.Epoch != e || len(got.Changes) != 2 {
			t.Fatalf("%+v, %v, want epoch %d", got, err, e)
		}
	}
	if first.Dropped != 2*int64(first.Epoch) || p.bytes != 0 {
		t.Fatalf("%d rows dropped up to epoch %d, %d bytes", first.Dropped, first.Epoch, p.bytes)
	}
}
