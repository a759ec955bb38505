package dataplane

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// interrupted calls at in the middle of the link's work on an entry: when it sends the n-th time and the entry's marker is still to come.
type interrupted struct {
	Conn
	n  int
	at func()
}

func (c *interrupted) Send(msg []byte) error {
	kind := MessageType(0)
	for rest := msg; len(rest) > 0; {
		m, after, err := Next(rest)
		if err != nil {
			return err
		}
		kind, rest = m.Type, after
	}
	if kind == TypeFrame {
		if c.n--; c.n == 0 {
			c.at()
		}
	}
	return c.Conn.Send(msg)
}

// wideEntry has rows of many key groups, each piece of them enough for a write of its own.
func wideEntry(e topology.Epoch) Entry {
	r, random := &Rows{Batch: batch.New(oneColumn)}, rand.New(rand.NewPCG(uint64(e), 0))
	for g := range 8 {
		r.Groups = append(r.Groups, topology.KeyGroup(g))
		r.Offsets = append(r.Offsets, uint32(r.Batch.Len()))
		for range 6000 {
			r.Batch.Cols[0].AppendInt64(random.Int64())
			r.Batch.EndRow(batch.Insert)
		}
	}
	r.Offsets = append(r.Offsets, uint32(r.Batch.Len()))
	r.Producers = append(r.Producers, ProducerRun{End: uint32(r.Batch.Len())})
	return Entry{First: e, Last: e, Rows: []*Rows{r, r}, Watermark: int64(e)}
}

// TestForgettingAQueryWhileItsRowsAreSentLeavesThemAlone: rows that the link is encoding do not go back to their pool, to be written again,
// before it is done with them; and after the link's end nothing of it holds the log back.
func TestForgettingAQueryWhileItsRowsAreSentLeavesThemAlone(t *testing.T) {
	const epochs = 4
	for n := range 4 {
		ca, cb := pair(t)
		returned := make(chan struct{}, 2*(epochs+1))
		source := NewLog(1, roomy, false, func(*Rows) { returned <- struct{}{} }, nil)
		for e := topology.Epoch(1); e <= epochs; e++ {
			source.Append(wideEntry(e))
		}
		other, err := source.Subscribe(0, 1, true, nil) // a consumer on the same node
		if err != nil {
			t.Fatal(err)
		}
		conn := &interrupted{Conn: ca, n: n + 1}
		a := NewLink(conn, LinkConfig{Cluster: 5, Self: "a", Peer: "b", Credit: 1, Resolve: func(Stream) (*Log, error) { return source, nil }})
		b := NewLink(cb, LinkConfig{Cluster: 5, Self: "b", Peer: "a", Credit: 1 << 30, Resolve: func(Stream) (*Log, error) { return nil, errors.New("nothing here") }})
		forgotten := make(chan struct{})
		conn.at = func() {
			defer close(forgotten)
			a.Forget(testQuery)
			other.Ack(epochs)
			if got := len(returned); got > 0 {
				t.Errorf("interruption %d: %d pieces went back to their pool while the link was sending them", n+1, got)
			}
		}
		b.Subscribe(edge(), 1, 0, true, oneColumn, nil)
		stop := running(t, a, b)
		<-forgotten
		stop()
		source.Append(wideEntry(epochs + 1))
		other.Ack(epochs + 1)
		if got := len(returned); got != cap(returned) {
			t.Errorf("interruption %d: %d pieces of %d are back in their pool after the link's end", n+1, got, cap(returned))
		}
	}
}
