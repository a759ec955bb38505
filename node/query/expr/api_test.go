package expr

import (
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestFilterListsTheTrueRows(t *testing.T) {
	in := sample(t)
	for _, c := range []struct {
		src  string
		want []uint32
	}{
		{"i > 0", []uint32{9, 0, 1, 4, 7}}, {"p AND q", []uint32{9, 0}}, {"TRUE", []uint32{9, 0, 1, 2, 3, 4, 5, 6, 7, 8}}, {"FALSE", []uint32{9}},
		{"NULL", []uint32{9}}, {"i IS NULL", []uint32{9, 2, 6}}, {"p", []uint32{9, 0, 3, 6, 8}},
	} {
		p, err := Compile(checked(t, in, c.src))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := p.Filter([]uint32{9}, in.Batch, nil); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, %v, want %v", c.src, got, err, c.want)
			}
		}
		empty := batch.New(in.Schema)
		if got, err := p.Filter(nil, empty, nil); err != nil || len(got) != 0 {
			t.Errorf("%s of no rows: %v, %v", c.src, got, err)
		}
	}
}

func TestFailingExpressionsOfNoRowsDoNotFail(t *testing.T) {
	in := sample(t)
	p, err := Compile(checked(t, in, "1 / 0"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := p.Eval(batch.New(in.Schema), nil); err != nil || c.Len() != 0 {
		t.Errorf("%v, %v", c, err)
	}
}

func TestRandomNumbersBelongToTheKeyGroupsRow(t *testing.T) {
	in := sample(t)
	n := checked(t, in, "RAND()")
	n.Site = 4
	p, err := Compile(n)
	if err != nil {
		t.Fatal(err)
	}
	values := func(groups []topology.KeyGroup, offsets, base []uint32) []float64 {
		env := *testEnv
		env.Groups, env.Offsets, env.Base = groups, offsets, base
		c, err := p.Eval(in.Batch, &env)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(c.Float64s)
	}
	a := values([]topology.KeyGroup{3, 5}, []uint32{0, 4, 9}, []uint32{10, 0})
	b := values([]topology.KeyGroup{3, 4, 5}, []uint32{0, 1, 1, 9}, []uint32{13, 0, 2})
	if a[3] != b[0] {
		t.Errorf("row 13 of group 3 is %v in one cut and %v in another", a[3], b[0])
	}
	if !slices.Equal(a[6:9], b[1:4]) {
		t.Errorf("rows 2 to 5 of group 5 are %v and %v", a[6:9], b[1:4])
	}
}

func TestCoerceAllowsWhatInsertIntoAllows(t *testing.T) {
	for _, c := range []struct {
		from, to batch.Type
		ok       bool
	}{
		{batch.TypeInt, batch.TypeBigInt, true}, {batch.TypeBigInt, batch.TypeInt, false}, {batch.TypeInt, batch.DecimalOf(5, 1), true},
		{batch.TypeString, batch.TypeInt, false}, {batch.TypeInt, batch.TypeString, false}, {batch.TypeString, batch.Type{ID: batch.Varchar, Precision: 3}, true},
		{batch.TypeNull, batch.TypeDate, true}, {batch.TypeTimestamp, batch.TypeDate, true}, {batch.TypeDouble, batch.TypeFloat, false}, {batch.TypeFloat, batch.TypeDouble, true},
		{batch.ArrayOf(batch.TypeInt), batch.ArrayOf(batch.TypeBigInt), true}, {batch.ArrayOf(batch.TypeString), batch.ArrayOf(batch.TypeInt), false},
	} {
		n, err := Coerce(ColumnNode(0, "c", c.from, ast.Pos{Line: 1, Column: 1}), c.to)
		if (err == nil) != c.ok {
			t.Errorf("%s to %s: %v", c.from, c.to, err)
		} else if err == nil && !n.Type.Equal(c.to) {
			t.Errorf("%s to %s gives %s", c.from, c.to, n.Type)
		}
	}
}

func TestCommonTypesAreSymmetric(t *testing.T) {
	types := []batch.Type{batch.TypeNull, batch.TypeBoolean, batch.TypeTinyInt, batch.TypeInt, batch.TypeBigInt, batch.TypeFloat, batch.TypeDouble, batch.DecimalOf(10, 2), batch.DecimalOf(38, 30),
		{ID: batch.Char, Precision: 2}, {ID: batch.Char, Precision: 3}, batch.TypeString, batch.TypeBytes, batch.TypeDate, batch.TypeTime, batch.TypeTimestamp, batch.TypeTimestampLTZ,
		batch.ArrayOf(batch.TypeInt), batch.ArrayOf(batch.TypeDouble), batch.MapOf(batch.TypeString, batch.TypeInt), batch.TypeInterval, batch.TypeIntervalYM}
	for _, a := range types {
		for _, b := range types {
			ab, ok1 := CommonType(a, b)
			ba, ok2 := CommonType(b, a)
			if ok1 != ok2 || ok1 && !ab.Equal(ba) {
				t.Errorf("%s and %s: %s %v, other way %s %v", a, b, ab, ok1, ba, ok2)
			}
			if ok1 && (!explicitCast(a, ab) || !explicitCast(b, ab)) {
				t.Errorf("%s and %s have the common type %s, which they cannot be cast to", a, b, ab)
			}
		}
	}
}

func TestRemapAndWalkReachEveryColumn(t *testing.T) {
	n := checked(t, sample(t), "CASE WHEN p THEN i + b ELSE CARDINALITY(ARRAY[s]) END")
	m := n.Remap(func(c int) int { return c + 100 })
	var before, after []int
	Walk(n, func(x *Node) {
		if x.Op == OpColumn {
			before = append(before, x.Column+100)
		}
	})
	Walk(m, func(x *Node) {
		if x.Op == OpColumn {
			after = append(after, x.Column)
		}
	})
	if len(before) != 4 || !slices.Equal(before, after) {
		t.Errorf("%v, remapped %v", before, after)
	}
	if n.String() != m.String() || Equal(n, m) {
		t.Errorf("%s, remapped %s", n, m)
	}
}

// replacing replaces one expression, by its text's position, by column 0.
type replacing struct{ table }

func (replacing) Replace(e ast.Expr) (*Node, bool, error) {
	if c, ok := e.(*ast.Call); ok && strings.EqualFold(c.Name, "COUNT") {
		return ColumnNode(0, "", batch.TypeBigInt, c.Pos), true, nil
	}
	return nil, false, nil
}

func TestScopesMayReplaceAggregates(t *testing.T) {
	e, err := ast.ParseExpr("COUNT(DISTINCT s) + 1 > 5 AND TRUE")
	if err != nil {
		t.Fatal(err)
	}
	n, err := Check(e, replacing{sample(t)})
	if err != nil || n.String() != "$0 + 1 > 5 AND TRUE" {
		t.Errorf("%v, %v", n, err)
	}
}
