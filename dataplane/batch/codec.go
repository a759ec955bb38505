package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync"
)

// The encoded form of rows, version 1. Integers named n are unsigned varints.
//
//	batch    version byte | n rows | n columns | weights byte (0 all inserts, 1 bitmap of retractions follows) | columns
//	column   tag byte kind<<1 | hasNulls | bitmap of nulls if hasNulls | values (nothing when there are no rows)
//	int64    ints          float64  ints of the IEEE bits        decimal  ints of Hi, ints of Lo
//	bool     byte 0 all false, 1 all true, 2 bitmap
//	bytes    byte 0 plain: ints of lengths, data; byte 1 dictionary: n entries, ints of their lengths, their data, ints of indexes
//	list     ints of lengths, then every child over the elements of these rows
//	row      every child over these rows
//	ints     chunks of 1,024 values, see codec_int.go
//	bitmap   ceil(rows/8) bytes, row i is bit i&7 of byte i>>3
//
// Every choice is made by the values alone, so the same rows are the same bytes wherever they lie.
const codecVersion = 1

var (
	// ErrCorrupt is wrapped by errors about bytes that no encoder writes.
	ErrCorrupt = errors.New("corrupt encoded batch")
	// ErrLimit is wrapped by errors about batches that are larger than the caller's Limits.
	ErrLimit = errors.New("encoded batch exceeds a limit")
)

// Limits bounds what Decode makes of bytes that came from outside.
type Limits struct {
	RowsMax  int // rows of the batch, and elements of any list column
	BytesMax int // memory of the decoded values
}

// DefaultLimits are those of a frame: 16 Mi rows, 1 GiB of values.
var DefaultLimits = Limits{RowsMax: 16 << 20, BytesMax: 1 << 30}

type encoder struct {
	ints   [chunkRows]int64
	runs   [chunkRows / 2]int64
	counts [chunkRows / 2]int64
	deltas [chunkRows]int64
	table  []uint32
	index  []int64
	first  []uint32
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// AppendEncoded appends rows [from, to) to dst: values, nulls and weights, not compressed. The bytes depend on the rows alone.
func (b *Batch) AppendEncoded(dst []byte, from, to int) []byte {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	n := max(0, to-from)
	dst = append(dst, codecVersion)
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = binary.AppendUvarint(dst, uint64(len(b.Cols)))
	dst = appendWeights(dst, b.Weights, from, n)
	for k := range b.Cols {
		dst = e.column(dst, &b.Cols[k], from, n)
	}
	return dst
}

func appendWeights(dst []byte, weights []int8, from, n int) []byte {
	if weights == nil {
		return append(dst, 0)
	}
	retractions := false
	for _, w := range weights[from : from+n] {
		retractions = retractions || w < 0
	}
	if !retractions {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	at := len(dst)
	dst = appendZeros(dst, (n+7)/8)
	for i, w := range weights[from : from+n] {
		dst[at+i>>3] |= (byte(w) >> 7) << (i & 7)
	}
	return dst
}

func appendZeros(dst []byte, n int) []byte {
	at := len(dst)
	dst = growBytes(dst, n)
	clear(dst[at:])
	return dst
}

func (e *encoder) column(dst []byte, c *Column, from, n int) []byte {
	nulls := anyNull(c.Nulls, from, n)
	tag := byte(c.kind) << 1
	if nulls {
		tag |= 1
	}
	dst = append(dst, tag)
	if n == 0 {
		return dst
	}
	if nulls {
		dst = appendNulls(dst, c.Nulls, from, n)
	}
	switch c.kind {
	case KindInt64:
		return e.intStream(dst, c.Int64s[from:from+n])
	case KindFloat64:
		return e.chunks(dst, n, func(out []int64, at int) {
			for i, v := range c.Float64s[from+at : from+at+len(out)] {
				out[i] = int64(math.Float64bits(v))
			}
		})
	case KindBool:
		return appendBools(dst, c.Bools[from:from+n])
	case KindDecimal:
		decs := c.Decs[from : from+n]
		dst = e.chunks(dst, n, func(out []int64, at int) {
			for i := range out {
				out[i] = decs[at+i].Hi
			}
		})
		return e.chunks(dst, n, func(out []int64, at int) {
			for i := range out {
				out[i] = int64(decs[at+i].Lo)
			}
		})
	case KindBytes:
		return e.bytesColumn(dst, c, from, n)
	case KindList:
		dst = e.lengths(dst, c.Offsets[from:from+n+1])
		first, last := int(c.Offsets[from]), int(c.Offsets[from+n])
		for _, ch := range c.Children {
			dst = e.column(dst, ch, first, last-first)
		}
		return dst
	default:
		for _, ch := range c.Children {
			dst = e.column(dst, ch, from, n)
		}
		return dst
	}
}

// chunks encodes n values that fill brings chunk by chunk, at being the index of the first.
func (e *encoder) chunks(dst []byte, n int, fill func(out []int64, at int)) []byte {
	for at := 0; at < n; at += chunkRows {
		out := e.ints[:min(chunkRows, n-at)]
		fill(out, at)
		dst = e.chunk(dst, out)
	}
	return dst
}

func (e *encoder) lengths(dst []byte, offsets []uint32) []byte {
	return e.chunks(dst, len(offsets)-1, func(out []int64, at int) {
		prev := offsets[at]
		for i, o := range offsets[at+1 : at+1+len(out)] {
			out[i], prev = int64(o-prev), o
		}
	})
}

func appendBools(dst []byte, v []bool) []byte {
	trues := 0
	for _, x := range v {
		if x {
			trues++
		}
	}
	switch trues {
	case 0:
		return append(dst, 0)
	case len(v):
		return append(dst, 1)
	}
	dst = append(dst, 2)
	at := len(dst)
	dst = appendZeros(dst, (len(v)+7)/8)
	for i, x := range v {
		if x {
			dst[at+i>>3] |= 1 << (i & 7)
		}
	}
	return dst
}

// nullWord is bits [from, from+64) of a null bitmap that may end earlier.
func nullWord(nulls []uint64, from int) uint64 {
	w, s := from>>6, uint(from)&63
	x := uint64(0)
	if w < len(nulls) {
		x = nulls[w] >> s
	}
	if s != 0 && w+1 < len(nulls) {
		x |= nulls[w+1] << (64 - s)
	}
	return x
}

// maskLow keeps the lowest n bits, all when n is 64 or more.
func maskLow(x uint64, n int) uint64 {
	if n >= 64 {
		return x
	}
	return x & (1<<uint(n) - 1)
}

func anyNull(nulls []uint64, from, n int) bool {
	n = min(n, len(nulls)<<6-from)
	for i := 0; i < n; i += 64 {
		if maskLow(nullWord(nulls, from+i), n-i) != 0 {
			return true
		}
	}
	return false
}

func appendNulls(dst []byte, nulls []uint64, from, n int) []byte {
	end := len(dst) + (n+7)/8
	for i := 0; i < n; i += 64 {
		dst = binary.LittleEndian.AppendUint64(dst, maskLow(nullWord(nulls, from+i), n-i))
	}
	return dst[:end]
}

type decoder struct {
	src    []byte
	limits Limits // BytesMax falls as memory is taken
	ints   [chunkRows]int64
	runs   [chunkRows]int64
	counts [chunkRows]int64
	index  []int64
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// Decode appends the rows that src starts with to into, whose schema must be the encoder's, and returns the bytes behind
// them. It copies: into does not refer to src afterwards. Any bytes give rows or an error that wraps ErrCorrupt or ErrLimit;
// after an error into is empty. Memory is bounded by limits, and taken only after src was seen to hold as much as the rows need.
func Decode(src []byte, into *Batch, limits Limits) (rest []byte, err error) {
	d := decoders.Get().(*decoder)
	d.src, d.limits = src, limits
	err = d.batch(into)
	rest, d.src = d.src, nil
	decoders.Put(d)
	if err != nil {
		into.Reset()
		return nil, err
	}
	return rest, nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func (d *decoder) batch(into *Batch) error {
	version, err := d.byte()
	if err != nil {
		return err
	}
	if version != codecVersion {
		return corrupt("version %d, this node reads version %d", version, codecVersion)
	}
	n, err := d.count("rows", d.limits.RowsMax)
	if err != nil {
		return err
	}
	cols, err := d.count("columns", math.MaxInt32)
	if err != nil {
		return err
	}
	if cols != len(into.Cols) {
		return corrupt("%d columns, the schema has %d: %v", cols, len(into.Cols), into.Schema)
	}
	if err := d.weights(into, n); err != nil {
		return fmt.Errorf("weights: %w", err)
	}
	for k := range into.Cols {
		if err := d.column(&into.Cols[k], n); err != nil {
			return fmt.Errorf("column %d (%s): %w", k, into.Schema.Fields[k].Name, err)
		}
	}
	into.rows += n
	return nil
}

func (d *decoder) byte() (byte, error) {
	if len(d.src) == 0 {
		return 0, corrupt("ends early")
	}
	x := d.src[0]
	d.src = d.src[1:]
	return x, nil
}

func (d *decoder) count(what string, most int) (int, error) {
	x, size := binary.Uvarint(d.src)
	if size <= 0 {
		return 0, corrupt("number of %s is cut or too long", what)
	}
	if x > uint64(most) {
		return 0, fmt.Errorf("%w: %d %s, at most %d are accepted", ErrLimit, x, what, most)
	}
	d.src = d.src[size:]
	return int(x), nil
}

func (d *decoder) take(n int) ([]byte, error) {
	if n > len(d.src) {
		return nil, corrupt("needs %d bytes more than there are", n-len(d.src))
	}
	x := d.src[:n:n]
	d.src = d.src[n:]
	return x, nil
}

// charge takes n values of size bytes from the memory budget.
func (d *decoder) charge(n, size int) error {
	if n > d.limits.BytesMax/size {
		return fmt.Errorf("%w: %d values of %d bytes, %d bytes of memory are left", ErrLimit, n, size, d.limits.BytesMax)
	}
	d.limits.BytesMax -= n * size
	return nil
}

// bitmap takes a bitmap of n rows; bits behind the last row must be zero.
func (d *decoder) bitmap(n int) ([]byte, error) {
	m, err := d.take((n + 7) / 8)
	if err != nil {
		return nil, err
	}
	if n&7 != 0 && m[len(m)-1]>>(n&7) != 0 {
		return nil, corrupt("bitmap has bits behind its last row")
	}
	return m, nil
}

func (d *decoder) weights(into *Batch, n int) error {
	mode, err := d.byte()
	if err != nil {
		return err
	}
	if mode > 1 {
		return corrupt("unknown form %d", mode)
	}
	if mode == 0 && into.Weights == nil {
		return nil
	}
	var retract []byte
	if mode == 1 {
		if retract, err = d.bitmap(n); err != nil {
			return err
		}
	}
	if err := d.charge(n, 1); err != nil {
		return err
	}
	into.needWeights()
	at := len(into.Weights)
	into.Weights = grown(into.Weights, n)
	out := into.Weights[at:]
	for i := range out {
		out[i] = Insert
	}
	for i := range retract {
		for x := retract[i]; x != 0; x &= x - 1 {
			out[i<<3+bits.TrailingZeros8(x)] = Retract
		}
	}
	return nil
}

func (d *decoder) column(c *Column, n int) error {
	tag, err := d.byte()
	if err != nil {
		return err
	}
	if Kind(tag>>1) != c.kind {
		return corrupt("holds values of kind %d, the schema says %d (%v)", tag>>1, c.kind, c.Type)
	}
	if n == 0 {
		if tag&1 != 0 {
			return corrupt("nulls without rows")
		}
		return nil
	}
	base := c.Len()
	var nulls []byte
	if tag&1 != 0 {
		if nulls, err = d.bitmap(n); err != nil {
			return fmt.Errorf("nulls: %w", err)
		}
		if err := d.charge((n+63)/64, 8); err != nil {
			return err
		}
	}
	if err := d.values(c, n); err != nil {
		return err
	}
	for i, x := range nulls {
		for ; x != 0; x &= x - 1 {
			row := base + i<<3 + bits.TrailingZeros8(x)
			if !c.isZero(row) {
				return corrupt("null row %d holds a value", row)
			}
			c.SetNull(row)
		}
	}
	return nil
}

func (d *decoder) values(c *Column, n int) error {
	switch c.kind {
	case KindInt64:
		if err := d.chargeInts(n, 8); err != nil {
			return err
		}
		at := len(c.Int64s)
		c.Int64s = grown(c.Int64s, n)
		return d.intStream(c.Int64s[at:])
	case KindFloat64:
		if err := d.chargeInts(n, 8); err != nil {
			return err
		}
		at := len(c.Float64s)
		c.Float64s = grown(c.Float64s, n)
		out := c.Float64s[at:]
		return d.chunks(n, func(v []int64, at int) error {
			for i, x := range v {
				out[at+i] = math.Float64frombits(uint64(x))
			}
			return nil
		})
	case KindBool:
		return d.bools(c, n)
	case KindDecimal:
		return d.decimals(c, n)
	case KindBytes:
		return d.bytesColumn(c, n)
	case KindList:
		return d.list(c, n)
	default:
		for i, ch := range c.Children {
			if err := d.column(ch, n); err != nil {
				return fmt.Errorf("%s: %w", c.Type.Fields[i].Name, err)
			}
		}
		c.rows += n
		return nil
	}
}

func (d *decoder) bools(c *Column, n int) error {
	mode, err := d.byte()
	if err != nil {
		return err
	}
	var trues []byte
	switch mode {
	case 0, 1:
	case 2:
		if trues, err = d.bitmap(n); err != nil {
			return err
		}
	default:
		return corrupt("unknown form %d of booleans", mode)
	}
	if err := d.charge(n, 1); err != nil {
		return err
	}
	at := len(c.Bools)
	c.Bools = grown(c.Bools, n)
	out := c.Bools[at:]
	if mode != 2 {
		for i := range out {
			out[i] = mode == 1
		}
		return nil
	}
	for i := range out {
		out[i] = trues[i>>3]>>(i&7)&1 != 0
	}
	return nil
}

func (d *decoder) decimals(c *Column, n int) error {
	if err := d.chargeInts(n, 16); err != nil {
		return err
	}
	at := len(c.Decs)
	c.Decs = grown(c.Decs, n)
	out := c.Decs[at:]
	err := d.chunks(n, func(v []int64, at int) error {
		for i, x := range v {
			out[at+i].Hi = x
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.chunks(n, func(v []int64, at int) error {
		for i, x := range v {
			out[at+i].Lo = uint64(x)
		}
		return nil
	})
}

func (d *decoder) list(c *Column, n int) error {
	base := c.Children[0].Len()
	total, err := d.lengths(c, n, base, d.limits.RowsMax)
	if err != nil {
		return err
	}
	for i, ch := range c.Children {
		if err := d.column(ch, total); err != nil {
			return fmt.Errorf("%s: %w", c.Type.Fields[i].Name, err)
		}
	}
	return nil
}

// lengths reads n lengths into c's offsets, the first starting at base; their sum is at most most.
func (d *decoder) lengths(c *Column, n, base, most int) (total int, err error) {
	if err := d.chargeInts(n+1, 4); err != nil {
		return 0, err
	}
	c.openBytes()
	at := len(c.Offsets)
	c.Offsets = grown(c.Offsets, n)
	out := c.Offsets[at:]
	most = min(most, math.MaxUint32-base)
	err = d.chunks(n, func(v []int64, at int) error {
		for i, x := range v {
			if uint64(x) > uint64(most-total) {
				return fmt.Errorf("%w: row %d has length %d, %d are left", ErrLimit, at+i, x, most-total)
			}
			total += int(x)
			out[at+i] = uint32(base + total)
		}
		return nil
	})
	return total, err
}

// isZero says whether row i holds what a null row must hold.
func (c *Column) isZero(i int) bool {
	switch c.kind {
	case KindInt64:
		return c.Int64s[i] == 0
	case KindFloat64:
		return math.Float64bits(c.Float64s[i]) == 0
	case KindBool:
		return !c.Bools[i]
	case KindDecimal:
		return c.Decs[i] == Dec{}
	case KindBytes, KindList:
		return c.Offsets[i] == c.Offsets[i+1]
	}
	for _, ch := range c.Children {
		if !ch.IsNull(i) {
			return false
		}
	}
	return true
}
