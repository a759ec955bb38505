package dataplane

import (
	"math/rand/v2"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestACursorOfSomeKeyGroupsGivesTheirRowsAlone holds what a cursor gives of what was emitted for more key groups against the rows one by one.
func TestACursorOfSomeKeyGroupsGivesTheirRowsAlone(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 9))
		rows := &Rows{Batch: batch.New(batch.NewSchema(batch.Field{Name: "producer", Type: batch.TypeBigInt}, batch.Field{Name: "consumer", Type: batch.TypeBigInt})), Offsets: []uint32{0}}
		of := topology.Range{From: topology.KeyGroup(r.IntN(10)), To: topology.KeyGroup(10 + r.IntN(10))}
		var want [][2]int64
		for consumer := range topology.KeyGroup(8) {
			for producer := range topology.KeyGroup(20) {
				for range r.IntN(3) {
					rows.Batch.Cols[0].AppendInt64(int64(producer))
					rows.Batch.Cols[1].AppendInt64(int64(consumer))
					rows.Batch.EndRow(batch.Insert)
					rows.run(producer)
					if of.Contains(producer) {
						want = append(want, [2]int64{int64(producer), int64(consumer)})
					}
				}
			}
			if n := uint32(rows.Batch.Len()); n > rows.Offsets[len(rows.Offsets)-1] {
				rows.Groups, rows.Offsets = append(rows.Groups, consumer), append(rows.Offsets, n)
			}
		}
		all := topology.Range{From: 0, To: 20}
		l := NewLog(1, Limits{Bytes: 1 << 30, Epochs: 100}, true, nil, nil)
		l.Append(Entry{First: 1, Last: 4, Rows: []*Rows{rows}, ChainSum: 7, Range: all})
		l.Append(Entry{First: 5, Last: 5, ChainSum: 4, Range: of, Narrowed: true, ChainBefore: 3})
		c, err := l.Subscribe(1, 1, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Of(of)
		e, _ := c.Next()
		var got [][2]int64
		for _, piece := range e.Rows {
			for i, g := range piece.Groups {
				for at := piece.Offsets[i]; at < piece.Offsets[i+1]; at++ {
					got = append(got, [2]int64{piece.Batch.Cols[0].Int64s[at], int64(g)})
				}
			}
		}
		if len(got) != len(want) || e.Range != all {
			t.Fatalf("seed %d: %d rows of %v, want %d of %v", seed, len(got), e.Range, len(want), all)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("seed %d: row %d is %v, want %v", seed, i, got[i], want[i])
			}
		}
		if e, _ := c.Next(); e.StandBefore(c.Before()) != (Stand{0, false, 3, of}) {
			t.Fatalf("before the narrower entry it stood %+v", e.StandBefore(c.Before()))
		}
	}
}
