package ast

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// The canonical text shows the tree: parentheses stand only where the tree needs them.
var canonicalExprs = []struct{ src, want string }{
	{"1", "1"}, {".5", "0.5"}, {"1.50", "1.50"}, {"1E+3", "1e+3"}, {"'it''s'", "'it''s'"}, {"x'0aFF'", "X'0aFF'"}, {"null", "NULL"}, {"true", "TRUE"},
	{"a", "a"}, {"t . a", "t.a"}, {"t.select.end", "t.`select`.`end`"}, {"`a b`.`c``d`", "`a b`.`c``d`"}, {"größe", "größe"},
	{"a+b*c", "a + b * c"}, {"(a+b)*c", "(a + b) * c"}, {"a-b-c", "a - b - c"}, {"a-(b-c)", "a - (b - c)"}, {"a - -b", "a - -b"}, {"- -a", "-(-a)"},
	{"-a*b", "-a * b"}, {"-(a*b)", "-(a * b)"}, {"a || b || c", "a || b || c"}, {"a || b + c", "a || b + c"}, {"a || (b + c)", "a || (b + c)"}, {"a+b||c", "a + b || c"},
	{"a % 2 = 0", "a % 2 = 0"}, {"a != b", "a <> b"}, {"a or b and not c = d", "a OR b AND NOT c = d"}, {"(a or b) and c", "(a OR b) AND c"},
	{"not a is null", "NOT a IS NULL"}, {"(not a) is null", "(NOT a) IS NULL"}, {"a = b is null", "a = b IS NULL"}, {"a = (b is null)", "a = (b IS NULL)"},
	{"a is not unknown", "a IS NOT UNKNOWN"}, {"a is distinct from b + 1 and c", "a IS DISTINCT FROM b + 1 AND c"}, {"a = b is not distinct from c", "a = b IS NOT DISTINCT FROM c"},
	{"a between 1 and 2 and b", "a BETWEEN 1 AND 2 AND b"}, {"a not between b+1 and c or d", "a NOT BETWEEN b + 1 AND c OR d"}, {"a between asymmetric 1 and 2", "a BETWEEN 1 AND 2"},
	{"a between (b and c) and d", "a BETWEEN (b AND c) AND d"}, {"a = b between 1 and 2", "a = b BETWEEN 1 AND 2"}, {"(a = b) in (c)", "(a = b) IN (c)"},
	{"a in (1, 2+3)", "a IN (1, 2 + 3)"}, {"a not in (select b from t)", "a NOT IN (SELECT b FROM t)"},
	{"a like 'x%' escape '!'", "a LIKE 'x%' ESCAPE '!'"}, {"a not like b || '%'", "a NOT LIKE b || '%'"}, {"a similar to 'b'", "a SIMILAR TO 'b'"},
	{"case when a then 1 else 2 end", "CASE WHEN a THEN 1 ELSE 2 END"}, {"case a when 1 then b when 2 then c end + 1", "CASE a WHEN 1 THEN b WHEN 2 THEN c END + 1"},
	{"cast(a as decimal(23,3))", "CAST(a AS DECIMAL(23, 3))"}, {"try_cast('1' as int)", "TRY_CAST('1' AS INT)"}, {"cast(a as row<`x y` int not null, b array<string>>)", "CAST(a AS ROW<`x y` INT NOT NULL, b ARRAY<STRING>>)"},
	{"count(*)", "count(*)"}, {"Count(distinct a)", "Count(DISTINCT a)"}, {"sum(all a)", "sum(a)"}, {"f()", "f()"}, {"left(a, 2)", "left(a, 2)"}, {"if(a, b, c)", "if(a, b, c)"}, {"year(a)", "year(a)"},
	{"count(*) filter (where price < 10)", "count(*) FILTER (WHERE price < 10)"}, {"current_timestamp", "current_timestamp"}, {"LOCALTIME", "LOCALTIME"}, {"now()", "now()"},
	{"row_number() over (partition by a, b order by c desc nulls last, d)", "row_number() OVER (PARTITION BY a, b ORDER BY c DESC NULLS LAST, d)"},
	{"avg(a) over (order by b rows between 10 preceding and current row)", "avg(a) OVER (ORDER BY b ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)"},
	{"avg(a) over (order by b range between interval '1' hour preceding and unbounded following)", "avg(a) OVER (ORDER BY b RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND UNBOUNDED FOLLOWING)"},
	{"avg(a) over (order by b rows unbounded preceding)", "avg(a) OVER (ORDER BY b ROWS UNBOUNDED PRECEDING)"},
	{"extract(day from a)", "extract(DAY FROM a)"}, {"timestampadd(minute, 3, a)", "timestampadd(MINUTE, 3, a)"}, {"TIMESTAMPDIFF(second, a, b)", "TIMESTAMPDIFF(SECOND, a, b)"},
	{"floor(a to hour)", "floor(a TO HOUR)"}, {"ceil(a)", "ceil(a)"}, {"trim(a)", "trim(a)"}, {"trim(leading 'x' from a)", "trim(LEADING 'x' FROM a)"}, {"trim('x' from a)", "trim(BOTH 'x' FROM a)"}, {"trim(trailing from a)", "trim(TRAILING ' ' FROM a)"},
	{"substring(a from 1 for 2)", "substring(a, 1, 2)"}, {"substring(a, 1)", "substring(a, 1)"}, {"overlay(a placing b from 1 for 2)", "overlay(a, b, 1, 2)"}, {"position('a' in b)", "position('a' IN b)"},
	{"array[1, 2][1]", "ARRAY[1, 2][1]"}, {"array[]", "ARRAY[]"}, {"map['a', 1]['a']", "MAP['a', 1]['a']"}, {"row(a, 1)", "ROW(a, 1)"}, {"(a, 1)", "ROW(a, 1)"},
	{"a.b[1].c", "a.b[1].c"}, {"f(x).y.z", "f(x).y.z"}, {"(a).b", "(a).b"}, {"(1).x", "(1).x"}, {"(a+b).c", "(a + b).c"}, {"-a[1]", "-a[1]"},
	{"date '2020-01-01'", "DATE '2020-01-01'"}, {"time '10:00:00'", "TIME '10:00:00'"}, {"timestamp '2020-01-01 00:00:00'", "TIMESTAMP '2020-01-01 00:00:00'"},
	{"interval '10' second", "INTERVAL '10' SECOND"}, {"interval - '10' minute", "INTERVAL '-10' MINUTE"}, {"interval -'-10' day(3)", "INTERVAL '10' DAY"}, {"interval '1 02:03:04.5' day to second(3)", "INTERVAL '1 02:03:04.5' DAY TO SECOND"}, {"interval '1-2' year to month", "INTERVAL '1-2' YEAR TO MONTH"},
	{"exists (select 1)", "EXISTS (SELECT 1)"}, {"(select max(a) from t) + 1", "(SELECT max(a) FROM t) + 1"}, {"((select 1) union all (select 2))", "(SELECT 1 UNION ALL SELECT 2)"},
	// Words that are keywords somewhere else are names where nothing else is meant.
	{"value + count + `date` + date + time + timestamp + key + type + word + data + user + start", "value + count + date + date + time + timestamp + key + type + word + data + user + start"},
	{"timestamp >= date - interval", "timestamp >= date - `interval`"}, {"`array`[1]", "`array`[1]"}, {"`cast`(a)", "`cast`(a)"}, {"`row`(a)", "`row`(a)"}, {"value.value", "value.value"}, {"date(a)", "date(a)"},
	{"a /* c */ + -- d\n b", "a + b"},
}

func TestExpressionsParseToTheirCanonicalText(t *testing.T) {
	for _, c := range canonicalExprs {
		e := mustExpr(t, c.src)
		got := Format(e)
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.src, got, c.want)
			continue
		}
		if again := mustExpr(t, got); !samePositionless(e, again) {
			t.Errorf("%s is another tree than %s", got, c.src)
		}
	}
}

func TestSpecialFormsCarryTheArgumentsOfTheirComment(t *testing.T) {
	for src, want := range map[string]string{
		"EXTRACT(DAY FROM a)": "'DAY'|a", "TRIM(a)": "a", "TRIM(LEADING FROM a)": "'LEADING'|' '|a", "POSITION(a IN b)": "a|b",
		"FLOOR(a TO HOUR)": "a|'HOUR'", "TIMESTAMPDIFF(DAY, a, b)": "'DAY'|a|b", "CURRENT_DATE": "", "SUBSTRING(a FROM 2)": "a|2",
	} {
		var args []string
		for _, a := range mustExpr(t, src).(*Call).Args {
			args = append(args, Format(a))
		}
		if got := strings.Join(args, "|"); got != want {
			t.Errorf("%s: got arguments %s, want %s", src, got, want)
		}
	}
}

func TestPositionsCountCharactersFromOne(t *testing.T) {
	b := mustExpr(t, "'äöü'\r\n\t= `ß` + c").(*Binary)
	if b.Pos != (Pos{2, 2}) {
		t.Errorf("= at %v", b.Pos)
	}
	sum := b.R.(*Binary)
	if sum.Pos != (Pos{2, 8}) || sum.R.Position() != (Pos{2, 10}) {
		t.Errorf("+ at %v, c at %v", sum.Pos, sum.R.Position())
	}
}

func TestTypesParse(t *testing.T) {
	vc := func(id batch.TypeID, n int) batch.Type { return batch.Type{ID: id, Precision: n} }
	for _, c := range []struct {
		src  string
		want batch.Type
	}{
		{"tinyint", batch.TypeTinyInt}, {"SMALLINT", batch.TypeSmallInt}, {"INT", batch.TypeInt}, {"INTEGER", batch.TypeInt}, {"BIGINT NOT NULL", batch.TypeBigInt.AsNotNull()}, {"BIGINT NULL", batch.TypeBigInt},
		{"FLOAT", batch.TypeFloat}, {"DOUBLE", batch.TypeDouble}, {"DOUBLE PRECISION", batch.TypeDouble}, {"DECIMAL", batch.DecimalOf(10, 0)}, {"DEC(5)", batch.DecimalOf(5, 0)}, {"NUMERIC(38, 38)", batch.DecimalOf(38, 38)},
		{"BOOLEAN", batch.TypeBoolean}, {"CHAR", vc(batch.Char, 1)}, {"CHAR(3)", vc(batch.Char, 3)}, {"VARCHAR", batch.TypeString}, {"VARCHAR(7)", vc(batch.Varchar, 7)}, {"STRING", batch.TypeString},
		{"BYTES", batch.TypeBytes}, {"BINARY(2)", vc(batch.Bytes, 2)}, {"VARBINARY(2)", vc(batch.Bytes, 2)}, {"VARBINARY", batch.TypeBytes}, {"DATE", batch.TypeDate}, {"TIME", batch.TypeTime}, {"TIME(3)", batch.TypeTime},
		{"TIMESTAMP", batch.TypeTimestamp}, {"TIMESTAMP(0)", batch.TypeTimestamp}, {"TIMESTAMP(3) WITHOUT TIME ZONE", batch.TypeTimestamp}, {"TIMESTAMP(3) WITH LOCAL TIME ZONE", batch.TypeTimestampLTZ}, {"TIMESTAMP_LTZ(3) NOT NULL", batch.TypeTimestampLTZ.AsNotNull()}, {"TIMESTAMP_LTZ", batch.TypeTimestampLTZ},
		{"ARRAY<ARRAY<INT NOT NULL>>", batch.ArrayOf(batch.ArrayOf(batch.TypeInt.AsNotNull()))}, {"MAP<STRING, ARRAY<INT>>", batch.MapOf(batch.TypeString, batch.ArrayOf(batch.TypeInt))},
		{"ROW<a INT, `b c` ROW(d STRING 'comment')> NOT NULL", batch.RowOf(batch.Field{Name: "a", Type: batch.TypeInt}, batch.Field{Name: "b c", Type: batch.RowOf(batch.Field{Name: "d", Type: batch.TypeString})}).AsNotNull()},
		{"INTERVAL DAY TO SECOND(3)", batch.TypeInterval}, {"INTERVAL YEAR TO MONTH", batch.TypeIntervalYM},
	} {
		got, err := ParseType(c.src)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		if !samePositionless(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.src, got, c.want)
		}
		if again, err := ParseType(FormatType(got)); err != nil || !samePositionless(again, got) {
			t.Errorf("%s is written %s, which gives %v, %v", c.src, FormatType(got), again, err)
		}
	}
}

// exprMaker makes random trees of every node.
type exprMaker struct{ *rand.Rand }

func (m exprMaker) oneOf(list ...string) string { return list[m.IntN(len(list))] }

func (m exprMaker) name() Name {
	return Name{Text: m.oneOf("a", "b1", "value", "select", "a b", "x`y", "interval", "array", "current_date", "both", "ü", "9", "end", "row", "symmetric", "distinct", "filter")}
}

func (m exprMaker) list(depth, low int) []Expr {
	list := make([]Expr, low+m.IntN(3))
	for i := range list {
		list[i] = m.expr(depth)
	}
	return list
}

func (m exprMaker) maybe(depth int) Expr {
	if m.IntN(2) == 0 {
		return nil
	}
	return m.expr(depth)
}

func (m exprMaker) leaf() Expr {
	switch m.IntN(10) {
	case 0:
		return &Literal{Kind: LiteralNull}
	case 1:
		return &Literal{Kind: LiteralBool, Bool: m.IntN(2) == 0}
	case 2:
		return &Literal{Kind: LiteralString, Text: m.oneOf("", "'", "DAY", "BOTH", "--", "ü\n")}
	case 3:
		return &Literal{Kind: LiteralHex, Text: "0aFF"}
	case 4:
		return &Literal{Kind: LiteralKind(LiteralDate + LiteralKind(m.IntN(3))), Text: "1"}
	case 5:
		return &Literal{Kind: LiteralInterval, Text: m.oneOf("-1", "10"), Unit: m.oneOf(timeUnits...)}
	case 6, 7:
		return &Literal{Kind: LiteralNumber, Text: m.oneOf("0", "1.5", "2e-3")}
	}
	c := &Column{Parts: []Name{m.name()}}
	for m.IntN(3) == 0 {
		c.Parts = append(c.Parts, m.name())
	}
	return c
}

func (m exprMaker) expr(depth int) Expr {
	if depth == 0 {
		return m.leaf()
	}
	depth--
	not := m.IntN(2) == 0
	switch m.IntN(16) {
	case 0:
		return &Unary{Op: m.oneOf("-", "+", "NOT"), X: m.expr(depth)}
	case 1, 2, 3:
		return &Binary{Op: m.oneOf("+", "-", "*", "/", "%", "||", "=", "<>", "<", "<=", ">", ">=", "AND", "OR"), L: m.expr(depth), R: m.expr(depth)}
	case 4:
		return &Is{X: m.expr(depth), Not: not, What: m.oneOf("NULL", "TRUE", "FALSE", "UNKNOWN")}
	case 5:
		return &IsDistinct{L: m.expr(depth), R: m.expr(depth), Not: not}
	case 6:
		return &Between{X: m.expr(depth), Low: m.expr(depth), High: m.expr(depth), Not: not}
	case 7:
		if m.IntN(3) == 0 {
			return &In{X: m.expr(depth), Query: m.query(depth), Not: not}
		}
		return &In{X: m.expr(depth), List: m.list(depth, 1), Not: not}
	case 8:
		return &Like{X: m.expr(depth), Pattern: m.expr(depth), Escape: m.maybe(depth), Not: not, Similar: m.IntN(2) == 0}
	case 9:
		return &Case{Operand: m.maybe(depth), Whens: []When{{m.expr(depth), m.expr(depth)}, {m.expr(depth), m.expr(depth)}}, Else: m.maybe(depth)}
	case 10:
		return &Cast{X: m.expr(depth), Type: batch.RowOf(batch.Field{Name: m.name().Text, Type: batch.MapOf(batch.TypeString, batch.DecimalOf(5, 2).AsNotNull())}), Try: not}
	case 11, 12:
		return m.call(depth)
	case 13:
		switch m.IntN(3) {
		case 0:
			return &ArrayValue{Items: m.list(depth, 0)}
		case 1:
			return &MapValue{Items: []Expr{m.expr(depth), m.expr(depth)}}
		}
		return &RowValue{Items: m.list(depth, 1)}
	case 14:
		if not {
			return &Index{X: m.expr(depth), I: m.expr(depth)}
		}
		return &FieldAccess{X: m.expr(depth), Name: m.name()}
	}
	if not {
		return &Exists{Query: m.query(depth)}
	}
	return &ScalarSubquery{Query: m.query(depth)}
}

func (m exprMaker) call(depth int) Expr {
	c := &Call{Name: m.oneOf("f", "COUNT", "left", "a b", "cast", "row", "extract", "position", "trim", "FLOOR", "timestampadd", "descriptor", "substring", "values", "overlay"), Args: m.list(depth, 0)}
	switch u := strings.ToUpper(c.Name); {
	case m.IntN(6) == 0 && u == "COUNT":
		c.Star, c.Args = true, nil
	case m.IntN(4) == 0 && len(c.Args) > 0:
		c.Distinct = true
	}
	if m.IntN(4) == 0 {
		c.Filter = m.expr(depth)
	}
	if m.IntN(4) == 0 {
		first := m.IntN(2) == 0
		c.Over = &Over{PartitionBy: m.list(depth, 0), OrderBy: []OrderItem{{Expr: m.expr(depth), Desc: first, NullsFirst: &first}}, Frame: "ROWS 1 PRECEDING"}
	}
	return c
}

func (m exprMaker) query(depth int) Query {
	if m.IntN(4) == 0 {
		return &SetOp{Op: m.oneOf("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL"), Left: m.query(depth), Right: m.query(depth), Limit: m.maybe(depth)}
	}
	if m.IntN(6) == 0 {
		return &Values{Rows: [][]Expr{m.list(depth, 1), m.list(depth, 1)}}
	}
	s := &Select{Distinct: m.IntN(2) == 0, Where: m.maybe(depth), Having: m.maybe(depth), Limit: m.maybe(depth), GroupBy: nil}
	s.Items = []SelectItem{{Star: true, Qualifier: m.name().Text}, {Expr: m.expr(depth)}, {Expr: m.expr(depth), Alias: m.name().Text}}
	if m.IntN(2) == 0 {
		s.From = m.relation(depth)
	}
	if m.IntN(2) == 0 {
		s.GroupBy = m.list(depth, 1)
		s.OrderBy = []OrderItem{{Expr: m.expr(depth)}}
	}
	return s
}

func (m exprMaker) relation(depth int) Relation {
	alias, columns := m.name().Text, []Name{m.name()}
	switch m.IntN(7) {
	case 0:
		return &Subquery{Query: m.query(depth), Alias: alias, Columns: columns}
	case 1:
		return &Unnest{Expr: m.expr(depth), Ordinality: m.IntN(2) == 0, Alias: alias, Columns: columns}
	case 2, 3:
		call := &TableCall{Name: m.name().Text, Args: []TableCallArg{{Table: &TableArg{Relation: &TableRef{Name: m.name()}, PartitionBy: columns}},
			{Name: m.name().Text, Descriptor: columns}, {Expr: &Unary{Op: "-", X: m.expr(depth)}}}}
		return &TableFunction{Lateral: m.IntN(2) == 0, Call: call, Alias: alias}
	case 4:
		return &Join{Kind: m.oneOf("INNER", "LEFT", "RIGHT", "FULL"), Left: m.relation(depth), Right: m.relation(depth), On: m.expr(depth)}
	}
	return &TableRef{Name: m.name(), Alias: alias}
}

func TestRandomExpressionsAreReadBackFromTheirText(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	m := exprMaker{rand.New(rand.NewPCG(seed, 1))}
	for range 5000 {
		e := m.expr(1 + m.IntN(3))
		text := Format(e)
		again, err := ParseExpr(text)
		if err != nil {
			t.Fatalf("seed %d: %s\n%v\n%s", seed, text, err, err.(*Error).Caret(text))
		}
		if !samePositionless(e, again) {
			t.Fatalf("seed %d: %s\nis read as %s", seed, text, Format(again))
		}
	}
}
