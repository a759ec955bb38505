package topology

// A partition's chains are told as one sum, which survives that ranges are split and merged: sums of ranges that adjoin each other add up to that of
// both. Each key group's chain counts with its upper chainBits bits and a factor of its own, so that from two sums that differ it can be told which
// key group it is, when it is one.
const chainBits = 40

// chainFactor is key group g's: odd, so that it has an inverse, and without a relation to others'.
func chainFactor(g KeyGroup) uint64 {
	x := uint64(g)*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return (x ^ x>>31) | 1
}

// SumChains adds up the chains of the key groups from first on, modulo 2^64.
func SumChains(first KeyGroup, chains []uint64) (sum uint64) {
	for i, c := range chains {
		sum += chainFactor(first+KeyGroup(i)) * (c >> (64 - chainBits))
	}
	return sum
}

// DifferingGroup finds the key group of r for which the difference of two sums, or of two such differences, comes from its chain alone. Ok is false when there
// is none, because several key groups differ; that one is found though it is another, or several, has a chance of r.Len() in 2^22.
func DifferingGroup(r Range, difference uint64) (g KeyGroup, ok bool) {
	if difference == 0 {
		return 0, false
	}
	for x := r.From; x < r.To; x++ {
		// A chain differs by less than 2^40, one difference from the next by less than 2^41.
		d := int64(difference * inverse(chainFactor(x)))
		if d > -1<<(chainBits+1) && d < 1<<(chainBits+1) {
			if ok {
				return 0, false
			}
			g, ok = x, true
		}
	}
	return g, ok
}

// inverse is that of an odd number modulo 2^64: each step doubles the lower bits that are right, three of which x has itself.
func inverse(x uint64) uint64 {
	y := x
	for right := 3; right < 64; right *= 2 {
		y *= 2 - x*y
	}
	return y
}
