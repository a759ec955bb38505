package batch

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func benchmarkColumns() map[string]func(r *rand.Rand, i int) int64 {
	return map[string]func(r *rand.Rand, i int) int64{
		"constant":   func(r *rand.Rand, i int) int64 { return 7 },
		"sequence":   func(r *rand.Rand, i int) int64 { return 1e12 + int64(i) },
		"keys-1k":    func(r *rand.Rand, i int) int64 { return r.Int64N(1000) },
		"keys-100k":  func(r *rand.Rand, i int) int64 { return r.Int64N(100000) },
		"random-64":  func(r *rand.Rand, i int) int64 { return int64(r.Uint64()) },
		"random-40":  func(r *rand.Rand, i int) int64 { return r.Int64N(1 << 40) },
		"ascending":  func(r *rand.Rand, i int) int64 { return int64(i)*1000000 + r.Int64N(1000) },
		"runs-of-20": func(r *rand.Rand, i int) int64 { return int64(i/20) * 7919 % 1000 },
	}
}

// BenchmarkCodecInt64 encodes and decodes batches of 10,000 BIGINT values; ns/value is the figure to look at.
func BenchmarkCodecInt64(b *testing.B) {
	const rows = 10000
	for _, name := range []string{"constant", "sequence", "keys-1k", "keys-100k", "random-40", "random-64", "ascending", "runs-of-20"} {
		gen := benchmarkColumns()[name]
		src := New(NewSchema(Field{"v", TypeBigInt}))
		r := rand.New(rand.NewPCG(1, 2))
		for i := range rows {
			src.Cols[0].AppendInt64(gen(r, i))
		}
		src.SetLen(rows)
		enc := src.AppendEncoded(nil, 0, rows)
		dst := New(src.Schema)
		b.Run(fmt.Sprintf("encode/%s", name), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				enc = src.AppendEncoded(enc[:0], 0, rows)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/value")
			b.ReportMetric(float64(len(enc))/rows, "bytes/value")
		})
		b.Run(fmt.Sprintf("decode/%s", name), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				dst.Reset()
				if _, err := Decode(enc, dst, DefaultLimits); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/value")
		})
	}
}

// BenchmarkCodecBytes encodes and decodes 10,000 short strings, of few and of many values.
func BenchmarkCodecBytes(b *testing.B) {
	const rows = 10000
	for _, distinct := range []int{100, 1000000} {
		src := New(NewSchema(Field{"v", TypeString}))
		r := rand.New(rand.NewPCG(1, 2))
		for range rows {
			src.Cols[0].AppendString(fmt.Sprintf("word%d", r.IntN(distinct)))
		}
		src.SetLen(rows)
		enc := src.AppendEncoded(nil, 0, rows)
		dst := New(src.Schema)
		b.Run(fmt.Sprintf("encode/distinct-%d", distinct), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				enc = src.AppendEncoded(enc[:0], 0, rows)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/value")
			b.ReportMetric(float64(len(enc))/rows, "bytes/value")
		})
		b.Run(fmt.Sprintf("decode/distinct-%d", distinct), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				dst.Reset()
				if _, err := Decode(enc, dst, DefaultLimits); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/value")
		})
	}
}
