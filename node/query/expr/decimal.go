package expr

import (
	"math/big"
	"math/bits"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// maxDecimalPrecision is the most digits a DECIMAL has, as in Flink.
const maxDecimalPrecision = 38

// u128 is an unsigned 128-bit integer.
type u128 struct{ hi, lo uint64 }

var pow10 [maxDecimalPrecision + 1]u128

func init() {
	p := u128{0, 1}
	for i := range pow10 {
		pow10[i] = p
		hi, lo := bits.Mul64(p.lo, 10)
		p = u128{p.hi*10 + hi, lo}
	}
}

func (a u128) less(b u128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a u128) add(b u128) (u128, bool) {
	lo, c := bits.Add64(a.lo, b.lo, 0)
	hi, c := bits.Add64(a.hi, b.hi, c)
	return u128{hi, lo}, c != 0
}

func (a u128) sub(b u128) u128 {
	lo, c := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, c)
	return u128{hi, lo}
}

// mul is a*b; false when it does not fit.
func (a u128) mul(b u128) (u128, bool) {
	if a.hi != 0 && b.hi != 0 {
		return u128{}, false
	}
	hi, lo := bits.Mul64(a.lo, b.lo)
	h1, l1 := bits.Mul64(a.hi, b.lo)
	h2, l2 := bits.Mul64(a.lo, b.hi)
	if h1 != 0 || h2 != 0 {
		return u128{}, false
	}
	s, c1 := bits.Add64(hi, l1, 0)
	s, c2 := bits.Add64(s, l2, 0)
	return u128{s, lo}, c1 == 0 && c2 == 0
}

// quoRem is a/b and a%b for b > 0.
func (a u128) quoRem(b u128) (q, r u128) {
	if b.hi == 0 {
		q.hi = a.hi / b.lo
		rem := a.hi % b.lo
		q.lo, rem = bits.Div64(rem, a.lo, b.lo)
		return q, u128{0, rem}
	}
	if a.less(b) {
		return u128{}, a
	}
	// b >= 2^64, so the quotient fits one word: estimate it with the divisor's top 64 bits and correct.
	n := uint(bits.LeadingZeros64(b.hi))
	top := b.hi<<n | b.lo>>(64-n)
	if n == 0 {
		top = b.hi
	}
	v1hi, v1lo := a.hi>>1, a.hi<<63|a.lo>>1
	tq, _ := bits.Div64(v1hi, v1lo, top)
	tq = tq >> (63 - n)
	if tq != 0 {
		tq--
	}
	p, _ := b.mul(u128{0, tq})
	r = a.sub(p)
	for !r.less(b) {
		tq++
		r = r.sub(b)
	}
	return u128{0, tq}, r
}

// magnitude splits d into sign and absolute value.
func magnitude(d batch.Dec) (u128, bool) {
	if d.Hi >= 0 {
		return u128{uint64(d.Hi), d.Lo}, false
	}
	lo, c := bits.Sub64(0, d.Lo, 0)
	hi, _ := bits.Sub64(0, uint64(d.Hi), c)
	return u128{hi, lo}, true
}

func signed(m u128, neg bool) batch.Dec {
	if neg {
		lo, c := bits.Sub64(0, m.lo, 0)
		hi, _ := bits.Sub64(0, m.hi, c)
		return batch.Dec{Hi: int64(hi), Lo: lo}
	}
	return batch.Dec{Hi: int64(m.hi), Lo: m.lo}
}

func decFromInt(v int64) batch.Dec { return batch.Dec{Hi: v >> 63, Lo: uint64(v)} }

func decCmp(a, b batch.Dec) int {
	switch {
	case a.Hi < b.Hi:
		return -1
	case a.Hi > b.Hi:
		return 1
	case a.Lo < b.Lo:
		return -1
	case a.Lo > b.Lo:
		return 1
	}
	return 0
}

func decNeg(d batch.Dec) batch.Dec {
	m, neg := magnitude(d)
	return signed(m, !neg)
}

// fits says whether m has at most precision digits.
func fits(m u128, precision int) bool { return m.less(pow10[precision]) }

// decRescale changes the scale of d, rounding HALF_UP; false when the result has more than precision digits.
func decRescale(d batch.Dec, from, to, precision int) (batch.Dec, bool) {
	m, neg := magnitude(d)
	if to >= from {
		if to-from > maxDecimalPrecision {
			return batch.Dec{}, m == u128{}
		}
		r, ok := m.mul(pow10[to-from])
		if !ok || !fits(r, precision) {
			return batch.Dec{}, false
		}
		return signed(r, neg), true
	}
	if from-to > maxDecimalPrecision {
		return batch.Dec{}, true
	}
	r := divHalfUp(m, pow10[from-to])
	if !fits(r, precision) {
		return batch.Dec{}, false
	}
	return signed(r, neg), true
}

func divHalfUp(a, b u128) u128 {
	q, r := a.quoRem(b)
	if !r.less(b.sub(r)) {
		q, _ = q.add(u128{0, 1})
	}
	return q
}

// decAdd is a + b (a - b when sub) of scales as and bs at the given result type; false on overflow.
func decAdd(a batch.Dec, as int, b batch.Dec, bs int, sub bool, p, s int) (batch.Dec, bool) {
	if sub {
		b = decNeg(b)
	}
	wide := max(as, bs)
	x, ok1 := decRescale(a, as, wide, maxDecimalPrecision)
	y, ok2 := decRescale(b, bs, wide, maxDecimalPrecision)
	if !ok1 || !ok2 {
		return decAddBig(a, as, b, bs, p, s)
	}
	lo, c := bits.Add64(x.Lo, y.Lo, 0)
	hi, _ := bits.Add64(uint64(x.Hi), uint64(y.Hi), c) // |x|, |y| < 10^38 < 2^127 / 1.7: two of them may overflow
	sum := batch.Dec{Hi: int64(hi), Lo: lo}
	if (x.Hi >= 0) == (y.Hi >= 0) && (sum.Hi >= 0) != (x.Hi >= 0) {
		return decAddBig(a, as, b, bs, p, s)
	}
	return decRescale(sum, wide, s, p)
}

func decAddBig(a batch.Dec, as int, b batch.Dec, bs int, p, s int) (batch.Dec, bool) {
	wide := max(as, bs)
	x := new(big.Int).Mul(decBig(a), bigPow10(wide-as))
	y := new(big.Int).Mul(decBig(b), bigPow10(wide-bs))
	return bigRescale(x.Add(x, y), wide, s, p)
}

// decMul is a * b; the exact product has scale as+bs.
func decMul(a batch.Dec, as int, b batch.Dec, bs int, p, s int) (batch.Dec, bool) {
	x, xn := magnitude(a)
	y, yn := magnitude(b)
	if m, ok := x.mul(y); ok && m.hi>>63 == 0 {
		return decRescale(signed(m, xn != yn), as+bs, s, p)
	}
	return bigRescale(new(big.Int).Mul(decBig(a), decBig(b)), as+bs, s, p)
}

// decDiv is a / b for b != 0, rounded HALF_UP at scale s.
func decDiv(a batch.Dec, as int, b batch.Dec, bs int, p, s int) (batch.Dec, bool) {
	shift := s - as + bs
	x, xn := magnitude(a)
	y, yn := magnitude(b)
	if shift >= 0 && shift <= maxDecimalPrecision {
		if m, ok := x.mul(pow10[shift]); ok {
			q := divHalfUp(m, y)
			if !fits(q, p) {
				return batch.Dec{}, false
			}
			return signed(q, xn != yn), true
		}
	}
	n, d := new(big.Int).Abs(decBig(a)), new(big.Int).Abs(decBig(b))
	if shift >= 0 {
		n.Mul(n, bigPow10(shift))
	} else {
		d.Mul(d, bigPow10(-shift))
	}
	q, r := new(big.Int).QuoRem(n, d, new(big.Int))
	if r.Lsh(r, 1).Cmp(d) >= 0 {
		q.Add(q, big.NewInt(1))
	}
	if xn != yn {
		q.Neg(q)
	}
	return bigDec(q, p)
}

// decMod is the remainder of a / b truncated towards zero, for b != 0.
func decMod(a batch.Dec, as int, b batch.Dec, bs int, p, s int) (batch.Dec, bool) {
	wide := max(as, bs)
	x, ok1 := decRescale(a, as, wide, maxDecimalPrecision)
	y, ok2 := decRescale(b, bs, wide, maxDecimalPrecision)
	if ok1 && ok2 {
		xm, xn := magnitude(x)
		ym, _ := magnitude(y)
		_, r := xm.quoRem(ym)
		return decRescale(signed(r, xn), wide, s, p)
	}
	n := new(big.Int).Mul(decBig(a), bigPow10(wide-as))
	d := new(big.Int).Mul(decBig(b), bigPow10(wide-bs))
	return bigRescale(n.Rem(n, d), wide, s, p)
}

func bigPow10(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

func decBig(d batch.Dec) *big.Int {
	m, neg := magnitude(d)
	v := new(big.Int).SetUint64(m.hi)
	v.Lsh(v, 64).Or(v, new(big.Int).SetUint64(m.lo))
	if neg {
		v.Neg(v)
	}
	return v
}

func bigDec(v *big.Int, precision int) (batch.Dec, bool) {
	m := new(big.Int).Abs(v)
	if m.BitLen() > 127 {
		return batch.Dec{}, false
	}
	lo := new(big.Int).And(m, new(big.Int).SetUint64(^uint64(0))).Uint64()
	u := u128{new(big.Int).Rsh(m, 64).Uint64(), lo}
	if !fits(u, precision) {
		return batch.Dec{}, false
	}
	return signed(u, v.Sign() < 0), true
}

func bigRescale(v *big.Int, from, to, precision int) (batch.Dec, bool) {
	if to >= from {
		return bigDec(v.Mul(v, bigPow10(to-from)), precision)
	}
	neg := v.Sign() < 0
	d := bigPow10(from - to)
	q, r := new(big.Int).QuoRem(v.Abs(v), d, new(big.Int))
	if r.Lsh(r, 1).Cmp(d) >= 0 {
		q.Add(q, big.NewInt(1))
	}
	if neg {
		q.Neg(q)
	}
	return bigDec(q, precision)
}

// decTrunc is the integer part of d as Java's BigDecimal.longValue gives it: the low 64 bits.
func decTrunc(d batch.Dec, scale int) int64 {
	m, neg := magnitude(d)
	q, _ := m.quoRem(pow10[scale])
	return int64(signed(q, neg).Lo)
}

// decFloor rounds d of the given scale down (or up) to a whole number, which it returns at scale 0.
func decFloor(d batch.Dec, scale int, up bool) batch.Dec {
	m, neg := magnitude(d)
	q, r := m.quoRem(pow10[scale])
	if (r != u128{}) && neg != up {
		q, _ = q.add(u128{0, 1})
	}
	return signed(q, neg)
}

// AppendDecimal appends d of the given scale as plain digits: "-12.50".
func AppendDecimal(dst []byte, d batch.Dec, scale int) []byte {
	m, neg := magnitude(d)
	var buf [48]byte
	i, digits := len(buf), 0
	ten := u128{0, 10}
	for digits <= scale || m != (u128{}) {
		if digits == scale && scale > 0 {
			i--
			buf[i] = '.'
		}
		var r u128
		if m.hi == 0 {
			m, r = u128{0, m.lo / 10}, u128{0, m.lo % 10}
		} else {
			m, r = m.quoRem(ten)
		}
		i--
		buf[i] = byte('0' + r.lo)
		digits++
	}
	if neg {
		dst = append(dst, '-')
	}
	return append(dst, buf[i:]...)
}

// parseDecimal reads "[+-]digits[.digits][e[+-]digits]" as a DECIMAL(p, s), rounding HALF_UP. ok is false when text is no
// number, fit is false when it has too many digits.
func parseDecimal(text []byte, p, s int) (d batch.Dec, ok, fit bool) {
	var buf [64]byte
	neg, mant, exp, ok := scanDecimal(text, buf[:0])
	if !ok {
		return batch.Dec{}, false, false
	}
	// mant's digits times 10^exp, wanted times 10^-s.
	var m u128
	shift := exp + s
	keep := len(mant)
	if shift < 0 {
		keep = max(0, len(mant)+shift)
	}
	for _, c := range mant[:keep] {
		if m, ok = m.mul(u128{0, 10}); !ok {
			return batch.Dec{}, true, false
		}
		m, _ = m.add(u128{0, uint64(c - '0')})
		if !fits(m, maxDecimalPrecision) {
			return batch.Dec{}, true, false
		}
	}
	if shift > 0 && m != (u128{}) {
		if shift > maxDecimalPrecision {
			return batch.Dec{}, true, false
		}
		if m, ok = m.mul(pow10[shift]); !ok {
			return batch.Dec{}, true, false
		}
	}
	if shift < 0 && len(mant)+shift >= 0 && keep < len(mant) && mant[keep] >= '5' {
		m, _ = m.add(u128{0, 1})
	}
	if !fits(m, p) {
		return batch.Dec{}, true, false
	}
	return signed(m, neg), true, true
}

// scanDecimal splits a number into its sign, its digits without leading zeros, and the power of ten to multiply them with.
// The digits alias text, or are appended to buf when there is a point between them.
func scanDecimal(text, buf []byte) (neg bool, mant []byte, exp int, ok bool) {
	t := trimSpace(text)
	if len(t) > 0 && (t[0] == '-' || t[0] == '+') {
		neg = t[0] == '-'
		t = t[1:]
	}
	whole := t[:digitRun(t)]
	t = t[len(whole):]
	var frac []byte
	if len(t) > 0 && t[0] == '.' {
		frac = t[1 : 1+digitRun(t[1:])]
		t = t[1+len(frac):]
	}
	if len(whole)+len(frac) == 0 {
		return false, nil, 0, false
	}
	if len(t) > 0 {
		if t[0]|0x20 != 'e' {
			return false, nil, 0, false
		}
		e, good := parseInt(t[1:], -1<<31, 1<<31-1, false)
		if !good || e > 1_000_000 || e < -1_000_000 {
			return false, nil, 0, false
		}
		exp = int(e)
	}
	mant = whole
	if len(frac) > 0 {
		mant = append(append(buf, whole...), frac...)
		exp -= len(frac)
	}
	for len(mant) > 0 && mant[0] == '0' {
		mant = mant[1:]
	}
	return neg, mant, exp, true
}

func digitRun(t []byte) int {
	for i, c := range t {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(t)
}

// decFloat is the double nearest to d.
func decFloat(d batch.Dec, scale int) float64 {
	m, neg := magnitude(d)
	if m.hi == 0 && m.lo < 1<<53 && scale <= 22 {
		f := float64(m.lo) / exactPow10[scale] // both exact: the quotient is correctly rounded
		if neg {
			return -f
		}
		return f
	}
	var buf [64]byte
	f, _ := parseFloat(AppendDecimal(buf[:0], d, scale), 64)
	return f
}

var exactPow10 = [23]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
	1e18, 1e19, 1e20, 1e21, 1e22}
