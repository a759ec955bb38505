package cell

import (
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector/connectortest"
)

func TestIntegersAreExactAndBounded(t *testing.T) {
	for _, c := range []struct {
		t    batch.Type
		text string
		want int64
		ok   bool
	}{
		{batch.TypeTinyInt, "-128", -128, true}, {batch.TypeTinyInt, "128", 0, false}, {batch.TypeSmallInt, "32768", 0, false}, {batch.TypeInt, "2147483647", 2147483647, true},
		{batch.TypeBigInt, "9223372036854775807", 9223372036854775807, true}, {batch.TypeBigInt, "9223372036854775808", 0, false}, {batch.TypeBigInt, " 7 ", 7, true},
		{batch.TypeInt, "1.00", 1, true}, {batch.TypeInt, "1.01", 0, false}, {batch.TypeInt, "1e3", 0, false}, {batch.TypeInt, ".0", 0, false}, {batch.TypeInt, "", 0, false}, {batch.TypeInt, "-", 0, false},
	} {
		column := batch.NewColumn(c.t)
		err := Append(column, []byte(c.text), nil)
		if (err == nil) != c.ok || c.ok && column.Int64s[0] != c.want || !c.ok && column.Len() != 0 {
			t.Errorf("%s %q: %v, %v", c.t, c.text, column.Int64s, err)
		}
	}
}

func TestErrorsShowTheTextsBeginningOnly(t *testing.T) {
	err := Append(batch.NewColumn(batch.TypeInt), []byte(strings.Repeat("x", 10000)), nil)
	if err == nil || len(err.Error()) > 200 {
		t.Fatal(err)
	}
}

// TestRollbackTakesAwayWhatARowBegan appends good rows of nested columns with halves of rows between them.
func TestRollbackTakesAwayWhatARowBegan(t *testing.T) {
	row := batch.RowOf(batch.Field{Name: "x", Type: batch.TypeInt}, batch.Field{Name: "s", Type: batch.TypeString})
	schema := batch.NewSchema(batch.Field{Name: "n", Type: batch.TypeInt}, batch.Field{Name: "r", Type: row}, batch.Field{Name: "l", Type: batch.ArrayOf(row)}, batch.Field{Name: "s", Type: batch.TypeString})
	add := func(b *batch.Batch, i int) {
		if i%3 == 0 {
			for k := range b.Cols {
				b.Cols[k].AppendNull()
			}
			return
		}
		b.Cols[0].AppendInt64(int64(i))
		fill := func(c *batch.Column) {
			c.Children[0].AppendInt64(int64(i))
			c.Children[1].AppendString("text")
			c.CloseRow()
		}
		fill(&b.Cols[1])
		for range i % 4 {
			fill(b.Cols[2].Children[0])
		}
		b.Cols[2].CloseList()
		b.Cols[3].AppendString("s")
	}
	want, got := batch.New(schema), batch.New(schema)
	for i := range 200 {
		add(want, i)
		want.EndRow(batch.Insert)
		switch i % 5 {
		case 1:
			add(got, i+1)
		case 2:
			got.Cols[0].AppendNull()
			got.Cols[1].Children[0].AppendInt64(1)
			got.Cols[2].Children[0].Children[1].AppendNull()
		case 3:
			got.Cols[2].Children[0].AppendNull()
			got.Cols[3].AppendNull()
		}
		Rollback(got)
		connectortest.CheckColumns(t, got)
		add(got, i)
		got.EndRow(batch.Insert)
	}
	connectortest.CheckColumns(t, got)
	if connectortest.Digest(got, 0) != connectortest.Digest(want, 0) {
		t.Fatal("other rows")
	}
}
