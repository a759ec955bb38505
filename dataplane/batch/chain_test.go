package batch

import (
	"testing"

	"pgregory.net/rapid"
)

func TestChainDoesNotDependOnHowRowsAreCutOrStored(t *testing.T) {
	checkProperty(t, func(t *rapid.T) {
		b := drawBatch(t)
		whole, scratch := b.Chain(7, 0, b.Len(), nil)
		h, from := uint64(7), 0
		for from < b.Len() {
			to := rapid.IntRange(from+1, b.Len()).Draw(t, "to")
			h, scratch = b.Chain(h, from, to, scratch)
			from = to
		}
		if h != whole {
			t.Fatalf("chain in parts is %x, whole %x", h, whole)
		}
		c := rowByRow(b, 0, b.Len())
		spoilBatch(c)
		c.AppendRange(b, 0, b.Len())
		for k := range c.Cols {
			for len(c.Cols[k].Nulls) < b.Len()/64+2 {
				c.Cols[k].Nulls = append(c.Cols[k].Nulls, 0)
			}
		}
		c.needWeights()
		if h, _ := c.Chain(7, 0, c.Len(), nil); h != whole {
			t.Fatalf("chain of the same rows in other memory is %x, want %x", h, whole)
		}
	})
}

// chainOf is the chain of one row of one column of type t that put appends.
func chainOf(t Type, weight int8, put func(c *Column)) uint64 {
	b := New(NewSchema(Field{"v", t}))
	put(&b.Cols[0])
	b.EndRow(weight)
	h, _ := b.Chain(1, 0, 1, nil)
	return h
}

func TestChainTellsRowsApart(t *testing.T) {
	row := RowOf(Field{"a", TypeInt})
	list := ArrayOf(TypeInt)
	wipe := uint64(mixB)
	cases := []struct {
		name string
		a, b uint64
	}{
		{"null and zero", chainOf(TypeInt, 1, func(c *Column) { c.AppendNull() }), chainOf(TypeInt, 1, func(c *Column) { c.AppendInt64(0) })},
		{"insert and retraction", chainOf(TypeInt, 1, func(c *Column) { c.AppendInt64(1) }), chainOf(TypeInt, -1, func(c *Column) { c.AppendInt64(1) })},
		{"null row and row of zero",
			chainOf(row, 1, func(c *Column) { c.AppendNull() }),
			chainOf(row, 1, func(c *Column) { c.Children[0].AppendInt64(0); c.CloseRow() })},
		{"null row and row of null",
			chainOf(row, 1, func(c *Column) { c.AppendNull() }),
			chainOf(row, 1, func(c *Column) { c.Children[0].AppendNull(); c.CloseRow() })},
		{"null list and empty list",
			chainOf(list, 1, func(c *Column) { c.AppendNull() }),
			chainOf(list, 1, func(c *Column) { c.CloseList() })},
		{"empty list and list of null",
			chainOf(list, 1, func(c *Column) { c.CloseList() }),
			chainOf(list, 1, func(c *Column) { c.Children[0].AppendNull(); c.CloseList() })},
		{"different values before the one that zeroes the product",
			chainOf(RowOf(Field{"a", TypeBigInt}, Field{"b", TypeBigInt}), 1, func(c *Column) {
				c.Children[0].AppendInt64(1)
				c.Children[1].AppendInt64(int64(wipe))
				c.CloseRow()
			}),
			chainOf(RowOf(Field{"a", TypeBigInt}, Field{"b", TypeBigInt}), 1, func(c *Column) {
				c.Children[0].AppendInt64(2)
				c.Children[1].AppendInt64(int64(wipe))
				c.CloseRow()
			})},
	}
	for _, c := range cases {
		if c.a == c.b {
			t.Errorf("%s have the same chain %x", c.name, c.a)
		}
	}
}

func TestChainDependsOnTheOrderOfRows(t *testing.T) {
	a, b := New(NewSchema(Field{"v", TypeInt})), New(NewSchema(Field{"v", TypeInt}))
	for i := range 5 {
		a.Cols[0].AppendInt64(int64(i))
		a.EndRow(Insert)
		b.Cols[0].AppendInt64(int64(4 - i))
		b.EndRow(Insert)
	}
	x, _ := a.Chain(0, 0, 5, nil)
	y, _ := b.Chain(0, 0, 5, nil)
	if x == y {
		t.Fatalf("both orders have chain %x", x)
	}
}
