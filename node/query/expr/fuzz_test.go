package expr

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

// generator writes random expressions, most of them well typed by luck, over the sample's columns.
type generator struct {
	r     *rand.Rand
	names []string
}

func (g *generator) pick(list ...string) string { return list[g.r.IntN(len(list))] }

func (g *generator) expr(depth int) string {
	if depth <= 0 || g.r.IntN(6) == 0 {
		return g.pick("i", "b", "ti", "d", "f", "dec", "s", "p", "q", "day", "tm", "ts", "ltz", "1", "0", "-3", "2.5", "1e2", "'a'", "'12'", "''", "NULL", "TRUE",
			"DATE '2020-01-31'", "TIMESTAMP '2020-01-01 00:00:00'", "INTERVAL '1' DAY", "INTERVAL '2' MONTH", "ARRAY[1, 2]", "ARRAY['a', s]", "MAP['a', i]", "'[a-z]+'", "'%a%'", "9223372036854775807")
	}
	e := func() string { return g.expr(depth - 1) }
	switch g.r.IntN(14) {
	case 0, 1:
		return "(" + e() + " " + g.pick("+", "-", "*", "/", "%", "||") + " " + e() + ")"
	case 2, 3:
		return "(" + e() + " " + g.pick("=", "<>", "<", "<=", ">", ">=", "LIKE", "IS DISTINCT FROM", "AND", "OR") + " " + e() + ")"
	case 4:
		return "(NOT " + e() + ")"
	case 5:
		return "CASE WHEN " + e() + " THEN " + e() + " WHEN " + e() + " THEN " + e() + " ELSE " + e() + " END"
	case 6:
		return "(" + e() + " " + g.pick("IS NULL", "IS NOT NULL", "IS TRUE", "IS NOT FALSE") + ")"
	case 7:
		return g.pick("CAST(", "TRY_CAST(") + e() + " AS " + g.pick("INT", "TINYINT", "BIGINT", "DOUBLE", "FLOAT", "DECIMAL(10, 3)", "STRING", "CHAR(3)", "BOOLEAN", "DATE", "TIME", "TIMESTAMP(3)", "TIMESTAMP_LTZ(3)", "BYTES", "ARRAY<STRING>") + ")"
	case 8:
		return "(" + e() + " IN (" + e() + ", " + e() + ", " + e() + "))"
	case 9:
		return "(" + e() + " BETWEEN " + e() + " AND " + e() + ")"
	case 10:
		return e() + "[" + e() + "]"
	}
	args := make([]string, g.r.IntN(4))
	for i := range args {
		args[i] = e()
	}
	name := g.names[g.r.IntN(len(g.names))]
	if name == "REPEAT" || name == "LPAD" || name == "RPAD" {
		return "UPPER(" + e() + ")" // their results may be tens of megabytes
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// sameAtAllSizes evaluates src, if it is an expression at all, at every batch size, folded, and after a trip through JSON.
func sameAtAllSizes(t *testing.T, in table, src string) bool {
	e, err := ast.ParseExpr(src)
	if err != nil {
		return false
	}
	n, err := Check(e, in)
	if err != nil {
		var at *ast.Error
		if !errors.As(err, &at) {
			t.Errorf("%s: %T is not an *ast.Error: %v", src, err, err)
		}
		return false
	}
	if _, err := Compile(n); err != nil {
		return false
	}
	want, _, wantErr := runAll(t, in, src, testEnv)
	folded, err := Fold(n)
	if err != nil {
		t.Errorf("%s compiles but does not fold: %v", src, err)
		return false
	}
	text, err := json.Marshal(folded)
	if err != nil {
		t.Fatal(err)
	}
	var back Node
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !Equal(&back, folded) {
		t.Errorf("%s: %s is not equal to itself after JSON", src, folded)
	}
	p, err := Compile(&back)
	if err != nil {
		t.Errorf("%s compiles, but not once folded: %v", src, err)
		return false
	}
	env := *testEnv
	env.Groups, env.Offsets, env.Base = nil, nil, nil
	c, err := p.Eval(in.Batch, &env)
	if strings.Contains(src, "RAND") || strings.Contains(src, "UUID") {
		return true
	}
	var got []string
	var row, wantRow *RowError
	if errors.As(err, &row) != errors.As(wantErr, &wantRow) || row != nil && row.Row != wantRow.Row {
		t.Errorf("%s: %v, once folded %v", src, wantErr, err)
		return true
	}
	if err == nil {
		for i := range c.Len() {
			got = append(got, string(AppendText(nil, c, i, nil)))
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: %q, once folded %q", src, want, got)
		}
	}
	return true
}

func TestRandomExpressionsGiveTheSameAtAllBatchSizes(t *testing.T) {
	in := sample(t)
	g := &generator{rand.New(rand.NewPCG(1, 2)), Functions()}
	valid := 0
	const tries = 20_000
	for range tries {
		if sameAtAllSizes(t, in, g.expr(1+g.r.IntN(3))) {
			valid++
		}
	}
	if valid < tries/20 {
		t.Errorf("only %d of %d random expressions were valid", valid, tries)
	}
}

func FuzzExpression(f *testing.F) {
	g := &generator{rand.New(rand.NewPCG(3, 4)), Functions()}
	for range 200 {
		f.Add(g.expr(3))
	}
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) < 300 && !strings.Contains(strings.ToUpper(src), "PAD") && !strings.Contains(strings.ToUpper(src), "REPEAT") {
			sameAtAllSizes(t, sample(t), src)
		}
	})
}

func FuzzParseText(f *testing.F) {
	for _, s := range []string{"12", "-1.5e3", "2020-02-29 12:34:56.789", "true", "+0.0000000000000000000000000000000000000001", "99999999999999999999999999999999999999", "12:00", "-0", "1e999999", "\xff", " 7 "} {
		f.Add(s)
	}
	types := []batch.Type{batch.TypeTinyInt, batch.TypeBigInt, batch.TypeFloat, batch.TypeDouble, batch.DecimalOf(38, 10), batch.DecimalOf(5, 5), batch.TypeBoolean,
		{ID: batch.Char, Precision: 3}, batch.TypeString, batch.TypeBytes, batch.TypeDate, {ID: batch.Time, Precision: 3}, batch.TypeTimestamp, batch.TypeTimestampLTZ}
	f.Fuzz(func(t *testing.T, s string) {
		for _, typ := range types {
			c := batch.NewColumn(typ)
			if err := ParseText(c, []byte(s)); err != nil {
				if c.Len() != 0 {
					t.Fatalf("%q as %s failed and left a row", s, typ)
				}
				continue
			}
			if c.Len() != 1 {
				t.Fatalf("%q as %s: %d rows", s, typ, c.Len())
			}
			if c.IsNull(0) {
				continue
			}
			text := AppendText(nil, c, 0, nil)
			if err := ParseText(c, text); err != nil {
				t.Fatalf("%q as %s prints as %q: %v", s, typ, text, err)
			}
			if again := AppendText(nil, c, 1, nil); string(again) != string(text) {
				t.Fatalf("%q as %s prints as %q, then %q", s, typ, text, again)
			}
		}
	})
}

func TestDecimalsEqualBigIntegers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	random := func() (batch.Dec, *big.Int) {
		v := new(big.Int)
		for range r.IntN(38) {
			v.Mul(v, big.NewInt(10)).Add(v, big.NewInt(int64(r.IntN(10))))
		}
		if r.IntN(2) == 0 {
			v.Neg(v)
		}
		d, ok := bigDec(v, 38)
		if !ok {
			t.Fatal(v)
		}
		return d, v
	}
	check := func(name string, got batch.Dec, ok bool, want *big.Int, from, to int) {
		w, wok := bigRescale(new(big.Int).Set(want), from, to, 38)
		if ok != wok || ok && got != w {
			t.Fatalf("%s: %s %v, want %s %v", name, AppendDecimal(nil, got, to), ok, AppendDecimal(nil, w, to), wok)
		}
	}
	for range 20_000 {
		a, x := random()
		b, y := random()
		as, bs, s := r.IntN(20), r.IntN(20), r.IntN(20)
		at := func(v *big.Int, scale int) *big.Int { return new(big.Int).Mul(v, bigPow10(max(as, bs)-scale)) }
		name := fmt.Sprintf("%v e-%d, %v e-%d at %d", x, as, y, bs, s)
		got, ok := decAdd(a, as, b, bs, false, 38, s)
		check("sum of "+name, got, ok, new(big.Int).Add(at(x, as), at(y, bs)), max(as, bs), s)
		got, ok = decAdd(a, as, b, bs, true, 38, s)
		check("difference of "+name, got, ok, new(big.Int).Sub(at(x, as), at(y, bs)), max(as, bs), s)
		got, ok = decMul(a, as, b, bs, 38, s)
		check("product of "+name, got, ok, new(big.Int).Mul(x, y), as+bs, s)
		if y.Sign() != 0 {
			got, ok = decMod(a, as, b, bs, 38, s)
			check("remainder of "+name, got, ok, new(big.Int).Rem(at(x, as), at(y, bs)), max(as, bs), s)
			got, ok = decDiv(a, as, b, bs, 38, s)
			n, d := new(big.Int).Mul(x, bigPow10(s+bs+1)), new(big.Int).Mul(y, bigPow10(as))
			q := new(big.Int).Quo(n, d) // one digit more decides, as nothing below can turn down into up
			check("quotient of "+name, got, ok, q, s+1, s)
		}
	}
}
