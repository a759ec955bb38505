package vault

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sync/atomic"

	"github.com/zeebo/xxh3"
)

const (
	formatVersion      = 1
	segmentHeaderBytes = 256
	segmentMagic       = "SEEPVLT\x00"
	segmentSuffix      = ".log"
	rewriteSuffix      = ".new"
	headerTextMax      = 64 // bytes of a cluster's or node's name

	flagRewritten = 1
)

// segmentHeader is the first segmentHeaderBytes of a segment.
type segmentHeader struct {
	rewritten  bool
	first      uint64 // the segment stands for the numbers first..last
	last       uint64
	prev       uint64 // the number that precedes first, 0 for none
	prevLength uint64 // bytes of it that were acknowledged; what is behind them never happened
	length     uint64 // bytes of this segment when rewritten, else 0
	salt       uint64
	boot       uint64
	commit     uint64 // of the first record
	cluster    string
	node       string
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, 0, segmentHeaderBytes)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(flag(h.rewritten)))
	for _, x := range []uint64{h.first, h.last, h.prev, h.prevLength, h.length, h.salt, h.boot, h.commit} {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	b = appendBytes(b, h.cluster)
	b = appendBytes(b, h.node)
	b = b[:segmentHeaderBytes]
	binary.LittleEndian.PutUint32(b[segmentHeaderBytes-4:], crc32.Checksum(b[:segmentHeaderBytes-4], castagnoli))
	return b
}

// decodeSegmentHeader reads a header. A version that is not known comes before everything else, since the rest may differ.
func decodeSegmentHeader(path string, b []byte) (h segmentHeader, err error) {
	if len(b) < segmentHeaderBytes {
		return h, &CorruptError{path, 0, fmt.Sprintf("the file has %d bytes, a segment's header %d", len(b), segmentHeaderBytes)}
	}
	b = b[:segmentHeaderBytes]
	if !bytes.HasPrefix(b, []byte(segmentMagic)) {
		return h, &CorruptError{path, 0, "it does not start as a segment does"}
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > formatVersion {
		return h, &VersionError{path, v}
	}
	if want, got := binary.LittleEndian.Uint32(b[segmentHeaderBytes-4:]), crc32.Checksum(b[:segmentHeaderBytes-4], castagnoli); want != got {
		return h, &CorruptError{path, 0, fmt.Sprintf("its header has CRC32C %08x and says %08x", got, want)}
	}
	h.rewritten = binary.LittleEndian.Uint32(b[12:])&flagRewritten != 0
	for i, x := range []*uint64{&h.first, &h.last, &h.prev, &h.prevLength, &h.length, &h.salt, &h.boot, &h.commit} {
		*x = binary.LittleEndian.Uint64(b[16+8*i:])
	}
	r := reader{src: b[16+8*8 : segmentHeaderBytes-4]}
	h.cluster = string(r.bytes("cluster", headerTextMax))
	h.node = string(r.bytes("node", headerTextMax))
	if r.err != nil || h.first == 0 || h.first > h.last || h.prev >= h.first {
		return h, &CorruptError{path, 0, "its header makes no sense"}
	}
	return h, nil
}

// saltOf is different for every segment that any process of any node ever writes.
func (h *segmentHeader) saltOf() uint64 {
	c := *h
	c.salt = 0
	return xxh3.Hash(c.encode())
}

// segment is one file of the log. It stays readable while anybody pins it, also after a rewrite has replaced the file.
type segment struct {
	path   string
	header segmentHeader
	file   File
	size   int64 // acknowledged bytes, header included; under vault.mu
	live   int64 // bytes of records that the index refers to; under vault.mu
	pins   atomic.Int32
}

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", number, segmentSuffix))
}

func (s *segment) pin() { s.pins.Add(1) }

// unpin closes the file when nobody needs it any more; the vault itself holds one pin while the segment is part of the log.
func (s *segment) unpin() error {
	if s.pins.Add(-1) == 0 {
		return s.file.Close()
	}
	return nil
}

// ref is where a record is; the zero ref is none. No pointers: there is one per delta and seal.
type ref struct {
	segment uint64
	offset  uint32
	bytes   uint32
}

func (r ref) none() bool { return r.bytes == 0 }

// read reads and checks the record at r into buf, grown as needed.
func (s *segment) read(r ref, buf []byte) (whole []byte, x record, err error) {
	if cap(buf) < int(r.bytes) {
		buf = make([]byte, r.bytes)
	}
	buf = buf[:r.bytes]
	if n, err := s.file.ReadAt(buf, int64(r.offset)); n < len(buf) {
		return buf, x, fmt.Errorf("vault: reading %d bytes at %d of %s: %w", len(buf), r.offset, s.path, err)
	}
	h, body, wrong := checkRecord(s.header.salt, buf)
	if wrong == "" && h.bytes != len(buf) {
		wrong = fmt.Sprintf("a record of %d bytes, %d were written", h.bytes, len(buf))
	}
	if wrong != "" {
		return buf, x, &CorruptError{s.path, int64(r.offset), wrong}
	}
	if x, err = decodeRecord(h.typ, body); err != nil {
		return buf, x, &CorruptError{s.path, int64(r.offset), err.Error()}
	}
	return buf, x, nil
}

// scan reads the records of src, a whole segment, and calls take with each. With complete every byte must be a record; else a
// bad one ends the log when nothing behind it shows that it was once fsynced. It returns where the records end, and the
// last commit among them.
func scan(path string, header *segmentHeader, src []byte, complete bool, take func(h recordHeader, x *record, offset int) error) (int, uint64, error) {
	salt := header.salt
	at, commit, ended := segmentHeaderBytes, max(1, header.commit)-1, true
	for at < len(src) {
		h, body, wrong := checkRecord(salt, src[at:])
		if wrong == "" && h.commit < commit {
			wrong = fmt.Sprintf("a record of commit %d behind commit %d", h.commit, commit)
		}
		if wrong != "" {
			if complete || fsyncedBehind(salt, src[at:], commit, ended) {
				return at, commit, &CorruptError{path, int64(at), wrong}
			}
			return at, commit, nil
		}
		x, err := decodeRecord(h.typ, body)
		if err != nil {
			return at, commit, &CorruptError{path, int64(at), err.Error()}
		}
		if err := take(h, &x, at); err != nil {
			return at, commit, err
		}
		commit, ended = h.commit, h.flags&flagCommitEnd != 0
		at += h.bytes
	}
	return at, commit, nil
}

// fsyncedBehind says whether anything in src shows that the record at its start had been fsynced: a commit is written only
// after the one before it was. The last good record was of commit, and its last one if ended; so the bad one is of the
// next commit or of the same.
func fsyncedBehind(salt uint64, src []byte, commit uint64, ended bool) bool {
	bad := commit
	if ended {
		bad++
	}
	magic := []byte{recordMagic & 0xff, recordMagic >> 8}
	for at := 1; ; at++ {
		i := bytes.Index(src[min(at, len(src)):], magic)
		if i < 0 {
			return false
		}
		at += i
		if h, _, wrong := checkRecord(salt, src[at:]); wrong == "" && h.commit > bad {
			return true
		}
	}
}
