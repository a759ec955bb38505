package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/klauspost/compress/s2"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// FrameRowsMax is the most rows of one frame.
const FrameRowsMax = 1 << 20

// A frame's uncompressed body may be this large, so that a frame never exceeds MessageBytesMax.
const bodyBytesMax = MessageBytesMax - 1024

// ProducerRun is a run of rows from one producing key group.
type ProducerRun struct {
	Group topology.KeyGroup
	End   uint32 // index of the row behind the run, in the batch; runs follow each other from row 0
}

// FrameHeader says what the rows of a frame are.
type FrameHeader struct {
	Subscription uint32 // Edge.ID
	Stream       Stream
	Producer     topology.Range // the partition that emitted them
	Consumer     topology.Range // the key groups they are for
	First        topology.Epoch // epochs First..Last-1 are empty, the rows belong to Last
	Last         topology.Epoch
}

// Frame is rows of one epoch from one producer partition for one range of consumer key groups. It refers to Rows and does not
// own it.
type Frame struct {
	Header FrameHeader
	Rows   *Rows
	// Producers says which producing key group each row is from, covering all rows; it may be empty when nobody asks.
	Producers []ProducerRun
}

// runAt is the index of the producer run that holds row.
func (f *Frame) runAt(row int) int {
	return sort.Search(len(f.Producers), func(i int) bool { return int(f.Producers[i].End) > row })
}

// Validate says what of f is not in canonical order or not within the ranges that its header states.
func (f *Frame) Validate() error {
	r, n := f.Rows, f.Rows.Batch.Len()
	if len(r.Groups) == 0 && len(r.Offsets) == 0 && n == 0 {
		return nil
	}
	if len(r.Offsets) != len(r.Groups)+1 || r.Offsets[0] != 0 || int(r.Offsets[len(r.Groups)]) != n {
		return fmt.Errorf("offsets of %d key groups do not cover %d rows", len(r.Groups), n)
	}
	for i, g := range r.Groups {
		if !f.Header.Consumer.Contains(g) || i > 0 && g <= r.Groups[i-1] || r.Offsets[i+1] <= r.Offsets[i] {
			return fmt.Errorf("consumer key group %d is out of order, empty or outside %v", g, f.Header.Consumer)
		}
	}
	if len(f.Producers) == 0 {
		return nil
	}
	return f.validateProducers()
}

func (f *Frame) validateProducers() error {
	run, row := 0, 0
	for _, end := range f.Rows.Offsets[1:] {
		last := -1 // the producing key group before, among the rows of one consumer key group
		for row < int(end) {
			if run >= len(f.Producers) {
				return fmt.Errorf("producing key groups end at row %d", row)
			}
			p := f.Producers[run]
			if int(p.End) <= row || !f.Header.Producer.Contains(p.Group) || int(p.Group) < last {
				return fmt.Errorf("producing key group %d of row %d is out of order or outside %v", p.Group, row, f.Header.Producer)
			}
			last, row = int(p.Group), int(min(end, p.End))
			if row == int(p.End) {
				run++
			}
		}
	}
	if run != len(f.Producers) {
		return fmt.Errorf("%d runs of producing key groups, rows for %d", len(f.Producers), run)
	}
	return nil
}

// The payload of a frame is
//
//	subscription | query, stage, output | producer range | consumer range | first epoch | epochs more | n rows | n bytes of body | 1 when S2, else 0 | body
//
// and its body, before compression,
//
//	n groups | per group: key group less the one before - 1, rows - 1 | n runs | per run: key group as varint difference, rows - 1 | batch
type frameBuffer struct{ raw []byte }

// FrameEncoder encodes frames and keeps working memory between calls. The zero value is ready; one goroutine at a time.
type FrameEncoder struct{ frameBuffer }

// AppendFrame appends rows [from, to) of f, which Rows.Span finds for the header's consumer range, as a message; as several
// ones behind each other where one would be too large; as none when there are no rows. f must be in canonical order (see
// Validate); rows outside [from, to) may be for other consumers. The only error is a single row that is too large.
func (e *FrameEncoder) AppendFrame(dst []byte, f *Frame, from, to int) ([]byte, error) {
	if from >= to {
		return dst, nil
	}
	if to-from <= FrameRowsMax {
		e.raw = f.appendBody(e.raw[:0], from, to)
		if len(e.raw) <= bodyBytesMax {
			return e.appendFrame(dst, &f.Header, to-from), nil
		}
	}
	if to-from == 1 {
		return dst, fmt.Errorf("%w: one row of stage %d output %d epoch %d takes %d bytes, a frame holds %d",
			ErrTooLarge, f.Header.Stream.Stage, f.Header.Stream.Output, f.Header.Last, len(e.raw), bodyBytesMax)
	}
	mid := from + (to-from)/2
	dst, err := e.AppendFrame(dst, f, from, mid)
	if err != nil {
		return dst, err
	}
	return e.AppendFrame(dst, f, mid, to)
}

func (e *FrameEncoder) appendFrame(dst []byte, h *FrameHeader, rows int) []byte {
	at := len(dst)
	dst = appendFrameHeader(begin(dst, TypeFrame), h)
	dst = binary.AppendUvarint(dst, uint64(rows))
	dst = binary.AppendUvarint(dst, uint64(len(e.raw)))
	dst = append(dst, 1)
	body := len(dst)
	dst = slices.Grow(dst, s2.MaxEncodedLen(len(e.raw)))
	packed := s2.Encode(dst[body:cap(dst)], e.raw)
	if len(packed) < len(e.raw) {
		return finish(dst[:body+len(packed)], at)
	}
	dst[body-1] = 0
	return finish(append(dst, e.raw...), at)
}

func appendFrameHeader(dst []byte, h *FrameHeader) []byte {
	dst = appendStream(binary.AppendUvarint(dst, uint64(h.Subscription)), h.Stream)
	dst = appendKeyGroups(appendKeyGroups(dst, h.Producer), h.Consumer)
	return appendEpochs(dst, h.First, h.Last)
}

func (r *reader) frameHeader() FrameHeader {
	h := FrameHeader{Subscription: uint32(r.uint("subscription", math.MaxUint32)), Stream: r.stream(), Producer: r.keyGroups("producer range"), Consumer: r.keyGroups("consumer range")}
	h.First, h.Last = r.epochs()
	return h
}

func (f *Frame) appendBody(dst []byte, from, to int) []byte {
	r := f.Rows
	first := sort.Search(len(r.Groups), func(i int) bool { return int(r.Offsets[i+1]) > from })
	last := first + sort.Search(len(r.Groups)-first, func(i int) bool { return int(r.Offsets[first+i]) >= to })
	dst = binary.AppendUvarint(dst, uint64(last-first))
	next := 0
	for i := first; i < last; i++ {
		rows := min(to, int(r.Offsets[i+1])) - max(from, int(r.Offsets[i]))
		dst = binary.AppendUvarint(dst, uint64(int(r.Groups[i])-next))
		dst = binary.AppendUvarint(dst, uint64(rows-1))
		next = int(r.Groups[i]) + 1
	}
	runs := f.Producers
	if len(runs) > 0 {
		runs = runs[f.runAt(from) : f.runAt(to-1)+1]
	}
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	start, prev := from, 0
	for _, p := range runs {
		end := min(to, int(p.End))
		dst = binary.AppendVarint(dst, int64(int(p.Group)-prev))
		dst = binary.AppendUvarint(dst, uint64(end-start-1))
		start, prev = end, int(p.Group)
	}
	return r.Batch.AppendEncoded(dst, from, to)
}

// FrameDecoder decodes frames and keeps working memory between calls. The zero value is ready; one goroutine at a time.
type FrameDecoder struct{ frameBuffer }

// DecodeFrameHeader reads what the payload of a frame is about and its number of rows, without its rows.
func DecodeFrameHeader(payload []byte) (h FrameHeader, rows int, err error) {
	r := reader{src: payload}
	h = r.frameHeader()
	rows = int(r.uint("rows", FrameRowsMax))
	if r.err != nil {
		return FrameHeader{}, 0, fmt.Errorf("%v: %w", TypeFrame, r.err)
	}
	return h, rows, nil
}

// Decode reads the payload of a frame into f, whose Rows hold a Batch of the stream's schema; their memory is reused. f does
// not refer to payload afterwards. After an error f has no rows.
func (d *FrameDecoder) Decode(payload []byte, f *Frame) error {
	f.reset()
	if err := d.decode(payload, f); err != nil {
		f.reset()
		return fmt.Errorf("%v: %w", TypeFrame, err)
	}
	return nil
}

func (f *Frame) reset() {
	f.Rows.Reset()
	f.Producers = f.Producers[:0]
}

func (d *FrameDecoder) decode(payload []byte, f *Frame) error {
	r, rows := reader{src: payload}, f.Rows
	f.Header = r.frameHeader()
	n := int(r.uint("rows", FrameRowsMax))
	size := int(r.uint("bytes of body", bodyBytesMax))
	packed := r.flags("compression", 1)
	if n == 0 {
		r.fail("no rows")
	}
	if r.err != nil {
		return r.err
	}
	body, err := d.unpack(r.src, packed != 0, size)
	if err != nil {
		return err
	}
	r = reader{src: body}
	if r.groups(rows, n); r.err != nil {
		return r.err
	}
	if r.producers(f, n); r.err != nil {
		return r.err
	}
	rest, err := batch.Decode(r.src, rows.Batch, batch.DefaultLimits)
	switch {
	case errors.Is(err, batch.ErrLimit):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	case len(rest) > 0:
		return fmt.Errorf("%w: %d bytes behind its batch", ErrMalformed, len(rest))
	case rows.Batch.Len() != n:
		return fmt.Errorf("%w: header says %d rows, batch has %d", ErrMalformed, n, rows.Batch.Len())
	}
	if err := f.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

func (d *FrameDecoder) unpack(src []byte, packed bool, size int) ([]byte, error) {
	if !packed {
		if len(src) != size {
			return nil, fmt.Errorf("%w: body of %d bytes, %d are there", ErrMalformed, size, len(src))
		}
		return src, nil
	}
	n, err := s2.DecodedLen(src)
	if err != nil || n != size {
		return nil, fmt.Errorf("%w: compressed body is of %d bytes, its header says %d", ErrMalformed, n, size)
	}
	if cap(d.raw) < size {
		d.raw = make([]byte, size+size/4)
	}
	raw, err := s2.Decode(d.raw[:cap(d.raw)], src)
	if err != nil {
		return nil, fmt.Errorf("%w: compressed body: %w", ErrMalformed, err)
	}
	return raw, nil
}

// groups reads the consumer key groups of n rows.
func (r *reader) groups(rows *Rows, n int) {
	count := int(r.uint("number of key groups", topology.MaxKeyGroups))
	rows.Offsets = append(rows.Offsets, 0)
	next, row := uint64(0), 0
	for i := 0; i < count && r.err == nil; i++ {
		g := next + r.uint("key group", topology.MaxKeyGroups)
		more := r.uint("rows of a key group", FrameRowsMax)
		if g >= topology.MaxKeyGroups || row+int(more)+1 > n {
			r.fail("key group %d with %d rows, %d are left", g, more+1, n-row)
			return
		}
		row += int(more) + 1
		rows.Groups = append(rows.Groups, topology.KeyGroup(g))
		rows.Offsets = append(rows.Offsets, uint32(row))
		next = g + 1
	}
}

// producers reads the producing key groups of n rows.
func (r *reader) producers(f *Frame, n int) {
	count := int(r.uint("number of runs", uint64(n)))
	group, row := int64(0), 0
	for i := 0; i < count && r.err == nil; i++ {
		d := r.int("producing key group")
		more := r.uint("rows of a run", FrameRowsMax)
		if d < -math.MaxUint16 || d > math.MaxUint16 || group+d < 0 || group+d >= topology.MaxKeyGroups || row+int(more)+1 > n {
			r.fail("run of %d rows of producing key group %d%+d, %d are left", more+1, group, d, n-row)
			return
		}
		group, row = group+d, row+int(more)+1
		f.Producers = append(f.Producers, ProducerRun{Group: topology.KeyGroup(group), End: uint32(row)})
	}
}
