package relational

import (
	"math"
	"math/bits"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// decimalShiftMax is the most digits that an AVG may have behind the point beyond those of its argument: 10^18 fits a word.
const decimalShiftMax = 18

// appendResults appends to out the results of the call for the keys in slots. Not for multiset calls.
func (c *call) appendResults(out *batch.Column, a *accumulators, slots []uint32) {
	cols := a.cols[c.at:]
	switch {
	case c.fn == count:
		n := cols[0]
		for _, s := range slots {
			out.Int64s = append(out.Int64s, n[s])
		}
	case c.fn == least || c.fn == most:
		c.appendKept(out, a, slots)
	case c.kind == batch.KindInt64:
		c.appendIntResults(out, cols[0], cols[1], slots)
	case c.kind == batch.KindFloat64:
		c.appendFloatResults(out, cols[0], cols[1], slots)
	default:
		c.appendDecResults(out, cols, slots)
	}
}

func (c *call) appendIntResults(out *batch.Column, n, sums []int64, slots []uint32) {
	if c.fn == sum && c.Type.ID == batch.BigInt {
		for _, s := range slots {
			if n[s] <= 0 {
				out.AppendNull()
			} else {
				out.Int64s = append(out.Int64s, sums[s])
			}
		}
		return
	}
	for _, s := range slots {
		if n[s] <= 0 {
			out.AppendNull()
			continue
		}
		v := sums[s]
		if c.fn == avg {
			v /= n[s]
		}
		out.Int64s = append(out.Int64s, narrow(v, c.Type.ID))
	}
}

// narrow wraps v into the range of an integer type, as a cast in Java does.
func narrow(v int64, t batch.TypeID) int64 {
	switch t {
	case batch.TinyInt:
		return int64(int8(v))
	case batch.SmallInt:
		return int64(int16(v))
	case batch.Int:
		return int64(int32(v))
	}
	return v
}

func (c *call) appendFloatResults(out *batch.Column, n, sums []int64, slots []uint32) {
	for _, s := range slots {
		if n[s] <= 0 {
			out.AppendNull()
			continue
		}
		v := math.Float64frombits(uint64(sums[s]))
		if c.fn == avg {
			v /= float64(n[s])
		}
		if c.Type.ID == batch.Float {
			v = float64(float32(v))
		}
		out.Float64s = append(out.Float64s, v)
	}
}

func (c *call) appendDecResults(out *batch.Column, cols [][]int64, slots []uint32) {
	limit := pow10u128(min(max(c.Type.Precision, 1), 38))
	for _, s := range slots {
		n, overflowed := cols[0][s], cols[4][s]
		sum := u192{uint64(cols[1][s]), uint64(cols[2][s]), uint64(cols[3][s])}
		negative := sum.negative()
		if negative {
			sum = sum.negate()
		}
		ok := n > 0 && overflowed == 0
		if ok && c.fn == avg {
			sum, ok = sum.times(pow10u128(c.Type.Scale - c.ArgType.Scale)[1])
			sum = sum.overHalfUp(uint64(n))
		}
		if !ok || sum[0] != 0 || !less128(sum[1], sum[2], limit) {
			out.AppendNull()
			continue
		}
		if negative {
			sum = sum.negate()
		}
		out.Decs = append(out.Decs, batch.Dec{Hi: int64(sum[1]), Lo: sum[2]})
	}
}

func (c *call) appendKept(out *batch.Column, a *accumulators, slots []uint32) {
	cols := a.cols[c.at:]
	has := cols[0]
	for _, s := range slots {
		switch {
		case has[s] == 0:
			out.AppendNull()
		case c.kind == batch.KindBytes:
			out.AppendBytes(a.stores[c.store].get(s))
		case c.kind == batch.KindDecimal:
			out.AppendDec(batch.Dec{Hi: cols[1][s], Lo: uint64(cols[2][s])})
		default:
			appendWord(out, cols[1][s])
		}
	}
}

// u192 is a two's complement or unsigned 192-bit integer, most significant word first.
type u192 [3]uint64

func (a u192) negative() bool { return a[0]>>63 != 0 }

func (a u192) negate() u192 {
	lo, borrow := bits.Sub64(0, a[2], 0)
	hi, borrow := bits.Sub64(0, a[1], borrow)
	ext, _ := bits.Sub64(0, a[0], borrow)
	return u192{ext, hi, lo}
}

// times is a*m for unsigned a; false when it does not fit.
func (a u192) times(m uint64) (u192, bool) {
	h2, lo := bits.Mul64(a[2], m)
	h1, mid := bits.Mul64(a[1], m)
	h0, top := bits.Mul64(a[0], m)
	mid, carry := bits.Add64(mid, h2, 0)
	top, carry = bits.Add64(top, h1, carry)
	return u192{top, mid, lo}, h0 == 0 && carry == 0
}

// overHalfUp is a/d for unsigned a, rounded to the nearest, halves up.
func (a u192) overHalfUp(d uint64) u192 {
	var q u192
	rem := uint64(0)
	for i := range a {
		q[i], rem = bits.Div64(rem, a[i], d)
	}
	if rem >= d-rem {
		carry := uint64(0)
		q[2], carry = bits.Add64(q[2], 1, 0)
		q[1], carry = bits.Add64(q[1], 0, carry)
		q[0] += carry
	}
	return q
}

// pow10u128 is 10^n as high and low word, for 0 <= n <= 38.
func pow10u128(n int) [2]uint64 {
	p := [2]uint64{0, 1}
	for range n {
		hi, lo := bits.Mul64(p[1], 10)
		p = [2]uint64{p[0]*10 + hi, lo}
	}
	return p
}

func less128(hi, lo uint64, limit [2]uint64) bool {
	return hi < limit[0] || hi == limit[0] && lo < limit[1]
}

// fitsDecimal38 gives a signed 192-bit sum as a DECIMAL(38); false when it has more digits.
func fitsDecimal38(ext, hi, lo int64) (batch.Dec, bool) {
	sum := u192{uint64(ext), uint64(hi), uint64(lo)}
	abs := sum
	if sum.negative() {
		abs = sum.negate()
	}
	return batch.Dec{Hi: hi, Lo: uint64(lo)}, abs[0] == 0 && less128(abs[1], abs[2], decimal38)
}

var decimal38 = pow10u128(38)

func floatOfBits(v int64) float64 { return math.Float64frombits(uint64(v)) }

// growRows adds n inserted rows to b, whose columns were appended to directly.
func growRows(b *batch.Batch, n int) {
	if b.Weights != nil {
		for range n {
			b.Weights = append(b.Weights, batch.Insert)
		}
	}
	b.SetLen(b.Len() + n)
}
