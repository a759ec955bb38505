package batch

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// A chunk is up to 1,024 integers in the smallest of three forms; differences wrap around.
//
//	0 range  byte width         | varint least | value - least of each, packed
//	1 delta  byte 16 + width    | varint first | varint least difference | difference - least difference of each other, packed
//	2 runs   byte 32            | n runs       | chunk of the runs' values | chunk of the runs' lengths
//
// width is an index of widthBits. A constant is a range of width 0, an arithmetic progression a delta of width 0. Whole
// bytes rather than bits from 8 on: about 1 ns a value both ways, and S2 still finds what repeats in them.
const chunkRows = 1024

const (
	formRange = 0
	formDelta = 1 << 4
	formRuns  = 2 << 4
)

var widthBits = [12]int{0, 1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64}

// widthOf is the index of the smallest width that holds every number up to x.
func widthOf(x uint64) int {
	n := bits.Len64(x)
	if n <= 2 {
		return n
	}
	if n <= 4 {
		return 3
	}
	return 3 + (n+7)/8
}

func packedBytes(n, width int) int { return (n*widthBits[width] + 7) / 8 }

// grown is s with n more elements of undefined content.
func grown[T any](s []T, n int) []T {
	need := len(s) + n
	if cap(s) < need {
		t := make([]T, need, need+need/4)
		copy(t, s)
		return t
	}
	return s[:need]
}

func growBytes(dst []byte, n int) []byte { return slices.Grow(dst, n)[:len(dst)+n] }

func (e *encoder) intStream(dst []byte, v []int64) []byte {
	for len(v) > chunkRows {
		dst = e.chunk(dst, v[:chunkRows])
		v = v[chunkRows:]
	}
	return e.chunk(dst, v)
}

// chunk encodes 1 to chunkRows values.
func (e *encoder) chunk(dst []byte, v []int64) []byte {
	lo, hi := bounds(v)
	width := widthOf(uint64(hi) - uint64(lo))
	if width == 0 || len(v) < 8 {
		return appendRange(dst, v, lo, width)
	}
	// The first values tell whether it is worth looking at all of them for another form.
	sample := v[:min(len(v), 64)]
	size := packedBytes(len(v), width)
	deltaWidth, deltaLo := width, int64(0)
	if w, _ := deltaBounds(sample); w < width {
		deltaWidth, deltaLo = deltaBounds(v)
	}
	if runs := countRuns(sample); runs*4 <= len(sample) {
		// A run costs its value and about 10 bits of length.
		runs = countRuns(v)
		if runsSize := (runs*(widthBits[width]+10) + 7) / 8; runsSize < min(size, packedBytes(len(v)-1, deltaWidth)) && runs <= len(e.runs) {
			return e.appendRuns(dst, v, runs)
		}
	}
	if deltaWidth < width {
		return e.appendDelta(dst, v, deltaLo, deltaWidth)
	}
	return appendRange(dst, v, lo, width)
}

// bounds is the least and the greatest of v. Two chains of comparisons, as one waits for itself.
func bounds(v []int64) (lo, hi int64) {
	lo, hi = v[0], v[0]
	lo2, hi2 := lo, hi
	for ; len(v) >= 4; v = v[4:] {
		a, b, c, d := v[0], v[1], v[2], v[3]
		lo, hi = min(lo, min(a, b)), max(hi, max(a, b))
		lo2, hi2 = min(lo2, min(c, d)), max(hi2, max(c, d))
	}
	for _, x := range v {
		lo, hi = min(lo, x), max(hi, x)
	}
	return min(lo, lo2), max(hi, hi2)
}

// deltaBounds is the width and the least of the differences of neighbours.
func deltaBounds(v []int64) (width int, lo int64) {
	if len(v) < 2 {
		return 0, 0
	}
	prev := v[0]
	lo = v[1] - prev
	hi := lo
	for _, x := range v[1:] {
		lo, hi = min(lo, x-prev), max(hi, x-prev)
		prev = x
	}
	return widthOf(uint64(hi) - uint64(lo)), lo
}

func countRuns(v []int64) int {
	n, prev := 1, v[0]
	for _, x := range v {
		if x != prev {
			n++
		}
		prev = x
	}
	return n
}

func appendRange(dst []byte, v []int64, lo int64, width int) []byte {
	dst = append(dst, byte(formRange|width))
	dst = binary.AppendVarint(dst, lo)
	return pack(dst, v, lo, width)
}

func (e *encoder) appendDelta(dst []byte, v []int64, lo int64, width int) []byte {
	dst = append(dst, byte(formDelta|width))
	dst = binary.AppendVarint(dst, v[0])
	dst = binary.AppendVarint(dst, lo)
	if width == 0 {
		return dst
	}
	deltas, prev := e.deltas[:len(v)-1], v[0]
	for i, x := range v[1:] {
		deltas[i], prev = x-prev, x
	}
	return pack(dst, deltas, lo, width)
}

func (e *encoder) appendRuns(dst []byte, v []int64, runs int) []byte {
	dst = append(dst, formRuns)
	dst = binary.AppendUvarint(dst, uint64(runs))
	k, start := 0, 0
	for i := 1; i <= len(v); i++ {
		if i == len(v) || v[i] != v[start] {
			e.runs[k], e.counts[k] = v[start], int64(i-start)
			k, start = k+1, i
		}
	}
	for _, part := range [2][]int64{e.runs[:k], e.counts[:k]} {
		lo, hi := bounds(part)
		dst = appendRange(dst, part, lo, widthOf(uint64(hi)-uint64(lo)))
	}
	return dst
}

// chargeInts takes the memory of n integers of size bytes each from the budget, after a look at whether src can hold them.
func (d *decoder) chargeInts(n, size int) error {
	if least := 2 * ((n - 1) / chunkRows); least > len(d.src) {
		return corrupt("%d values need at least %d bytes, there are %d", n, least, len(d.src))
	}
	return d.charge(n, size)
}

func (d *decoder) intStream(out []int64) error {
	for len(out) > 0 {
		n := min(len(out), chunkRows)
		if err := d.chunk(out[:n], true); err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// chunks reads n values and hands them to use chunk by chunk, at being the index of the first.
func (d *decoder) chunks(n int, use func(v []int64, at int) error) error {
	for at := 0; at < n; at += chunkRows {
		v := d.ints[:min(chunkRows, n-at)]
		if err := d.chunk(v, true); err != nil {
			return err
		}
		if err := use(v, at); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) varint() (int64, error) {
	x, size := binary.Varint(d.src)
	if size <= 0 {
		return 0, corrupt("number is cut or too long")
	}
	d.src = d.src[size:]
	return x, nil
}

// chunk reads one chunk of len(out) values.
func (d *decoder) chunk(out []int64, runs bool) error {
	head, err := d.byte()
	if err != nil {
		return err
	}
	form, width := head&^15, int(head&15)
	if width >= len(widthBits) || form > formRuns || form == formRuns && (!runs || width != 0) {
		return corrupt("unknown form %d of integers", head)
	}
	if form == formRuns {
		return d.runChunk(out)
	}
	first, err := d.varint()
	if err != nil {
		return err
	}
	if form == formRange {
		return d.packed(out, first, width)
	}
	lo, err := d.varint()
	if err != nil {
		return err
	}
	out[0] = first
	if err := d.packed(out[1:], lo, width); err != nil {
		return err
	}
	for i, x := range out[1:] {
		first += x
		out[i+1] = first
	}
	return nil
}

func (d *decoder) packed(out []int64, lo int64, width int) error {
	size := packedBytes(len(out), width)
	if size > len(d.src) {
		return corrupt("%d integers need %d bytes, there are %d", len(out), size, len(d.src))
	}
	unpack(out, d.src, lo, width)
	d.src = d.src[size:]
	return nil
}

func (d *decoder) runChunk(out []int64) error {
	runs, err := d.count("runs", len(out))
	if err != nil {
		return err
	}
	if runs == 0 {
		return corrupt("no runs for %d values", len(out))
	}
	values, counts := d.runs[:runs], d.counts[:runs]
	if err := d.chunk(values, false); err != nil {
		return err
	}
	if err := d.chunk(counts, false); err != nil {
		return err
	}
	for k, n := range counts {
		if n < 1 || n > int64(len(out)) {
			return corrupt("run of %d values where %d are left", n, len(out))
		}
		for i := range out[:n] {
			out[i] = values[k]
		}
		out = out[n:]
	}
	if len(out) > 0 {
		return corrupt("runs end %d values early", len(out))
	}
	return nil
}
