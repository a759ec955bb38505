package dataplane

import (
	"encoding/binary"
	"math"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Marker says that the rows of a stream's epochs up to Last from one producer partition are complete: what came before it
// counts now. Epochs First..Last-1 of the range are empty with an unchanged watermark; all belongs to Last.
type Marker struct {
	Subscription uint32 // Edge.ID
	Stage        topology.StageID
	Output       uint16
	Producer     topology.Range // the producer's key groups then, of which ChainSum is
	First        topology.Epoch
	Last         topology.Epoch
	Watermark    int64 // milliseconds after Last, topology.WatermarkNone and WatermarkEnd included
	Idle         bool  // the producer does not count for the stage's watermark
	End          bool  // nothing follows Last
	ChainSum     uint64
	Durable      topology.Epoch // DurableUnknown included
	// Narrowed and ChainBefore are the entry's.
	Narrowed    bool
	ChainBefore uint64
}

const (
	markerIdle = 1
	markerEnd  = 2
	// markerNarrowed is followed by the chain sum before.
	markerNarrowed = 4

	// The fewest bytes that a marker takes.
	markerBytesMin = 17
)

// Markers is what is due of one query for one peer at one time.
type Markers struct {
	Query topology.QueryID
	List  []Marker
}

// Append appends m as a message.
func (m *Markers) Append(dst []byte) []byte {
	at := len(dst)
	dst = appendQuery(begin(dst, TypeMarkers), m.Query)
	dst = binary.AppendUvarint(dst, uint64(len(m.List)))
	for i := range m.List {
		x := &m.List[i]
		dst = binary.AppendUvarint(dst, uint64(x.Subscription))
		dst = binary.AppendUvarint(dst, uint64(x.Stage))
		dst = binary.AppendUvarint(dst, uint64(x.Output))
		dst = appendEpochs(appendKeyGroups(dst, x.Producer), x.First, x.Last)
		dst = binary.AppendVarint(dst, x.Watermark)
		dst = append(dst, flag(x.Idle, markerIdle)|flag(x.End, markerEnd)|flag(x.Narrowed, markerNarrowed))
		dst = binary.LittleEndian.AppendUint64(dst, x.ChainSum)
		if x.Narrowed {
			dst = binary.LittleEndian.AppendUint64(dst, x.ChainBefore)
		}
		dst = binary.AppendVarint(dst, int64(x.Durable))
	}
	return finish(dst, at)
}

// Decode reads the payload of Markers and reuses m.List.
func (m *Markers) Decode(payload []byte) error {
	r := reader{src: payload}
	m.Query = r.query()
	n := int(r.uint("number of markers", uint64(len(payload)/markerBytesMin)))
	m.List = m.List[:0]
	for i := 0; i < n && r.err == nil; i++ {
		x := Marker{Subscription: uint32(r.uint("subscription", math.MaxUint32)), Stage: topology.StageID(r.uint("stage", math.MaxUint16)), Output: uint16(r.uint("output", math.MaxUint16)), Producer: r.keyGroups("producer range")}
		x.First, x.Last = r.epochs()
		x.Watermark = r.int("watermark")
		flags := r.flags("marker", markerIdle|markerEnd|markerNarrowed)
		x.Idle, x.End, x.Narrowed = flags&markerIdle != 0, flags&markerEnd != 0, flags&markerNarrowed != 0
		x.ChainSum = r.fixed64("chain sum")
		if x.Narrowed {
			x.ChainBefore = r.fixed64("chain sum before")
		}
		x.Durable = topology.Epoch(r.int("durable epoch"))
		m.List = append(m.List, x)
	}
	return r.end(TypeMarkers)
}
