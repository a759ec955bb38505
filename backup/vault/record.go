package vault

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/zeebo/xxh3"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// The layout of records and segments is drawn in FORMAT.md.
const (
	recordMagic       = 0x5256 // "VR"
	recordHeaderBytes = 20
	recordBytesMax    = PayloadBytesMax + 4<<10
	flagCommitEnd     = 1 // the last record of its commit

	// SourceKeyBytesMax is the most bytes of a SourceKey.
	SourceKeyBytesMax = 128
)

// SourceKey names a seal log within a query: what one owner of source key groups seals.
type SourceKey string

type recordType uint8

const (
	recordDelta   recordType = 1
	recordSeal    recordType = 2
	recordPromise recordType = 3
	recordStamp   recordType = 4
	recordCut     recordType = 5
	recordJoin    recordType = 6
	recordTrim    recordType = 7
	recordDrop    recordType = 8
)

var recordNames = [...]string{1: "delta", 2: "seal", 3: "promise", 4: "stamp", 5: "cut", 6: "join", 7: "trim", 8: "drop"}

func (t recordType) String() string {
	if t >= 1 && int(t) < len(recordNames) {
		return recordNames[t] + " record"
	}
	return fmt.Sprintf("record of type %d", uint8(t))
}

// record is any record, decoded: each type uses the fields that FORMAT.md names. payload points into what was decoded.
type record struct {
	typ      recordType
	query    topology.QueryID
	stage    topology.StageID
	keyGroup topology.KeyGroup
	base     bool
	source   SourceKey
	term     uint64
	serial   uint64
	target   uint64 // serial of the seal that a stamp is for
	boot     uint64
	first    topology.Epoch // a delta's From
	last     topology.Epoch // a delta's To, a trim's epoch
	payload  Payload
}

// appendRecord appends r with a header that seal completes when the commit is known.
func appendRecord(dst []byte, r *record) []byte {
	at := len(dst)
	var header [recordHeaderBytes]byte
	binary.LittleEndian.PutUint16(header[:], recordMagic)
	header[2] = byte(r.typ)
	dst = append(dst, header[:]...)
	dst = appendQuery(dst, r.query)
	switch r.typ {
	case recordDelta:
		dst = appendUint(dst, uint64(r.stage))
		dst = appendUint(dst, uint64(BlockOf(r.keyGroup)))
		dst = appendUint(dst, uint64(r.keyGroup))
		dst = append(appendEpochs(dst, r.first, r.last), flag(r.base))
		dst = appendPayload(dst, r.payload)
	case recordTrim:
		dst = appendUint(dst, uint64(r.last))
	case recordDrop:
	default:
		dst = appendBytes(dst, r.source)
		dst = appendUint(dst, r.term)
		switch r.typ {
		case recordSeal:
			dst = appendUint(dst, r.serial)
			dst = appendEpochs(dst, r.first, r.last)
			dst = appendPayload(dst, r.payload)
		case recordStamp:
			dst = appendUint(dst, r.target)
		case recordCut:
			dst = appendUint(dst, r.serial)
			dst = appendEpochs(dst, r.first, r.last)
		case recordJoin:
			dst = appendUint(dst, r.serial)
			dst = binary.LittleEndian.AppendUint64(dst, r.boot)
			dst = appendUint(appendUint(dst, uint64(r.first)), uint64(r.last))
		}
	}
	binary.LittleEndian.PutUint32(dst[at+4:], uint32(len(dst)-at-recordHeaderBytes))
	return dst
}

// decodeRecord reads the body of a record.
func decodeRecord(typ recordType, body []byte) (record, error) {
	r := reader{src: body}
	x := record{typ: typ, query: r.query()}
	switch typ {
	case recordDelta:
		x.stage = r.stage()
		block := r.uint("block", topology.MaxKeyGroups/BlockGroups)
		x.keyGroup = r.keyGroup()
		if r.err == nil && block != uint64(BlockOf(x.keyGroup)) {
			r.fail("key group %d is not in block %d", x.keyGroup, block)
		}
		x.first, x.last = r.epochs()
		x.base = r.flags("delta flags", 1) == 1
		x.payload = r.payload()
	case recordTrim:
		x.last = r.epoch("trim point")
	case recordDrop:
	case recordSeal, recordPromise, recordStamp, recordCut, recordJoin:
		x.source, x.term = r.source(), r.uint("term", math.MaxUint64)
		switch typ {
		case recordSeal:
			x.serial = r.uint("serial", math.MaxUint64)
			x.first, x.last = r.epochs()
			x.payload = r.payload()
		case recordStamp:
			x.target = r.uint("serial of a seal", math.MaxUint64)
		case recordCut:
			x.serial = r.uint("serial", math.MaxUint64)
			x.first, x.last = r.epochs()
		case recordJoin:
			x.serial, x.boot = r.uint("serial", math.MaxUint64), r.fixed64("boot id")
			x.first, x.last = r.epoch("first epoch"), r.epoch("last epoch")
		}
	default:
		r.fail("it is not known to this version")
	}
	return x, r.end(typ)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum covers the segment's salt too, so that bytes of another segment, or a payload that holds a whole segment, never
// pass for a record of this one.
func checksum(salt uint64, record []byte) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], salt)
	crc := crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, record[:16])
	return crc32.Update(crc, castagnoli, record[recordHeaderBytes:])
}

// stampRecord completes a record's header.
func stampRecord(record []byte, salt, commit uint64, flags byte) {
	record[3] = flags
	binary.LittleEndian.PutUint64(record[8:], commit)
	binary.LittleEndian.PutUint32(record[16:], checksum(salt, record))
}

// recordHeader is what stands before a body.
type recordHeader struct {
	typ    recordType
	flags  byte
	commit uint64
	bytes  int // of the whole record
}

// checkRecord reads the record at the start of src, which may go on behind it. What is wrong is for people.
func checkRecord(salt uint64, src []byte) (h recordHeader, body []byte, wrong string) {
	if len(src) < recordHeaderBytes {
		return h, nil, fmt.Sprintf("%d bytes, a record's header has %d", len(src), recordHeaderBytes)
	}
	if m := binary.LittleEndian.Uint16(src); m != recordMagic {
		return h, nil, fmt.Sprintf("a record does not start with %02x %02x", src[0], src[1])
	}
	n := binary.LittleEndian.Uint32(src[4:])
	if n > recordBytesMax-recordHeaderBytes {
		return h, nil, fmt.Sprintf("a record of %d bytes, at most %d are written", n, recordBytesMax-recordHeaderBytes)
	}
	if uint64(n) > uint64(len(src)-recordHeaderBytes) {
		return h, nil, fmt.Sprintf("a record of %d bytes, %d are there", n, len(src)-recordHeaderBytes)
	}
	h = recordHeader{typ: recordType(src[2]), flags: src[3], commit: binary.LittleEndian.Uint64(src[8:]), bytes: recordHeaderBytes + int(n)}
	src = src[:h.bytes:h.bytes]
	if want, got := binary.LittleEndian.Uint32(src[16:]), checksum(salt, src); want != got {
		return h, nil, fmt.Sprintf("a record has CRC32C %08x, its header says %08x", got, want)
	}
	return h, src[recordHeaderBytes:], ""
}

// fingerprint tells payloads apart without reading them again.
type fingerprint struct{ lo, hi uint64 }

func fingerprintOf(p Payload) fingerprint {
	h := xxh3.Hash128(p.bytes)
	return fingerprint{h.Lo, h.Hi ^ uint64(p.raw)<<1 ^ uint64(flag(p.packed))}
}
