package dataplane

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

var testQuery = topology.QueryID{Incarnation: 5, Generation: 1}

// pair opens a connection between two in-memory nodes.
func pair(t *testing.T) (a, b transport.Conn) {
	t.Helper()
	m := transport.NewMemory(transport.Options{})
	l, err := m.Node("a").Listen("")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		var err error
		a, err = l.Accept()
		done <- err
	}()
	if b, err = m.Node("b").Dial(context.Background(), l.Addr()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return a, b
}

func edge() Edge {
	return Edge{Stream: Stream{Query: testQuery, Stage: 1}, Producer: topology.Range{From: 0, To: 4}, ConsumerStage: 2, Consumer: topology.Range{From: 0, To: 8}}
}

// running runs links until stop is called, which waits for their end.
func running(t *testing.T, links ...*Link) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, l := range links {
		wg.Go(func() {
			if err := l.Run(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// TestLinkGivesEveryEpochOnceInOrder sends a log's entries over a link with a credit of one byte.
func TestLinkGivesEveryEpochOnceInOrder(t *testing.T) {
	ca, cb := pair(t)
	source := NewLog(1, roomy, false, nil, nil)
	a := NewLink(ca, LinkConfig{Cluster: 5, Self: "a", Peer: "b", Credit: 1, Resolve: func(Stream) (*Log, error) { return source, nil }})
	b := NewLink(cb, LinkConfig{Cluster: 5, Self: "b", Peer: "a", Credit: 1, Resolve: func(Stream) (*Log, error) { return nil, errors.New("nothing here") }})
	wake := make(chan struct{}, 1)
	c := b.Subscribe(edge(), 1, 0, true, oneColumn, func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	stop := running(t, a, b)
	const last = 500
	go func() {
		for e := topology.Epoch(1); e <= last; e += 2 {
			entry := full(e, e+1, int64(e))
			entry.End = e+2 > last
			source.Append(entry)
		}
	}()
	next := topology.Epoch(1)
	for next <= last {
		e, ok := c.Next()
		if !ok {
			<-wake
			continue
		}
		if e.First != next || e.Last != next+1 || len(e.Rows) != 1 || e.Rows[0].Batch.Cols[0].Int64s[0] != int64(next) || e.End != (e.Last >= last) {
			t.Fatalf("got %+v, want epoch %d", e, next)
		}
		c.Ack(e.Last)
		next = e.Last + 1
	}
	stop()
}

// TestWhoHasNoCreditLeftStillHearsWhatIsDurable: a consumer that has had the end acknowledges nothing more.
func TestWhoHasNoCreditLeftStillHearsWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := pair(t)
		source := NewLog(1, roomy, false, nil, nil)
		a := NewLink(ca, LinkConfig{Cluster: 5, Self: "a", Peer: "b", Credit: 1, Resolve: func(Stream) (*Log, error) { return source, nil }})
		b := NewLink(cb, LinkConfig{Cluster: 5, Self: "b", Peer: "a", Credit: 1, Resolve: func(Stream) (*Log, error) { return nil, errors.New("nothing here") }})
		stop := running(t, a, b)
		c := b.Subscribe(edge(), 1, 0, true, oneColumn, func() {})
		source.SetDurable(40)
		entry := full(1, 42, 1)
		entry.End = true
		source.Append(entry)
		synctest.Wait()
		if e, ok := c.Next(); !ok || !e.End || c.Durable() != 40 {
			t.Errorf("got %+v %v, durable %d", e, ok, c.Durable())
		}
		source.SetDurable(topology.EpochForever)
		synctest.Wait()
		if c.Durable() != topology.EpochForever {
			t.Errorf("durable %d", c.Durable())
		}
		stop()
	})
}

// TestADurableMarkSaysNothingOfKeyGroupsThatWereGivenAway: their new owner seals them, and what he has sealed may be on no disk yet.
func TestADurableMarkSaysNothingOfKeyGroupsThatWereGivenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, cb := pair(t)
		source := NewLog(1, roomy, true, nil, nil)
		a := NewLink(ca, LinkConfig{Cluster: 5, Self: "a", Peer: "b", Credit: 1 << 20, Resolve: func(Stream) (*Log, error) { return source, nil }})
		b := NewLink(cb, LinkConfig{Cluster: 5, Self: "b", Peer: "a", Credit: 1 << 20, Resolve: func(Stream) (*Log, error) { return nil, errors.New("nothing here") }})
		stop := running(t, a, b)
		whole, half := edge(), edge()
		whole.Producer, half.Producer = topology.Range{From: 0, To: 16}, topology.Range{From: 0, To: 8}
		cursors := map[topology.Range][]*Cursor{} // here, and on the other node
		for _, e := range []Edge{whole, half} {
			here, err := source.Subscribe(uint64(e.Producer.To), 1, true, nil)
			if err != nil {
				t.Fatal(err)
			}
			here.Of(e.Producer)
			cursors[e.Producer] = []*Cursor{here, b.Subscribe(e, 1, 0, true, oneColumn, func() {})}
		}
		durable := func(of Edge, want ...topology.Epoch) {
			t.Helper()
			synctest.Wait()
			for i, c := range cursors[of.Producer] {
				for _, ok := c.Next(); ok; _, ok = c.Next() {
				}
				if c.Durable() != want[i] {
					t.Errorf("cursor %d of %v: durable up to %d, want %d", i, of.Producer, c.Durable(), want[i])
				}
			}
		}
		source.Restart(1, Stand{Range: whole.Producer})
		source.Append(Entry{First: 1, Last: 4, Range: whole.Producer})
		source.SetDurable(3)
		durable(whole, 3, 3)
		source.Narrow(half.Producer)
		source.SetDurable(6)
		durable(whole, DurableUnknown, 3)
		durable(half, 6, 6)
		source.Append(Entry{First: 5, Last: 6, Range: half.Producer, Narrowed: true})
		source.Append(Entry{First: 7, Last: 7, Range: half.Producer, End: true})
		source.SetDurable(topology.EpochForever)
		durable(whole, DurableUnknown, 3)
		durable(half, topology.EpochForever, topology.EpochForever)
		stop()
	})
}

// raw plays a peer that writes what it likes.
func raw(t *testing.T, messages ...[]byte) error {
	t.Helper()
	ca, cb := pair(t)
	l := NewLink(ca, LinkConfig{Cluster: 5, Self: "a", Peer: "b", Credit: 1 << 20, Resolve: func(Stream) (*Log, error) { return nil, errors.New("no such partition") }})
	c := l.Subscribe(edge(), 1, 0, true, oneColumn, nil)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { done <- l.Run(ctx) }()
	for _, m := range messages {
		if err := cb.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := cb.Flush(); err != nil {
		t.Fatal(err)
	}
	err := <-done
	cb.Close()
	if entry, ok := c.Next(); ok && len(entry.Rows) > 1 {
		t.Errorf("rows were applied twice: %+v", entry)
	}
	return err
}

// TestRowsCountOnlyWithTheEndMarkerOfTheirEpochAndOnce is invariant 9 at the place where rows arrive.
func TestRowsCountOnlyWithTheEndMarkerOfTheirEpochAndOnce(t *testing.T) {
	var enc FrameEncoder
	hello := (&Hello{Cluster: 5, Node: "b"}).Append(nil)
	frame := func(e topology.Epoch) []byte {
		b, err := enc.AppendFrame(nil, &Frame{Header: FrameHeader{Subscription: 1, Stream: edge().Stream, Producer: edge().Producer, Consumer: edge().Consumer, First: e, Last: e}, Rows: rowsFor(1, 7)}, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	marker := func(first, last topology.Epoch) []byte {
		return (&Markers{Query: testQuery, List: []Marker{{Subscription: 1, Stage: 1, Producer: edge().Producer, First: first, Last: last}}}).Append(nil)
	}
	bye := (&Goodbye{Reason: "test"}).Append(nil)
	for _, c := range []struct {
		name     string
		messages [][]byte
		want     string // of the error; "" none
	}{
		{"in order", [][]byte{hello, frame(1), marker(1, 1), marker(2, 5), bye}, ""},
		{"marker again", [][]byte{hello, frame(1), marker(1, 1), frame(1), marker(1, 1), bye}, "epoch 2 was next"},
		{"a gap", [][]byte{hello, marker(2, 2), bye}, "epoch 1 was next"},
		{"a frame of another epoch than its marker", [][]byte{hello, frame(3), marker(1, 1), bye}, "epoch 3"},
		{"no Hello", [][]byte{marker(1, 1)}, "before Hello"},
		{"another cluster", [][]byte{(&Hello{Cluster: 6, Node: "b"}).Append(nil)}, "is of cluster"},
		{"another node", [][]byte{(&Hello{Cluster: 5, Node: "c"}).Append(nil)}, "node c"},
		{"a subscription to nothing", [][]byte{hello, (&Subscribe{Edge: edge(), From: 1}).Append(nil)}, "no such partition"},
		{"a failure told", [][]byte{hello, (&Failure{Text: "disk is full"}).Append(nil)}, "disk is full"},
		{"noise", [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n")}, "not a seepnode dataplane message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := raw(t, c.messages...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
		})
	}
}
