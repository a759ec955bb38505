package vault

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Protocol is the version of the messages between Client and Serve. Nodes of different versions refuse each other.
const Protocol = 1

// MessageBytesMax is the most bytes of a message, its header included: what the transport's default takes.
const MessageBytesMax = 64 << 20

// A message is
//
//	'S' 'V' | protocol version 1 byte | type 1 byte | bytes of payload 4, little-endian | CRC32C 4, little-endian | payload
//
// with the CRC over the first 8 bytes and the payload; a node's dataplane messages look the same but for 'S' 'D'. Each
// payload but Hello's begins with the number that the client gave its request.
const messageHeaderBytes = 12

type messageType uint8

const (
	typeHello    messageType = 1
	typePutDelta messageType = 2
	typePutSeal  messageType = 3
	typeAdopt    messageType = 4
	typeFence    messageType = 5
	typeChain    messageType = 6
	typeTrim     messageType = 7
	typeDrop     messageType = 8
	typeStatus   messageType = 9
	typeCredit   messageType = 10
	typeCancel   messageType = 11

	typeHeld     messageType = 20
	typeDone     messageType = 21
	typeRefused  messageType = 22
	typeDelta    messageType = 23
	typeSeal     messageType = 24
	typeFenced   messageType = 25
	typeStanding messageType = 26
)

var messageNames = [...]string{1: "Hello", 2: "PutDelta", 3: "PutSeal", 4: "Adopt", 5: "Fence", 6: "Chain", 7: "Trim", 8: "Drop", 9: "Status", 10: "Credit", 11: "Cancel",
	20: "Held", 21: "Done", 22: "Refused", 23: "Delta", 24: "Seal", 25: "Fenced", 26: "Standing"}

func (t messageType) String() string {
	if int(t) < len(messageNames) && messageNames[t] != "" {
		return messageNames[t]
	}
	return fmt.Sprintf("message type %d", uint8(t))
}

// message is any message, decoded; each type uses the fields that its encoding below names. Payloads point into what was
// decoded.
type message struct {
	typ     messageType
	id      uint64
	node    topology.NodeID
	boot    topology.BootID
	delta   Delta
	put     SealPut // Query, Source and Term also of Adopt and Fence; Seal also of a part
	seals   []Seal
	begin   bool
	end     bool
	start   topology.Epoch
	chain   ChainRequest // Query, Stage and Range also of Status
	through topology.Epoch
	credit  uint64
	wants   bool
	refusal refusal
	state   LogState
	held    []Held
}

func (m *message) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 'S', 'V', Protocol, byte(m.typ), 0, 0, 0, 0, 0, 0, 0, 0)
	if m.typ == typeHello {
		dst = binary.LittleEndian.AppendUint64(appendBytes(dst, m.node), uint64(m.boot))
	} else {
		dst = m.appendBody(appendUint(dst, m.id))
	}
	b := dst[at:]
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-messageHeaderBytes))
	binary.LittleEndian.PutUint32(b[8:], messageChecksum(b[:8], b[messageHeaderBytes:]))
	return dst
}

func messageChecksum(header, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, payload)
}

func (m *message) appendBody(dst []byte) []byte {
	switch m.typ {
	case typePutDelta, typeDelta:
		d := &m.delta
		dst = appendUint(appendUint(appendQuery(dst, d.Query), uint64(d.Stage)), uint64(d.KeyGroup))
		return appendPayload(append(appendEpochs(dst, d.From, d.To), flag(d.Base)), d.Data)
	case typePutSeal:
		return appendSealBody(appendOwner(dst, &m.put), &m.put.Seal)
	case typeAdopt:
		dst = appendUint(appendOwner(dst, &m.put), uint64(m.start))
		dst = appendUint(append(dst, flag(m.begin)|flag(m.end)<<1), uint64(len(m.seals)))
		for i := range m.seals {
			dst = appendSealBody(dst, &m.seals[i])
		}
	case typeFence:
		return appendUint(appendOwner(dst, &m.put), m.credit)
	case typeChain, typeStatus:
		c := &m.chain
		dst = appendKeyGroups(appendUint(appendQuery(dst, c.Query), uint64(c.Stage)), c.Range)
		if m.typ == typeStatus {
			return appendUint(dst, uint64(c.Through))
		}
		dst = appendUint(append(appendEpochs(dst, c.After, c.Through), flag(c.OrBefore)), m.credit)
	case typeTrim:
		return appendUint(appendQuery(dst, m.chain.Query), uint64(m.through))
	case typeDrop:
		return appendQuery(dst, m.chain.Query)
	case typeCredit:
		return appendUint(dst, m.credit)
	case typeDone:
		return append(dst, flag(m.wants))
	case typeRefused:
		return m.refusal.append(dst)
	case typeSeal:
		return appendSealBody(dst, &m.put.Seal)
	case typeFenced:
		s := &m.state
		dst = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, uint64(s.Boot)), uint64(s.LogBoot))
		dst = append(appendUint(dst, s.JoinTerm), flag(s.Joined))
		return appendUint(appendUint(appendUint(dst, uint64(s.Trim)), uint64(s.Next)), uint64(s.Seals))
	case typeStanding:
		dst = appendUint(dst, uint64(len(m.held)))
		for i := range m.held {
			h := &m.held[i]
			dst = appendUint(appendEpochs(appendUint(dst, uint64(h.KeyGroup)), h.Floor, h.Through), uint64(h.Bytes))
			dst = appendUint(append(appendUint(dst, uint64(h.Deltas)), flag(h.WantsBase)), uint64(h.At))
		}
	}
	return dst
}

func appendOwner(dst []byte, p *SealPut) []byte {
	return appendUint(appendBytes(appendQuery(dst, p.Query), p.Source), p.Term)
}

func appendSealBody(dst []byte, s *Seal) []byte {
	return appendPayload(appendEpochs(dst, s.First, s.Last), s.Data)
}

// decodeMessage takes the first message off src, checked, and returns the bytes behind it.
func decodeMessage(src []byte, m *message) (rest []byte, err error) {
	if len(src) < messageHeaderBytes {
		return nil, fmt.Errorf("%w: message of %d bytes, a header has %d", ErrMalformed, len(src), messageHeaderBytes)
	}
	if src[0] != 'S' || src[1] != 'V' {
		return nil, fmt.Errorf("%w: a message of a vault does not start with %q", ErrMalformed, src[:2])
	}
	if src[2] != Protocol {
		return nil, fmt.Errorf("%w: peer speaks vault protocol %d, this node %d: upgrade the older one", ErrMalformed, src[2], Protocol)
	}
	n := binary.LittleEndian.Uint32(src[4:])
	if uint64(n) > uint64(len(src)-messageHeaderBytes) || n > MessageBytesMax-messageHeaderBytes {
		return nil, fmt.Errorf("%w: message with a payload of %d bytes, %d are there", ErrMalformed, n, len(src)-messageHeaderBytes)
	}
	end := messageHeaderBytes + int(n)
	payload := src[messageHeaderBytes:end:end]
	if want, got := binary.LittleEndian.Uint32(src[8:]), messageChecksum(src[:8], payload); got != want {
		return nil, fmt.Errorf("%w: message has CRC32C %08x, its header says %08x", ErrMalformed, got, want)
	}
	return src[end:], m.parse(src[:end:end])
}

// parse takes a message apart that has been checked.
func (m *message) parse(whole []byte) error {
	*m = message{typ: messageType(whole[3])}
	r := reader{src: whole[messageHeaderBytes:]}
	if m.typ == typeHello {
		m.node = topology.NodeID(r.bytes("node", headerTextMax))
		m.boot = topology.BootID(r.fixed64("boot id"))
	} else {
		m.id = r.uint("number of a request", math.MaxUint64)
		m.decodeBody(&r)
	}
	return r.end(m.typ)
}

func (m *message) decodeBody(r *reader) {
	switch m.typ {
	case typePutDelta, typeDelta:
		d := &m.delta
		d.Query, d.Stage, d.KeyGroup = r.query(), r.stage(), r.keyGroup()
		d.Block = BlockOf(d.KeyGroup)
		d.From, d.To = r.epochs()
		d.Base = r.flags("delta flags", 1) == 1
		d.Data = r.payload()
	case typePutSeal:
		m.owner(r)
		m.put.Seal = r.seal()
	case typeAdopt:
		m.owner(r)
		m.start = r.epoch("first epoch")
		flags := r.flags("adoption flags", 3)
		m.begin, m.end = flags&1 != 0, flags&2 != 0
		n := r.uint("number of seals", min(AdoptSealsMax, uint64(len(r.src)/sealBytesMin)))
		m.seals = make([]Seal, 0, n)
		for range n {
			m.seals = append(m.seals, r.seal())
		}
	case typeFence:
		m.owner(r)
		m.credit = r.uint("credit", math.MaxInt64)
	case typeChain, typeStatus:
		c := &m.chain
		c.Query, c.Stage, c.Range = r.query(), r.stage(), r.keyGroups()
		if m.typ == typeStatus {
			c.Through = r.epoch("epoch asked for")
			return
		}
		c.After, c.Through = r.epochs()
		c.OrBefore = r.flags("chain flags", 1) == 1
		m.credit = r.uint("credit", math.MaxInt64)
	case typeTrim:
		m.chain.Query, m.through = r.query(), r.epoch("trim point")
	case typeDrop:
		m.chain.Query = r.query()
	case typeCredit:
		m.credit = r.uint("credit", math.MaxInt64)
	case typeCancel, typeHeld:
	case typeDone:
		m.wants = r.flags("flags", 1) == 1
	case typeRefused:
		m.refusal.decode(r)
	case typeSeal:
		m.put.Seal = r.seal()
	case typeFenced:
		s := &m.state
		s.Boot, s.LogBoot = topology.BootID(r.fixed64("boot id")), topology.BootID(r.fixed64("boot id of the log"))
		s.JoinTerm, s.Joined = r.uint("term", math.MaxUint64), r.flags("log flags", 1) == 1
		s.Trim, s.Next, s.Seals = r.epoch("trim point"), r.epoch("next epoch"), int(r.uint("number of seals", math.MaxInt32))
	case typeStanding:
		m.decodeHeld(r)
	default:
		r.fail("it is not known to this version")
	}
}

// AdoptSealsMax is the most seals of one Adoption.
const AdoptSealsMax = 1 << 18

const (
	sealBytesMin = 5 // of an encoded seal
	heldBytesMin = 7 // of an encoded Held
)

func (m *message) decodeHeld(r *reader) {
	n := r.uint("number of key groups", min(topology.MaxKeyGroups, uint64(len(r.src)/heldBytesMin)))
	m.held = make([]Held, 0, n)
	for range n {
		h := Held{KeyGroup: r.keyGroup()}
		h.Floor, h.Through = r.epochs()
		h.Bytes = int64(r.uint("bytes", math.MaxInt64))
		h.Deltas = int(r.uint("number of deltas", math.MaxInt32))
		h.WantsBase = r.flags("key group flags", 1) == 1
		h.At = r.epoch("epoch held")
		m.held = append(m.held, h)
	}
}

func (m *message) owner(r *reader) {
	m.put.Query, m.put.Source, m.put.Term = r.query(), r.source(), r.uint("term", math.MaxUint64)
}

func (r *reader) seal() (s Seal) {
	s.First, s.Last = r.epochs()
	s.Data = r.payload()
	return s
}

// Codes of refusals: the numbers are the wire's.
const (
	refusedOther     = 1
	refusedClosed    = 2
	refusedDropped   = 3
	refusedMalformed = 4
	refusedTooLarge  = 5
	refusedBusy      = 6
	refusedNeedBase  = 7
	refusedNoChain   = 8
	refusedFenced    = 9
	refusedNotJoined = 10
	refusedGap       = 11
	refusedConflict  = 12
	refusedDiskFull  = 13
	refusedFailed    = 14
	refusedCorrupt   = 15
)

const refusalTextMax = 4 << 10

// refusal is an error on the wire: its code, its text, and the fields of the typed ones in the order of their declaration.
type refusal struct {
	code     uint64
	text     string
	query    topology.QueryID
	stage    topology.StageID
	keyGroup topology.KeyGroup
	source   SourceKey
	numbers  [4]uint64
}

func (x *refusal) append(dst []byte) []byte {
	dst = appendBytes(appendUint(dst, x.code), x.text)
	dst = appendUint(appendUint(appendQuery(dst, x.query), uint64(x.stage)), uint64(x.keyGroup))
	dst = appendBytes(dst, x.source)
	for _, n := range x.numbers {
		dst = appendUint(dst, n)
	}
	return dst
}

func (x *refusal) decode(r *reader) {
	x.code, x.text = r.uint("code", math.MaxUint64), string(r.bytes("text", refusalTextMax))
	x.query, x.stage, x.keyGroup, x.source = r.query(), r.stage(), r.keyGroup(), r.source()
	for i := range x.numbers {
		x.numbers[i] = r.uint("number", math.MaxUint64)
	}
}

// plain are the errors that are told by their code alone.
var plain = map[uint64]error{refusedClosed: ErrClosed, refusedDropped: ErrDropped, refusedMalformed: ErrMalformed, refusedTooLarge: ErrTooLarge, refusedBusy: ErrBusy}

func refusalOf(err error) (x refusal) {
	x.code, x.text = refusedOther, err.Error()
	x.text = x.text[:min(len(x.text), refusalTextMax)]
	var base *NeedBaseError
	var chain *NoChainError
	var fenced *FencedError
	var joined *NotJoinedError
	var gap *SealGapError
	var conflict *SealConflictError
	var full *DiskFullError
	var failed *FailedError
	var corrupt *CorruptError
	switch {
	case errors.As(err, &base):
		x.code, x.query, x.stage, x.keyGroup, x.numbers = refusedNeedBase, base.Query, base.Stage, base.KeyGroup, [4]uint64{uint64(base.From), uint64(base.Held)}
	case errors.As(err, &chain):
		x.code, x.query, x.stage, x.keyGroup, x.numbers = refusedNoChain, chain.Query, chain.Stage, chain.KeyGroup, [4]uint64{uint64(chain.Want), uint64(chain.Held)}
	case errors.As(err, &fenced):
		x.code, x.query, x.source, x.numbers = refusedFenced, fenced.Query, fenced.Source, [4]uint64{fenced.Term, fenced.Promise}
	case errors.As(err, &joined):
		x.code, x.query, x.source = refusedNotJoined, joined.Query, joined.Source
		x.numbers = [4]uint64{joined.Term, uint64(joined.Boot), uint64(joined.LogBoot), joined.JoinTerm}
	case errors.As(err, &gap):
		x.code, x.query, x.source, x.numbers = refusedGap, gap.Query, gap.Source, [4]uint64{uint64(gap.First), uint64(gap.Next)}
	case errors.As(err, &conflict):
		x.code, x.query, x.source, x.numbers = refusedConflict, conflict.Query, conflict.Source, [4]uint64{conflict.Term, uint64(conflict.Epoch)}
	case errors.As(err, &full):
		x.code, x.text, x.numbers = refusedDiskFull, full.Path, [4]uint64{full.Free}
	case errors.As(err, &failed):
		x.code = refusedFailed
	case errors.As(err, &corrupt):
		x.code, x.numbers = refusedCorrupt, [4]uint64{uint64(corrupt.Offset)}
	default:
		for code, e := range plain {
			if errors.Is(err, e) {
				x.code = code
			}
		}
	}
	return x
}

// RemoteError is an error of a vault on another node that needs no type of its own. It unwraps to ErrClosed, ErrDropped,
// ErrMalformed, ErrTooLarge or ErrBusy where the vault's error did.
type RemoteError struct {
	Node topology.NodeID
	Text string
	err  error
}

func (e *RemoteError) Error() string { return fmt.Sprintf("vault of node %s: %s", e.Node, e.Text) }

func (e *RemoteError) Unwrap() error { return e.err }

// err makes of a refusal the error that the vault had.
func (x *refusal) err(node topology.NodeID) error {
	n := x.numbers
	epoch := func(i int) topology.Epoch { return topology.Epoch(n[i] & math.MaxInt64) }
	switch x.code {
	case refusedNeedBase:
		return &NeedBaseError{x.query, x.stage, x.keyGroup, epoch(0), epoch(1)}
	case refusedNoChain:
		return &NoChainError{x.query, x.stage, x.keyGroup, epoch(0), epoch(1)}
	case refusedFenced:
		return &FencedError{x.query, x.source, n[0], n[1]}
	case refusedNotJoined:
		return &NotJoinedError{x.query, x.source, n[0], topology.BootID(n[1]), topology.BootID(n[2]), n[3]}
	case refusedGap:
		return &SealGapError{x.query, x.source, epoch(0), epoch(1)}
	case refusedConflict:
		return &SealConflictError{x.query, x.source, n[0], epoch(1)}
	case refusedDiskFull:
		return &DiskFullError{Path: string(node) + ":" + x.text, Free: n[0], Err: errors.New("no room on another node")}
	case refusedFailed:
		return &FailedError{Path: "the log of node " + string(node), Err: errors.New(x.text)}
	case refusedCorrupt:
		return &CorruptError{File: "the log of node " + string(node), Offset: int64(n[0] & math.MaxInt64), What: x.text}
	}
	return &RemoteError{node, x.text, plain[x.code]}
}
