package datagen

import (
	"math/bits"

	"github.com/seepnode/seepnode/dataplane/batch"
)

func addDec(a, b batch.Dec) batch.Dec {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, _ := bits.Add64(uint64(a.Hi), uint64(b.Hi), carry)
	return batch.Dec{Hi: int64(hi), Lo: lo}
}

func subDec(a, b batch.Dec) batch.Dec {
	lo, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	hi, _ := bits.Sub64(uint64(a.Hi), uint64(b.Hi), borrow)
	return batch.Dec{Hi: int64(hi), Lo: lo}
}

func mulDec(a, b batch.Dec) batch.Dec {
	hi, lo := bits.Mul64(a.Lo, b.Lo)
	hi += uint64(a.Hi)*b.Lo + a.Lo*uint64(b.Hi)
	return batch.Dec{Hi: int64(hi), Lo: lo}
}

func lessDec(a, b batch.Dec) bool {
	return a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo
}

// pow10Dec is 10^n, n at most 38.
func pow10Dec(n int) batch.Dec {
	p := batch.Dec{Lo: 1}
	for range n {
		p = mulDec(p, batch.Dec{Lo: 10})
	}
	return p
}

// reduce maps the 128 random bits hi, lo to [0, span) by multiplication: the upper half of the 256-bit product.
func reduce(hi, lo uint64, span batch.Dec) batch.Dec {
	s1, s0 := uint64(span.Hi), span.Lo
	lowHigh, _ := bits.Mul64(lo, s0)
	aHigh, aLow := bits.Mul64(hi, s0)
	bHigh, bLow := bits.Mul64(lo, s1)
	cHigh, cLow := bits.Mul64(hi, s1)
	sum, carry1 := bits.Add64(aLow, bLow, 0)
	_, carry2 := bits.Add64(sum, lowHigh, 0)
	low, carry3 := bits.Add64(aHigh, bHigh, carry1)
	low, carry4 := bits.Add64(low, cLow, carry2)
	return batch.Dec{Hi: int64(cHigh + carry3 + carry4), Lo: low}
}
