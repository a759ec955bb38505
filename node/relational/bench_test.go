//go:build unix

package relational_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	benchKeys   = 100_000
	benchGroups = 256
	benchRows   = 1 << 20
)

func benchOp(partial, text, fromPartial bool, mode plan.AggregateMode) *plan.Op {
	key := batch.TypeBigInt
	if text {
		key = batch.TypeString
	}
	schema := batch.NewSchema(batch.Field{Name: "k", Type: key}, batch.Field{Name: "a", Type: batch.TypeBigInt}, batch.Field{Name: "b", Type: batch.TypeBigInt})
	a := &plan.Aggregate{Mode: mode, Keys: []int{0}, InputSchema: schema, FromPartial: fromPartial, Calls: []plan.AggregateCall{
		{Func: "COUNT", Arg: -1, Filter: -1, Type: batch.TypeBigInt},
		{Func: "SUM", Arg: 1, ArgType: batch.TypeBigInt, Filter: -1, Type: batch.TypeBigInt}}}
	op := &plan.Op{Name: "bench#1"}
	if partial {
		op.Partial = a
		op.Schema = batch.NewSchema(schema.Fields[0], batch.Field{Name: "n", Type: batch.TypeBigInt},
			batch.Field{Name: "s", Type: batch.TypeBigInt}, batch.Field{Name: "sn", Type: batch.TypeBigInt})
	} else {
		op.Aggregate = a
		op.Schema = batch.NewSchema(schema.Fields...)
	}
	return op
}

// benchInput is benchRows rows of random keys, sorted by key group, in pieces of about rows rows.
func benchInput(text bool, rows int, byKey bool) (pieces []*relational.Grouped) {
	schema := benchOp(false, text, false, plan.Running).Aggregate.InputSchema
	x := uint64(1)
	for done := 0; done < benchRows; done += rows {
		byGroup := make([][]int64, benchGroups)
		for range rows {
			x = x*6364136223846793005 + 1442695040888963407
			k := int64((x >> 33) % benchKeys)
			g := int(x>>20) % benchGroups
			if byKey {
				g = int(batch.Mix(uint64(k), 99) % benchGroups)
			}
			byGroup[g] = append(byGroup[g], k)
		}
		p := &relational.Grouped{Batch: batch.New(schema), Offsets: []uint32{0}}
		for g, keys := range byGroup {
			if len(keys) == 0 {
				continue
			}
			for _, k := range keys {
				if text {
					p.Batch.Cols[0].AppendString(fmt.Sprintf("w%x", k))
				} else {
					p.Batch.Cols[0].AppendInt64(k)
				}
				p.Batch.Cols[1].AppendInt64(k & 1023)
				p.Batch.Cols[2].AppendInt64(k)
				p.Batch.EndRow(batch.Insert)
			}
			p.Groups = append(p.Groups, topology.KeyGroup(g))
			p.Offsets = append(p.Offsets, uint32(p.Batch.Len()))
		}
		pieces = append(pieces, p)
	}
	return pieces
}

func benchmark(b *testing.B, op *plan.Op, pieces []*relational.Grouped, whole bool) {
	built, err := relational.Build(op, nil, 0)
	check(b, err)
	k := built.(relational.Keyed)
	groups := make([]*relational.Group, benchGroups)
	for i := range groups {
		groups[i] = &relational.Group{ID: topology.KeyGroup(i), State: state.NewGroup()}
		check(b, k.Open(groups[i]))
	}
	out := batch.New(op.Schema)
	ctx := &relational.Context{WatermarkBefore: topology.WatermarkNone, Watermark: topology.WatermarkNone}
	epoch := func() {
		for _, p := range pieces {
			out.Reset()
			ctx.Epoch++
			if whole {
				check(b, k.Rows(ctx, groups[0], 0, p.Batch, 0, p.Batch.Len(), out))
				check(b, k.End(ctx, groups[0], out))
				continue
			}
			for i, g := range p.Groups {
				groups[g].State.Begin(ctx.Epoch)
				check(b, k.Rows(ctx, groups[g], 0, p.Batch, int(p.Offsets[i]), int(p.Offsets[i+1]), out))
				check(b, k.End(ctx, groups[g], out))
			}
		}
	}
	epoch()
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuNs()
	for range b.N {
		epoch()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/row")
	b.ReportMetric(float64(cpuNs()-before)/float64(b.N)/benchRows, "cpu-ns/row")
}

// cpuNs is the CPU time of the process: what a row costs when the machine is busy with other things as well.
func cpuNs() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkPartial(b *testing.B) {
	for _, text := range []bool{false, true} {
		for _, rows := range []int{10_000, 100_000, benchRows} {
			b.Run(fmt.Sprintf("text=%v/rows=%d", text, rows), func(b *testing.B) {
				benchmark(b, benchOp(true, text, false, plan.Running), benchInput(text, rows, false), true)
			})
		}
	}
}

func BenchmarkRunning(b *testing.B) {
	for _, text := range []bool{false, true} {
		for _, rows := range []int{10_000, 100_000, benchRows} {
			b.Run(fmt.Sprintf("text=%v/rows=%d", text, rows), func(b *testing.B) {
				benchmark(b, benchOp(false, text, false, plan.Running), benchInput(text, rows, true), false)
			})
		}
	}
}

func BenchmarkAtEnd(b *testing.B) {
	for _, text := range []bool{false, true} {
		b.Run(fmt.Sprintf("text=%v", text), func(b *testing.B) {
			benchmark(b, benchOp(false, text, false, plan.AtEnd), benchInput(text, 100_000, true), false)
		})
	}
}
