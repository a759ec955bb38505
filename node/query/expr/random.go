package expr

import (
	"github.com/seepnode/seepnode/dataplane/batch"
)

var _ = builtin(
	FunctionDef{Name: "RAND", Takes: "[INT]", Result: batch.TypeDouble, Kernel: randDouble, perRow: true, random: true},
	FunctionDef{Name: "RAND_INTEGER", Takes: "INT[, INT]", Result: batch.TypeInt, Kernel: randInteger, perRow: true, random: true, MayFail: true},
	FunctionDef{Name: "UUID", Result: batch.Type{ID: batch.Char, Precision: 36}, Kernel: uuid, perRow: true, random: true},
)

// rowHasher gives each row of a frame its random bits: a hash of seed, call site, key group, epoch, and the row's number in its
// key group's stream, so that neither batches nor placement show in it.
type rowHasher struct {
	x    *Call
	base uint64
	at   int // the entry of Env.Groups that the last row was in; rows come in ascending order
}

func newRowHasher(x *Call) rowHasher {
	h := batch.Mix(x.Env.Seed, uint64(x.Node.Site))
	return rowHasher{x: x, base: batch.Mix(h, uint64(x.Env.Epoch))}
}

func (h *rowHasher) bits(i int) uint64 {
	e, row := h.x.Env, h.x.frame.row(i)
	group, index := uint64(0), uint64(row)
	if len(e.Groups) > 0 {
		for h.at+1 < len(e.Groups) && row >= int(e.Offsets[h.at+1]) {
			h.at++
		}
		group = uint64(e.Groups[h.at])
		index = uint64(row) - uint64(e.Offsets[h.at])
		if h.at < len(e.Base) {
			index += uint64(e.Base[h.at])
		}
	}
	v := batch.Mix(batch.Mix(h.base, group), index)
	return batch.Mix(v, 0x2545F4914F6CDD1D)
}

// randDouble is RAND(), or RAND(seed).
func randDouble(x *Call, out *batch.Column, n int) {
	h := newRowHasher(x)
	for i := range n {
		v := h.bits(i)
		if len(x.Args) > 0 {
			v = batch.Mix(v, uint64(x.Args[0].Int(i)))
		}
		out.Float64s[i] = float64(v>>11) / (1 << 53)
	}
}

// randInteger is RAND_INTEGER(bound), or RAND_INTEGER(seed, bound).
func randInteger(x *Call, out *batch.Column, n int) {
	h := newRowHasher(x)
	bounds := x.Args[len(x.Args)-1]
	for i := range n {
		if out.IsNull(i) {
			continue
		}
		v := h.bits(i)
		if len(x.Args) > 1 {
			v = batch.Mix(v, uint64(x.Args[0].Int(i)))
		}
		bound := bounds.Int(i)
		if bound <= 0 {
			out.Int64s[i] = 0
			x.Fail(i, "the bound is %d; it must be above 0", bound)
			continue
		}
		out.Int64s[i] = int64(v % uint64(bound))
	}
}

func uuid(x *Call, out *batch.Column, n int) {
	const digits = "0123456789abcdef"
	h := newRowHasher(x)
	x.Rows(out, n, func(i int) {
		hi := h.bits(i)
		lo := batch.Mix(hi, 0x9E6C63D0876A9A47)
		hi = hi&^0xf000 | 0x4000 // version 4
		lo = lo&^(3<<62) | 1<<63 // variant 1
		for k := range 32 {
			v := hi
			if k >= 16 {
				v = lo
			}
			if k == 8 || k == 12 || k == 16 || k == 20 {
				out.Data = append(out.Data, '-')
			}
			out.Data = append(out.Data, digits[v>>(60-4*(uint(k)&15))&15])
		}
	})
}
