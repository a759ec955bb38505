package dataplane

import (
	"encoding/binary"
	"math"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Hello opens a connection, from both sides.
type Hello struct {
	Cluster uint64
	Node    topology.NodeID
	Boot    topology.BootID
}

// Append appends h as a message.
func (h *Hello) Append(dst []byte) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint64(begin(dst, TypeHello), h.Cluster)
	dst = appendText(dst, string(h.Node))
	return finish(binary.LittleEndian.AppendUint64(dst, uint64(h.Boot)), at)
}

// Decode reads the payload of a Hello.
func (h *Hello) Decode(payload []byte) error {
	r := reader{src: payload}
	*h = Hello{Cluster: r.fixed64("cluster"), Node: topology.NodeID(r.text("node")), Boot: topology.BootID(r.fixed64("boot id"))}
	return r.end(TypeHello)
}

// Stream names one output of one instance of a partition of a query's stage.
type Stream struct {
	Query    topology.QueryID
	Stage    topology.StageID
	Output   uint16
	Instance uint64
}

func appendStream(dst []byte, s Stream) []byte {
	dst = appendQuery(dst, s.Query)
	return binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(dst, uint64(s.Stage)), uint64(s.Output)), s.Instance)
}

func (r *reader) stream() Stream {
	return Stream{Query: r.query(), Stage: topology.StageID(r.uint("stage", math.MaxUint16)), Output: uint16(r.uint("output", math.MaxUint16)),
		Instance: r.uint("instance", math.MaxUint64)}
}

// Edge names one subscription: what a range of a consuming stage takes from one producing partition of a stream.
type Edge struct {
	ID            uint32 // the subscriber's number for it, another one in each subscription over a connection
	Stream        Stream
	Producer      topology.Range // of the stream's stage
	ConsumerStage topology.StageID
	Consumer      topology.Range // of ConsumerStage
	// ConsumerInstance is the consuming partition's.
	ConsumerInstance uint64
}

func appendEdge(dst []byte, e Edge) []byte {
	dst = appendKeyGroups(appendStream(binary.AppendUvarint(dst, uint64(e.ID)), e.Stream), e.Producer)
	dst = appendKeyGroups(binary.AppendUvarint(dst, uint64(e.ConsumerStage)), e.Consumer)
	return binary.AppendUvarint(dst, e.ConsumerInstance)
}

func (r *reader) edge() Edge {
	return Edge{ID: uint32(r.uint("subscription", math.MaxUint32)), Stream: r.stream(), Producer: r.keyGroups("producer range"),
		ConsumerStage: topology.StageID(r.uint("consumer stage", math.MaxUint16)), Consumer: r.keyGroups("consumer range"),
		ConsumerInstance: r.uint("consumer instance", math.MaxUint64)}
}

// Subscribe asks for the rows and markers of an edge from an epoch on. The answer is frames and markers, or Trimmed.
type Subscribe struct {
	Edge   Edge
	From   topology.Epoch
	Active bool  // an active partition asks: it may hold the producer back
	Credit int64 // bytes of messages that may be sent before the first Ack
	// Consumed is up to where the consumer has taken epochs of the stream from former instances of the producer; 0: it has not.
	Consumed topology.Epoch
}

// Append appends s as a message.
func (s *Subscribe) Append(dst []byte) []byte {
	at := len(dst)
	dst = appendEdge(begin(dst, TypeSubscribe), s.Edge)
	dst = binary.AppendUvarint(dst, uint64(s.From))
	dst = append(dst, flag(s.Active, 1))
	dst = binary.AppendUvarint(dst, uint64(s.Credit))
	return finish(binary.AppendUvarint(dst, uint64(s.Consumed)), at)
}

// Decode reads the payload of a Subscribe.
func (s *Subscribe) Decode(payload []byte) error {
	r := reader{src: payload}
	*s = Subscribe{Edge: r.edge(), From: r.epoch("from epoch"), Active: r.flags("active", 1) != 0, Credit: int64(r.uint("credit", math.MaxInt64)), Consumed: r.epoch("consumed epoch")}
	return r.end(TypeSubscribe)
}

// Subscribed answers a Subscribe before the first frame or marker of the edge: how the stream stood before the first epoch asked for.
type Subscribed struct {
	Edge   Edge
	Before Stand
}

// Append appends s as a message.
func (s *Subscribed) Append(dst []byte) []byte {
	at := len(dst)
	dst = binary.AppendVarint(appendEdge(begin(dst, TypeSubscribed), s.Edge), s.Before.Watermark)
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(s.Before.Range.From)), uint64(s.Before.Range.To))
	return finish(binary.LittleEndian.AppendUint64(append(dst, flag(s.Before.Idle, 1)), s.Before.ChainSum), at)
}

// Decode reads the payload of a Subscribed.
func (s *Subscribed) Decode(payload []byte) error {
	r := reader{src: payload}
	*s = Subscribed{Edge: r.edge(), Before: Stand{Watermark: r.int("watermark"), Range: topology.Range{From: topology.KeyGroup(r.uint("first key group", topology.MaxKeyGroups)),
		To: topology.KeyGroup(r.uint("end of key groups", topology.MaxKeyGroups))}, Idle: r.flags("idle", 1) != 0, ChainSum: r.fixed64("chain sum")}}
	return r.end(TypeSubscribed)
}

// Unsubscribe ends a subscription: its consumer is gone or takes from elsewhere.
type Unsubscribe struct{ Subscription uint32 }

// Append appends u as a message.
func (u *Unsubscribe) Append(dst []byte) []byte {
	at := len(dst)
	return finish(binary.AppendUvarint(begin(dst, TypeUnsubscribe), uint64(u.Subscription)), at)
}

// Decode reads the payload of an Unsubscribe.
func (u *Unsubscribe) Decode(payload []byte) error {
	r := reader{src: payload}
	*u = Unsubscribe{Subscription: uint32(r.uint("subscription", math.MaxUint32))}
	return r.end(TypeUnsubscribe)
}

// Durable says that all seals up to an epoch are fsynced, when no marker is due that says so.
type Durable struct {
	Subscription uint32
	Epoch        topology.Epoch
}

// Append appends d as a message.
func (d *Durable) Append(dst []byte) []byte {
	at := len(dst)
	return finish(binary.AppendVarint(binary.AppendUvarint(begin(dst, TypeDurable), uint64(d.Subscription)), int64(d.Epoch)), at)
}

// Decode reads the payload of a Durable.
func (d *Durable) Decode(payload []byte) error {
	r := reader{src: payload}
	*d = Durable{Subscription: uint32(r.uint("subscription", math.MaxUint32)), Epoch: topology.Epoch(r.int("durable epoch"))}
	return r.end(TypeDurable)
}

// Released tells a peer that some source of a query has a released seal of an epoch: sources without rows seal through it, and shadows
// that have taken it have caught up.
type Released struct {
	Query topology.QueryID
	Epoch topology.Epoch
}

// Append appends m as a message.
func (m *Released) Append(dst []byte) []byte {
	at := len(dst)
	return finish(binary.AppendUvarint(appendQuery(begin(dst, TypeReleased), m.Query), uint64(m.Epoch)), at)
}

// Decode reads the payload of a Released.
func (m *Released) Decode(payload []byte) error {
	r := reader{src: payload}
	*m = Released{Query: r.query(), Epoch: r.epoch("released epoch")}
	return r.end(TypeReleased)
}

// Trimmed answers a Subscribe from below the output log's floor: the asker restores anew.
type Trimmed struct {
	Edge  Edge
	From  topology.Epoch // the epoch asked for
	Floor topology.Epoch // the first epoch that can be had
}

// Append appends t as a message.
func (t *Trimmed) Append(dst []byte) []byte {
	at := len(dst)
	dst = appendEdge(begin(dst, TypeTrimmed), t.Edge)
	dst = binary.AppendUvarint(dst, uint64(t.From))
	return finish(binary.AppendUvarint(dst, uint64(t.Floor)), at)
}

// Decode reads the payload of a Trimmed.
func (t *Trimmed) Decode(payload []byte) error {
	r := reader{src: payload}
	*t = Trimmed{Edge: r.edge(), From: r.epoch("from epoch"), Floor: r.epoch("floor")}
	return r.end(TypeTrimmed)
}

// Beyond answers a Subscribe of a consumer that has taken epochs which the producer seals anew; see BeyondError.
type Beyond struct {
	Subscription  uint32
	Consumed, End topology.Epoch
}

// Append appends b as a message.
func (b *Beyond) Append(dst []byte) []byte {
	at := len(dst)
	dst = binary.AppendUvarint(begin(dst, TypeBeyond), uint64(b.Subscription))
	return finish(binary.AppendUvarint(binary.AppendUvarint(dst, uint64(b.Consumed)), uint64(b.End)), at)
}

// Decode reads the payload of a Beyond.
func (b *Beyond) Decode(payload []byte) error {
	r := reader{src: payload}
	*b = Beyond{Subscription: uint32(r.uint("subscription", math.MaxUint32)), Consumed: r.epoch("consumed epoch"), End: r.epoch("end of the seals")}
	return r.end(TypeBeyond)
}

// Ack gives credit back and says how far the consumer is.
type Ack struct {
	Edge     Edge
	Position topology.Epoch // all epochs up to this one are applied
	Needs    topology.Epoch // the epoch needed next, which may be sent whatever the credit; it is Position+1 or later
	Bytes    uint64         // bytes of this edge's messages consumed since the subscription began
}

// Append appends a as a message.
func (a *Ack) Append(dst []byte) []byte {
	at := len(dst)
	dst = appendEdge(begin(dst, TypeAck), a.Edge)
	dst = binary.AppendUvarint(dst, uint64(a.Position))
	dst = binary.AppendUvarint(dst, uint64(a.Needs))
	return finish(binary.AppendUvarint(dst, a.Bytes), at)
}

// Decode reads the payload of an Ack.
func (a *Ack) Decode(payload []byte) error {
	r := reader{src: payload}
	*a = Ack{Edge: r.edge(), Position: r.epoch("position"), Needs: r.epoch("epoch needed"), Bytes: r.uint("bytes", math.MaxUint64)}
	return r.end(TypeAck)
}

// Goodbye ends a connection on purpose: its end is no sign of a failure.
type Goodbye struct{ Reason string }

// Append appends g as a message.
func (g *Goodbye) Append(dst []byte) []byte {
	at := len(dst)
	return finish(appendText(begin(dst, TypeGoodbye), g.Reason), at)
}

// Decode reads the payload of a Goodbye.
func (g *Goodbye) Decode(payload []byte) error {
	r := reader{src: payload}
	*g = Goodbye{Reason: r.text("reason")}
	return r.end(TypeGoodbye)
}

// Failure tells the peer why this side gives the connection up.
type Failure struct{ Text string }

// Append appends f as a message.
func (f *Failure) Append(dst []byte) []byte {
	at := len(dst)
	return finish(appendText(begin(dst, TypeFailure), f.Text), at)
}

// Decode reads the payload of a Failure.
func (f *Failure) Decode(payload []byte) error {
	r := reader{src: payload}
	*f = Failure{Text: r.text("text")}
	return r.end(TypeFailure)
}

func flag(on bool, bit byte) byte {
	if on {
		return bit
	}
	return 0
}

func (r *reader) flags(what string, known byte) byte {
	x := r.byte(what)
	if x&^known != 0 {
		r.fail("%s has unknown flags %#x", what, x)
		return 0
	}
	return x
}
