package ast

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
)

func TestNexmarkQueriesParseAndAreReadBackFromTheirText(t *testing.T) {
	for i, q := range nexmarkQueries {
		t.Run(fmt.Sprintf("q%d", i), func(t *testing.T) {
			s := mustScript(t, nexmarkTables+q)
			for _, q := range queriesOf(s) {
				text := FormatQuery(q)
				again := mustScript(t, text).Statements[0].(*SelectStatement).Query
				if !samePositionless(q, again) {
					t.Errorf("%s\nis read as\n%s", text, FormatQuery(again))
				}
			}
		})
	}
}

// Queries by their canonical text, which shows how they were understood.
var canonicalQueries = []struct{ src, want string }{
	{"select 1", "SELECT 1"},
	{"select all *, t.*, a b, c as `d e`, f as end, t.x y from t", "SELECT *, t.*, a AS b, c AS `d e`, f AS `end`, t.x AS y FROM t"},
	{"select distinct a from t as u (x, y) where a group by a, b having c order by d desc, e nulls first limit 3", "SELECT DISTINCT a FROM t AS u (x, y) WHERE a GROUP BY a, b HAVING c ORDER BY d DESC, e NULLS FIRST LIMIT 3"},
	{"values (1, 'a'), (2, 'b')", "VALUES (1, 'a'), (2, 'b')"}, {"values 1, row(2, 3)", "VALUES (1), (2, 3)"},
	{"select 1 union all select 2 union select 3", "SELECT 1 UNION ALL SELECT 2 UNION SELECT 3"}, {"select 1 union (select 2 union select 3)", "SELECT 1 UNION (SELECT 2 UNION SELECT 3)"},
	{"select 1 union select 2 intersect select 3 except all select 4", "SELECT 1 UNION SELECT 2 INTERSECT SELECT 3 EXCEPT ALL SELECT 4"}, {"(select 1 union select 2) intersect select 3 limit 1", "(SELECT 1 UNION SELECT 2) INTERSECT SELECT 3 LIMIT 1"},
	{"(select 1 limit 1) union select 2", "(SELECT 1 LIMIT 1) UNION SELECT 2"}, {"((select 1))", "SELECT 1"},
	{"with a as (select 1), b (x) as (select 2) select * from a, b", "WITH a AS (SELECT 1), b (x) AS (SELECT 2) SELECT * FROM a CROSS JOIN b"},
	{"select * from a, b c join d on a.x = d.x cross join e left outer join f using (y, z)", "SELECT * FROM a CROSS JOIN b AS c JOIN d ON a.x = d.x CROSS JOIN e LEFT JOIN f USING (y, z)"},
	{"select * from a full join (b join c on true) on true", "SELECT * FROM a FULL JOIN (b JOIN c ON TRUE) ON TRUE"}, {"select * from (a)", "SELECT * FROM a"}, {"select * from ((select 1) x join b on true)", "SELECT * FROM (SELECT 1) AS x JOIN b ON TRUE"},
	{"select * from ((select 1) union all (select 2)) as t(a)", "SELECT * FROM (SELECT 1 UNION ALL SELECT 2) AS t (a)"}, {"select * from (((select 1) union (select 2)) union (select 3)) t", "SELECT * FROM (SELECT 1 UNION SELECT 2 UNION SELECT 3) AS t"},
	{"select * from a, lateral table(split(a.x, ',')) as t(w)", "SELECT * FROM a CROSS JOIN LATERAL TABLE(split(a.x, ',')) AS t (w)"}, {"select * from a left join lateral table(f(x)) t(w) on true", "SELECT * FROM a LEFT JOIN LATERAL TABLE(f(x)) AS t (w) ON TRUE"},
	{"select * from a cross join unnest(a.xs) with ordinality as t (x, i)", "SELECT * FROM a CROSS JOIN UNNEST(a.xs) WITH ORDINALITY AS t (x, i)"}, {"select * from unnest(array[1, 2])", "SELECT * FROM UNNEST(ARRAY[1, 2])"},
	{"select * from toll_calculator(table reports partition by (xway, dir), 5) t", "SELECT * FROM TABLE(toll_calculator(TABLE reports PARTITION BY (xway, dir), 5)) AS t"},
	{"select * from table(f(input => table t partition by k, uid => 'u', d => descriptor(a, b)))", "SELECT * FROM TABLE(f(input => TABLE t PARTITION BY (k), uid => 'u', d => DESCRIPTOR(a, b)))"},
	{"select * from f(table (select 1) partition by (a), (select 2))", "SELECT * FROM TABLE(f(TABLE (SELECT 1) PARTITION BY (a), TABLE (SELECT 2)))"}, {"select * from f()", "SELECT * FROM TABLE(f())"},
	{"select * from table(cumulate(data => table bid, timecol => descriptor(ts), step => interval '2' minute, size => interval '1' day))",
		"SELECT * FROM TABLE(cumulate(data => TABLE bid, timecol => DESCRIPTOR(ts), step => INTERVAL '2' MINUTE, size => INTERVAL '1' DAY))"},
	{"select word, count(*) as count from words group by word", "SELECT word, count(*) AS count FROM words GROUP BY word"}, {"select filter, offset, window from t", "SELECT filter, offset, window FROM t"}, {"select a filter from t", "SELECT a AS filter FROM t"},
}

func TestQueriesParseToTheirCanonicalText(t *testing.T) {
	for _, c := range canonicalQueries {
		s, err := Parse(c.src)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		if got := FormatQuery(s.Statements[0].(*SelectStatement).Query); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.src, got, c.want)
		}
	}
}

func TestCreateTableKeepsEveryClause(t *testing.T) {
	s := mustScript(t, `
CREATE TEMPORARY TABLE IF NOT EXISTS orders (
  id BIGINT NOT NULL COMMENT 'it''s a key',
  price DECIMAL(10, 2),
  total AS price * 2 COMMENT 'computed',
  ts TIMESTAMP(3) METADATA FROM 'timestamp' VIRTUAL,
  offset BIGINT METADATA,
  date STRING, key STRING, value STRING, type INT, watermark INT, `+"`primary`"+` INT,
  last TIMESTAMP(3) WITH LOCAL TIME ZONE,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND,
  CONSTRAINT pk PRIMARY KEY (id, key) NOT ENFORCED
) COMMENT 'orders' PARTITIONED BY (date, key) WITH (
  'connector' = 'kafka', -- where from
  'topic' = 'a''b'
)`)
	c := s.Statements[0].(*CreateTable)
	var columns []string
	for _, d := range c.Columns {
		text := d.Name.Text
		if d.Computed != nil {
			text += " AS " + Format(d.Computed)
		} else {
			text += " " + FormatType(d.Type)
		}
		if d.Metadata != "" {
			text += fmt.Sprintf(" METADATA %s %v", d.Metadata, d.Virtual)
		}
		columns = append(columns, text)
	}
	want := "id BIGINT NOT NULL, price DECIMAL(10, 2), total AS price * 2, ts TIMESTAMP(3) METADATA timestamp true, offset BIGINT METADATA offset false, " +
		"date STRING, key STRING, value STRING, type INT, watermark INT, primary INT, last TIMESTAMP_LTZ(3)"
	if got := strings.Join(columns, ", "); got != want {
		t.Errorf("columns\n got %s\nwant %s", got, want)
	}
	if c.Name.Text != "orders" || !c.IfNotExists || c.Columns[0].Comment != "it's a key" || c.Columns[2].Comment != "computed" {
		t.Errorf("name, IF NOT EXISTS or comments: %+v", c)
	}
	if c.Watermark.Column.Text != "ts" || Format(c.Watermark.Expr) != "ts - INTERVAL '5' SECOND" {
		t.Errorf("watermark: %+v", c.Watermark)
	}
	if len(c.PrimaryKey) != 2 || c.PrimaryKey[1].Text != "key" || len(c.PartitionedBy) != 2 || c.PartitionedBy[0].Text != "date" {
		t.Errorf("key %v, partitions %v", c.PrimaryKey, c.PartitionedBy)
	}
	if o := c.Options; len(o) != 2 || o[1].Key != "topic" || o[1].Value != "a'b" || o[1].Pos != (Pos{14, 3}) || o[1].ValuePos != (Pos{14, 13}) {
		t.Errorf("options %+v", o)
	}
	if c.Columns[0].Type.ID != batch.BigInt {
		t.Errorf("type %v", c.Columns[0].Type)
	}
}

func TestColumnConstraintIsAPrimaryKey(t *testing.T) {
	c := mustScript(t, "CREATE TABLE t (a INT PRIMARY KEY NOT ENFORCED, b INT) WITH ()").Statements[0].(*CreateTable)
	if len(c.PrimaryKey) != 1 || c.PrimaryKey[0].Text != "a" || len(c.Options) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestStatementsOfAFileAreKeptInOrder(t *testing.T) {
	s := mustScript(t, `;;
-- settings, in every form
SET 'parallelism.default' = '4';
SET table.exec.state.ttl = 1 h;
SET 'a' = 'b;c'; SET x = 'y;z' -- comment
;
CREATE VIEW IF NOT EXISTS v (a, b) COMMENT 'c' AS SELECT 1, 2;
INSERT INTO t (a, b) SELECT * FROM v;
INSERT INTO t (SELECT 1);
INSERT INTO t VALUES (1, 2);
INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x;
EXECUTE STATEMENT SET BEGIN
  INSERT INTO t SELECT 1;
  INSERT INTO u SELECT 2;
END;
BEGIN STATEMENT SET;
  INSERT INTO t SELECT 1;
END;
(SELECT 1) UNION ALL (SELECT 2);
`)
	var got []string
	for _, st := range s.Statements {
		switch st := st.(type) {
		case *Set:
			got = append(got, fmt.Sprintf("set %s=%s@%d:%d", st.Key, st.Value, st.ValuePos.Line, st.ValuePos.Column))
		case *CreateView:
			got = append(got, fmt.Sprintf("view %s %d %v", st.Name.Text, len(st.Columns), st.IfNotExists))
		case *Insert:
			got = append(got, fmt.Sprintf("insert %s %d", st.Table.Text, len(st.Columns)))
		case *StatementSet:
			got = append(got, fmt.Sprintf("set of %d at %d", len(st.Inserts), st.Pos.Line))
		case *SelectStatement:
			got = append(got, FormatQuery(st.Query))
		}
	}
	want := []string{"set parallelism.default=4@3:29", "set table.exec.state.ttl=1 h@4:28", "set a=b;c@5:11", "set x=y;z@5:26", "view v 2 true",
		"insert t 2", "insert t 0", "insert t 0", "insert t 0", "set of 2 at 12", "set of 1 at 16", "SELECT 1 UNION ALL SELECT 2"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s := mustScript(t, " -- nothing\n"); len(s.Statements) != 0 {
		t.Errorf("a text without a statement has %d", len(s.Statements))
	}
}

// FuzzParse checks that no text makes the parser panic, that errors point into the text and can be shown,
// and that what is accepted is read back from its canonical text.
func FuzzParse(f *testing.F) {
	for i, q := range nexmarkQueries {
		if i%4 == 0 {
			f.Add(q)
		}
	}
	f.Add(nexmarkTables)
	for _, c := range canonicalExprs {
		f.Add(c.src)
	}
	for _, c := range canonicalQueries {
		f.Add(c.src)
	}
	for _, m := range mistakes {
		f.Add(m.src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if s, err := Parse(src); err != nil {
			checkError(t, src, err)
		} else {
			for _, q := range queriesOf(s) {
				text := FormatQuery(q)
				again, err := Parse(text)
				if tooDeep(err) {
					continue
				}
				if err != nil {
					t.Fatalf("%q is written %q: %v", src, text, err)
				}
				if got := again.Statements[0].(*SelectStatement).Query; !samePositionless(got, q) {
					t.Fatalf("%q is written %q, which is read as %q", src, text, FormatQuery(got))
				}
			}
		}
		if e, err := ParseExpr(src); err != nil {
			checkError(t, src, err)
		} else if again, err := ParseExpr(Format(e)); !tooDeep(err) && (err != nil || !samePositionless(again, e)) {
			t.Fatalf("%q is written %q: %v", src, Format(e), err)
		}
		if typ, err := ParseType(src); err != nil {
			checkError(t, src, err)
		} else if again, err := ParseType(FormatType(typ)); err != nil || !samePositionless(again, typ) {
			t.Fatalf("%q is written %q: %v", src, FormatType(typ), err)
		}
	})
}

// tooDeep tells the one case in which a canonical text may be refused: its parentheses are levels of their own.
func tooDeep(err error) bool { return err != nil && strings.Contains(err.Error(), "levels deep") }

func checkError(t *testing.T, src string, err error) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok {
		t.Fatalf("%q: %T", src, err)
	}
	if e.Pos.Line < 1 || e.Pos.Column < 1 || e.Msg == "" || e.Caret(src) == "" {
		t.Fatalf("%q: %v cannot be shown", src, e)
	}
}
