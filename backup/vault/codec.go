package vault

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// reader takes values off bytes and keeps the first error. Integers are unsigned varints unless stated.
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

// flags reads a byte of which only the bits of known may be set.
func (r *reader) flags(what string, known byte) byte {
	x := r.byte(what)
	if x&^known != 0 {
		r.fail("%s %#x, only %#x are known", what, x, known)
	}
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

func (r *reader) fixed64(what string) uint64 {
	if len(r.src) < 8 {
		r.fail("ends before its %s", what)
		return 0
	}
	x := binary.LittleEndian.Uint64(r.src)
	r.src = r.src[8:]
	return x
}

// bytes reads a length and that many bytes, which point into the source.
func (r *reader) bytes(what string, most int) []byte {
	n := r.uint("length of "+what, uint64(most))
	if n > uint64(len(r.src)) {
		r.fail("%s of %d bytes, %d are there", what, n, len(r.src))
		return nil
	}
	b := r.src[:n:n]
	r.src = r.src[n:]
	return b
}

func (r *reader) query() topology.QueryID {
	return topology.QueryID{Incarnation: r.fixed64("incarnation"), Generation: uint32(r.uint("generation", math.MaxUint32))}
}

func (r *reader) epoch(what string) topology.Epoch {
	return topology.Epoch(r.uint(what, math.MaxInt64))
}

func (r *reader) source() SourceKey { return SourceKey(r.bytes("source", SourceKeyBytesMax)) }

// epochs reads a first epoch and how many follow.
func (r *reader) epochs() (first, last topology.Epoch) {
	first = r.epoch("first epoch")
	return first, first + topology.Epoch(r.uint("number of epochs", uint64(math.MaxInt64-first)))
}

func (r *reader) stage() topology.StageID {
	return topology.StageID(r.uint("stage", math.MaxUint16))
}

func (r *reader) keyGroup() topology.KeyGroup {
	return topology.KeyGroup(r.uint("key group", topology.MaxKeyGroups-1))
}

func (r *reader) keyGroups() topology.Range {
	from, to := r.uint("first key group", topology.MaxKeyGroups), r.uint("end of key groups", topology.MaxKeyGroups)
	if from >= to && r.err == nil {
		r.fail("key groups [%d,%d) are none", from, to)
	}
	return topology.Range{From: topology.KeyGroup(from), To: topology.KeyGroup(to)}
}

// payload reads a payload that points into the source.
func (r *reader) payload() Payload {
	packed := r.flags("payload flags", 1) == 1
	raw := r.uint("payload size", RawBytesMax)
	b := r.bytes("payload", PayloadBytesMax)
	if !packed && r.err == nil && raw != uint64(len(b)) {
		r.fail("payload of %d bytes is said to hold %d", len(b), raw)
	}
	return Payload{bytes: b, raw: uint32(raw), packed: packed}
}

// end returns the first error; bytes left over are one.
func (r *reader) end(what any) error {
	if r.err == nil && len(r.src) > 0 {
		r.fail("%d bytes behind its end", len(r.src))
	}
	if r.err != nil {
		return fmt.Errorf("%v: %w", what, r.err)
	}
	return nil
}

func appendUint(dst []byte, x uint64) []byte { return binary.AppendUvarint(dst, x) }

func appendQuery(dst []byte, q topology.QueryID) []byte {
	return appendUint(binary.LittleEndian.AppendUint64(dst, q.Incarnation), uint64(q.Generation))
}

func appendBytes[B ~string | ~[]byte](dst []byte, b B) []byte {
	return append(appendUint(dst, uint64(len(b))), b...)
}

func appendEpochs(dst []byte, first, last topology.Epoch) []byte {
	return appendUint(appendUint(dst, uint64(first)), uint64(last-first))
}

func appendKeyGroups(dst []byte, r topology.Range) []byte {
	return appendUint(appendUint(dst, uint64(r.From)), uint64(r.To))
}

func appendPayload(dst []byte, p Payload) []byte {
	return appendBytes(appendUint(append(dst, flag(p.packed)), uint64(p.raw)), p.bytes)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}
