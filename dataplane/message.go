package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Protocol is the version of all messages here. Nodes of different versions refuse each other.
const Protocol = 2

// MessageBytesMax is the most bytes of a message, its header included.
const MessageBytesMax = 64 << 20

// TextBytesMax is the most bytes of a text inside a message; longer ones are cut when sent.
const TextBytesMax = 4 << 10

// A message is
//
//	'S' 'D' | protocol version 1 byte | type 1 byte | bytes of payload 4, little-endian | CRC32C 4, little-endian | payload
//
// with the CRC over the first 8 bytes and the payload. In payloads integers are unsigned varints unless stated.
const headerBytes = 12

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// MessageType tells messages apart. The numbers are the wire's.
type MessageType uint8

const (
	TypeHello       MessageType = 1
	TypeSubscribe   MessageType = 2
	TypeTrimmed     MessageType = 3
	TypeFrame       MessageType = 4
	TypeMarkers     MessageType = 5
	TypeAck         MessageType = 6
	TypeGoodbye     MessageType = 7
	TypeFailure     MessageType = 8
	TypeSubscribed  MessageType = 9
	TypeUnsubscribe MessageType = 10
	TypeDurable     MessageType = 11
	TypeReleased    MessageType = 12
	TypeBeyond      MessageType = 13
)

var messageNames = [...]string{1: "Hello", 2: "Subscribe", 3: "Trimmed", 4: "Frame", 5: "Markers", 6: "Ack", 7: "Goodbye", 8: "Failure", 9: "Subscribed",
	10: "Unsubscribe", 11: "Durable", 12: "Released", 13: "Beyond"}

// String is the message's name.
func (t MessageType) String() string {
	if t >= 1 && int(t) < len(messageNames) {
		return messageNames[t]
	}
	return fmt.Sprintf("message type %d", uint8(t))
}

var (
	// ErrMagic is wrapped when the bytes are not a message of seepnode at all.
	ErrMagic = errors.New("not a seepnode dataplane message")
	// ErrChecksum is wrapped when a message was changed on its way.
	ErrChecksum = errors.New("checksum of dataplane message is wrong")
	// ErrTooLarge is wrapped when a message or a part of it exceeds its limit.
	ErrTooLarge = errors.New("dataplane message is too large")
	// ErrMalformed is wrapped when a message is cut or holds what no sender writes.
	ErrMalformed = errors.New("malformed dataplane message")
)

// VersionError says that the peer speaks another protocol.
type VersionError struct{ Peer, Own uint8 }

func (e *VersionError) Error() string {
	who := "the peer"
	if e.Peer > e.Own {
		who = "this node"
	}
	return fmt.Sprintf("peer speaks dataplane protocol %d, this node %d: upgrade %s", e.Peer, e.Own, who)
}

// Message is one message as it came: its type and its payload, which points into the buffer it was read from.
type Message struct {
	Type    MessageType
	Payload []byte
}

// Next takes the first message off src, checked, and returns the bytes behind it.
func Next(src []byte) (m Message, rest []byte, err error) {
	if len(src) < headerBytes {
		return m, nil, fmt.Errorf("%w: %d bytes, a header has %d", ErrMalformed, len(src), headerBytes)
	}
	if src[0] != 'S' || src[1] != 'D' {
		return m, nil, fmt.Errorf("%w: starts with %q", ErrMagic, src[:2])
	}
	if src[2] != Protocol {
		return m, nil, &VersionError{Peer: src[2], Own: Protocol}
	}
	n := binary.LittleEndian.Uint32(src[4:])
	if n > MessageBytesMax-headerBytes {
		return m, nil, fmt.Errorf("%w: payload of %d bytes, at most %d are accepted", ErrTooLarge, n, MessageBytesMax-headerBytes)
	}
	if uint64(n) > uint64(len(src)-headerBytes) {
		return m, nil, fmt.Errorf("%w: payload of %d bytes, %d are there", ErrMalformed, n, len(src)-headerBytes)
	}
	end := headerBytes + int(n)
	m = Message{Type: MessageType(src[3]), Payload: src[headerBytes:end:end]}
	if want, got := binary.LittleEndian.Uint32(src[8:]), checksum(src[:8], m.Payload); got != want {
		return Message{}, nil, fmt.Errorf("%w: %v of %d bytes has CRC32C %08x, its header says %08x", ErrChecksum, m.Type, n, got, want)
	}
	return m, src[end:], nil
}

func checksum(header, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, payload)
}

// begin appends a header to be completed by finish.
func begin(dst []byte, t MessageType) []byte {
	return append(dst, 'S', 'D', Protocol, byte(t), 0, 0, 0, 0, 0, 0, 0, 0)
}

// finish completes the message that starts at dst[at].
func finish(dst []byte, at int) []byte {
	m := dst[at:]
	binary.LittleEndian.PutUint32(m[4:], uint32(len(m)-headerBytes))
	binary.LittleEndian.PutUint32(m[8:], checksum(m[:8], m[headerBytes:]))
	return dst
}

// reader takes values off a payload and keeps the first error.
type reader struct {
	src []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	r.src = nil
}

func (r *reader) byte(what string) byte {
	if len(r.src) == 0 {
		r.fail("ends before its %s", what)
		return 0
	}
	x := r.src[0]
	r.src = r.src[1:]
	return x
}

func (r *reader) uint(what string, most uint64) uint64 {
	x, n := binary.Uvarint(r.src)
	if n <= 0 {
		r.fail("%s is cut or too long", what)
		return 0
	}
	if x > most {
		r.fail("%s is %d, at most %d is accepted", what, x, most)
		return 0
	}
	r.src = r.src[n:]
	return x
}

func (r *reader) int(what string) int64 {
	x, n := binary.Varint(r.src)
	if n <= 0 {
		r.fail("%s is cut or too long", what)
		return 0
	}
	r.src = r.src[n:]
	return x
}

func (r *reader) fixed64(what string) uint64 {
	if len(r.src) < 8 {
		r.fail("ends before its %s", what)
		return 0
	}
	x := binary.LittleEndian.Uint64(r.src)
	r.src = r.src[8:]
	return x
}

func (r *reader) text(what string) string {
	n := int(r.uint(what, TextBytesMax))
	if n > len(r.src) {
		r.fail("%s of %d bytes, %d are there", what, n, len(r.src))
		return ""
	}
	s := string(r.src[:n])
	r.src = r.src[n:]
	return s
}

func (r *reader) epoch(what string) topology.Epoch {
	return topology.Epoch(r.uint(what, math.MaxInt64))
}

// epochs reads a first epoch and how many follow.
func (r *reader) epochs() (first, last topology.Epoch) {
	first = r.epoch("first epoch")
	more := r.uint("number of epochs", uint64(math.MaxInt64-first))
	return first, first + topology.Epoch(more)
}

func (r *reader) keyGroups(what string) topology.Range {
	from := r.uint(what, topology.MaxKeyGroups)
	to := r.uint(what, topology.MaxKeyGroups)
	if from >= to && r.err == nil {
		r.fail("%s [%d,%d) is empty", what, from, to)
	}
	return topology.Range{From: topology.KeyGroup(from), To: topology.KeyGroup(to)}
}

func (r *reader) query() topology.QueryID {
	return topology.QueryID{Incarnation: r.fixed64("incarnation"), Generation: uint32(r.uint("generation", math.MaxUint32))}
}

// end returns the first error; bytes left over are one.
func (r *reader) end(t MessageType) error {
	if r.err == nil && len(r.src) > 0 {
		r.fail("%d bytes behind its end", len(r.src))
	}
	if r.err != nil {
		return fmt.Errorf("%v: %w", t, r.err)
	}
	return nil
}

func appendText(dst []byte, s string) []byte {
	s = s[:min(len(s), TextBytesMax)]
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendEpochs(dst []byte, first, last topology.Epoch) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(first)), uint64(last-first))
}

func appendKeyGroups(dst []byte, r topology.Range) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, uint64(r.From)), uint64(r.To))
}

func appendQuery(dst []byte, q topology.QueryID) []byte {
	return binary.AppendUvarint(binary.LittleEndian.AppendUint64(dst, q.Incarnation), uint64(q.Generation))
}
