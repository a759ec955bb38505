package relational_test

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// epochInput is what one epoch brings: rows by key group, and where the watermark is before and after them.
type epochInput struct {
	before, after int64
	rows          map[topology.KeyGroup]*batch.Batch
}

// variant is one of the ways to run the same input that must not show in the output.
type variant struct {
	cut      int // rows a piece; 0: all at once
	reload   string
	tracked  bool // touched keys are tracked and acknowledged now and then
	kernels  int
	overfill bool // pieces stand in the middle of batches, whose memory is overwritten afterwards
}

func (v variant) String() string {
	return fmt.Sprintf("cut=%d,reload=%s,tracked=%v,kernels=%d,overfill=%v", v.cut, v.reload, v.tracked, v.kernels, v.overfill)
}

var variants = []variant{
	{cut: 0, kernels: 1},
	{cut: 0, kernels: 1, tracked: true},
	{cut: 1, kernels: 1, overfill: true},
	{cut: 7, kernels: 2, overfill: true, tracked: true},
	{cut: 0, kernels: 2, reload: "reload", tracked: true},
	{cut: 13, kernels: 3, reload: "reopen"},
	{cut: 7, kernels: 1, reload: "reopen", tracked: true, overfill: true},
}

// runKeyed runs op over the epochs and gives, per epoch, its output rows as text, and the late rows.
func runKeyed(t testing.TB, op *plan.Op, lookup relational.OperatorLookup, epochs []epochInput, v variant) (lines [][]string, late int64) {
	t.Helper()
	var kernels []relational.Keyed
	for range v.kernels {
		k, err := relational.Build(op, lookup, 42)
		if err != nil {
			t.Fatal(err)
		}
		kernels = append(kernels, k.(relational.Keyed))
	}
	groups := make([]*relational.Group, 3)
	for i := range groups {
		groups[i] = &relational.Group{ID: topology.KeyGroup(i), State: state.NewGroup()}
		check(t, kernels[0].Open(groups[i]))
	}
	out := batch.New(op.Schema)
	for e, in := range epochs {
		epoch := topology.Epoch(e + 1)
		out.Reset()
		for _, g := range groups {
			k := kernels[(e+int(g.ID))%len(kernels)]
			if v.tracked {
				g.State.Begin(epoch)
			}
			ctx := &relational.Context{Epoch: epoch, TimeMs: int64(epoch) * 10, WatermarkBefore: in.before, Watermark: in.after}
			rows := in.rows[g.ID]
			if rows == nil && in.after < g.Due {
				continue
			}
			if rows != nil {
				feed(t, k, ctx, g, rows, out, v)
			}
			if in.after >= g.Due {
				check(t, k.Advance(ctx, g, out))
			}
			check(t, k.End(ctx, g, out))
			late += ctx.Late
		}
		lines = append(lines, rowLines(out))
		for i, g := range groups {
			groups[i] = between(t, kernels[0], g, epoch, v)
		}
	}
	return lines, late
}

func feed(t testing.TB, k relational.Keyed, ctx *relational.Context, g *relational.Group, rows, out *batch.Batch, v variant) {
	cut := v.cut
	if cut == 0 {
		cut = rows.Len()
	}
	for from := 0; from < rows.Len(); from += cut {
		to := min(rows.Len(), from+cut)
		piece := batch.New(rows.Schema)
		first := 0
		if v.overfill {
			first = min(3, from)
		}
		piece.AppendRange(rows, from-first, to)
		if v.overfill {
			piece.AppendRange(rows, to, min(rows.Len(), to+2))
		}
		check(t, k.Rows(ctx, g, 0, piece, first, first+to-from, out))
		overwrite(piece)
	}
}

// overwrite fills the memory of a batch with something else.
func overwrite(b *batch.Batch) {
	for i := range b.Cols {
		c := &b.Cols[i]
		for k := range c.Int64s {
			c.Int64s[k] = -77
		}
		for k := range c.Data {
			c.Data[k] = '#'
		}
		for k := range c.Float64s {
			c.Float64s[k] = math.Pi
		}
		for k := range c.Decs {
			c.Decs[k] = batch.Dec{Hi: 5, Lo: 5}
		}
	}
}

// between is what the engine may do to a key group between epochs.
func between(t testing.TB, k relational.Keyed, g *relational.Group, epoch topology.Epoch, v variant) *relational.Group {
	t.Helper()
	if v.tracked && epoch%3 == 0 {
		g.State.Acknowledge(epoch - 1)
	}
	switch v.reload {
	case "reload":
		check(t, g.State.Reload())
		check(t, k.Restored(g))
	case "reopen":
		next := &relational.Group{ID: g.ID, State: state.NewGroup()}
		check(t, k.Open(next))
		check(t, next.State.Apply(g.State.AppendBase(nil)))
		check(t, k.Restored(next))
		if next.Due != g.Due {
			t.Fatalf("epoch %d: Due was %d, is %d after the state was restored", epoch, g.Due, next.Due)
		}
		if next.State.Hash() != g.State.Hash() {
			t.Fatalf("epoch %d: state differs after it was restored", epoch)
		}
		return next
	}
	return g
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func rowLines(b *batch.Batch) []string {
	var lines []string
	for i := range b.Len() {
		parts := []string{fmt.Sprintf("%+d", b.Weight(i))}
		for c := range b.Cols {
			parts = append(parts, valueText(valueAt(&b.Cols[c], i)))
		}
		lines = append(lines, strings.Join(parts, "|"))
	}
	return lines
}

// valueAt is a value as nil, int64, float64, bool, string or *big.Int.
func valueAt(c *batch.Column, i int) any {
	if c.IsNull(i) {
		return nil
	}
	switch c.Kind() {
	case batch.KindInt64:
		return c.Int64s[i]
	case batch.KindFloat64:
		return c.Float64s[i]
	case batch.KindBool:
		return c.Bools[i]
	case batch.KindDecimal:
		return decBig(c.Decs[i])
	}
	return string(c.Bytes(i))
}

func decBig(d batch.Dec) *big.Int {
	v := new(big.Int).Lsh(big.NewInt(d.Hi), 64)
	return v.Add(v, new(big.Int).SetUint64(d.Lo))
}

func bigDec(v *big.Int) batch.Dec {
	lo := new(big.Int).And(v, new(big.Int).SetUint64(math.MaxUint64))
	return batch.Dec{Hi: new(big.Int).Rsh(v, 64).Int64(), Lo: lo.Uint64()}
}

func valueText(v any) string {
	switch x := v.(type) {
	case nil:
		return "NULL"
	case float64:
		return fmt.Sprintf("%v#%x", x, math.Float64bits(x))
	case string:
		return fmt.Sprintf("%q", x)
	}
	return fmt.Sprint(v)
}

func appendValue(c *batch.Column, v any) {
	switch x := v.(type) {
	case nil:
		c.AppendNull()
	case int64:
		c.AppendInt64(x)
	case float64:
		c.AppendFloat64(x)
	case bool:
		c.AppendBool(x)
	case string:
		c.AppendString(x)
	case *big.Int:
		c.AppendDec(bigDec(x))
	}
}

// sameInEveryVariant runs op in all variants, fails when one differs from the first, and gives the output.
func sameInEveryVariant(t *testing.T, op *plan.Op, lookup relational.OperatorLookup, epochs []epochInput) (lines [][]string, late int64) {
	t.Helper()
	for i, v := range variants {
		got, gotLate := runKeyed(t, op, lookup, epochs, v)
		if i == 0 {
			lines, late = got, gotLate
			continue
		}
		equalLines(t, v.String(), lines, got)
		if gotLate != late {
			t.Fatalf("%v: %d rows late, %d with %v", v, gotLate, late, variants[0])
		}
	}
	return lines, late
}

func equalLines(t *testing.T, what string, want, got [][]string) {
	t.Helper()
	for e := range want {
		w, g := strings.Join(want[e], "\n"), strings.Join(got[e], "\n")
		if w != g {
			t.Fatalf("%s: epoch %d:\nwant\n%s\ngot\n%s", what, e+1, w, g)
		}
	}
}

// The columns of the random rows.
const (
	colInt    = 0 // BIGINT, a few values
	colText   = 1 // STRING, a few values
	colFloat  = 2 // DOUBLE, multiples of a quarter, so that sums are exact
	colDec    = 3 // DECIMAL(20, 2)
	colSmall  = 4 // SMALLINT, large values
	colBool   = 5 // BOOLEAN
	colFilter = 6 // BOOLEAN
	colEnd    = 7 // TIMESTAMP, ends of windows of 100 ms, never null
	colWide   = 8 // BIGINT, many values
)

var rowSchema = batch.NewSchema(
	batch.Field{Name: "i", Type: batch.TypeBigInt},
	batch.Field{Name: "s", Type: batch.TypeString},
	batch.Field{Name: "f", Type: batch.TypeDouble},
	batch.Field{Name: "d", Type: batch.DecimalOf(20, 2)},
	batch.Field{Name: "n", Type: batch.Type{ID: batch.SmallInt}},
	batch.Field{Name: "b", Type: batch.TypeBoolean},
	batch.Field{Name: "p", Type: batch.TypeBoolean},
	batch.Field{Name: "window_end", Type: batch.TypeTimestamp},
	batch.Field{Name: "w", Type: batch.TypeBigInt},
)

type row struct {
	weight int8
	values []any
}

func randomRow(r *rand.Rand, nulls bool, epoch int) row {
	text := []string{"", "a", "a\x00", "a\x00b", "\xff\xff", "zürich", "the longest of these words, by far"}
	v := []any{
		int64(r.IntN(9)) - 4,
		text[r.IntN(len(text))],
		float64(r.IntN(41)-20) / 4,
		big.NewInt(r.Int64N(2_000_000) - 1_000_000),
		int64(int16(r.Uint32())),
		r.IntN(2) == 0,
		r.IntN(3) > 0,
		int64(epoch*50+r.IntN(400)-100) / 100 * 100,
		r.Int64N(1000) - 500,
	}
	if nulls {
		for i := range v {
			if i != colEnd && r.IntN(5) == 0 {
				v[i] = nil
			}
		}
	}
	return row{batch.Insert, v}
}

// randomEpochs makes epochs of rows for two key groups, and the rows by epoch and key group. With updating a third of the
// rows take back an earlier one.
func randomEpochs(seed uint64, epochs, rows int, nulls, updating bool) ([]epochInput, []map[topology.KeyGroup][]row) {
	r := rand.New(rand.NewPCG(seed, 7))
	var in []epochInput
	var plain []map[topology.KeyGroup][]row
	live := map[topology.KeyGroup][]row{}
	watermark := topology.WatermarkNone
	for e := 1; e <= epochs; e++ {
		byGroup := map[topology.KeyGroup][]row{}
		for range r.IntN(rows + 1) {
			g := topology.KeyGroup(r.IntN(2) * 2)
			if updating && len(live[g]) > 0 && r.IntN(5) < 2 {
				i := r.IntN(len(live[g]))
				old := live[g][i]
				live[g] = append(live[g][:i:i], live[g][i+1:]...)
				byGroup[g] = append(byGroup[g], row{batch.Retract, old.values})
				continue
			}
			x := randomRow(r, nulls, e)
			live[g] = append(live[g], x)
			byGroup[g] = append(byGroup[g], x)
		}
		if updating && e%7 == 0 { // everything goes
			for _, g := range []topology.KeyGroup{0, 2} {
				for _, old := range live[g] {
					byGroup[g] = append(byGroup[g], row{batch.Retract, old.values})
				}
				live[g] = nil
			}
		}
		next := max(watermark, int64(e*50-r.IntN(150)))
		if e == epochs {
			next = topology.WatermarkEnd
		}
		in = append(in, epochInput{before: watermark, after: next, rows: batches(byGroup)})
		plain = append(plain, byGroup)
		watermark = next
	}
	return in, plain
}

func batches(byGroup map[topology.KeyGroup][]row) map[topology.KeyGroup]*batch.Batch {
	out := map[topology.KeyGroup]*batch.Batch{}
	for g, rows := range byGroup {
		b := batch.New(rowSchema)
		for _, x := range rows {
			for c, v := range x.values {
				appendValue(&b.Cols[c], v)
			}
			b.EndRow(x.weight)
		}
		out[g] = b
	}
	return out
}
