package plan

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// refusals: the place of the mistake in text is marked by "^" before it. want and hint are parts of message and hint.
var refusals = []struct {
	name, text, want, hint string
	set                    map[string]string
}{
	// settings
	{name: "unknown setting", text: "^SET 'execution.runtime-mod' = 'batch'; SELECT * FROM lines", want: "setting 'execution.runtime-mod' is unknown", hint: "did you mean 'execution.runtime-mode'?"},
	{name: "setting nobody knows", text: "^SET 'x' = 'y'; SELECT * FROM lines", want: "'x' is unknown", hint: "there are 'checkpoint.epochs', "},
	{name: "runtime mode", text: "SET 'execution.runtime-mode' = ^'both'; SELECT * FROM lines", want: `"both" is neither 'streaming' nor 'batch'`},
	{name: "power of two", text: "SET 'checkpoint.epochs' = ^'100'; SELECT * FROM lines", want: `"100" is not a power of two`},
	{name: "epoch length", text: "SET 'epoch.length' = ^'2 h'; SELECT * FROM lines", want: `not between '1 ms' and '60 s'`},
	{name: "epoch length unit", text: "SET 'epoch.length' = ^'2 x'; SELECT * FROM lines", want: `unknown unit "x"`},
	{name: "key groups", text: "SET 'key-groups' = ^'0'; SELECT * FROM lines", want: "from 1 to 32768"},
	{name: "parallelism", text: "SET 'parallelism.default' = ^'x'; SELECT * FROM lines", want: "from 1 to"},
	{name: "standbys", text: "SET 'standby' = ^'9'; SELECT * FROM lines", want: "from 0 to 8"},
	{name: "seed", text: "SET 'seed' = ^'-1'; SELECT * FROM lines", want: `"-1" is not a whole number`},
	{name: "seal", text: "SET 'seal' = ^'10'; SELECT * FROM lines", want: "not of the form 'rows:N'"},
	{name: "seal of nothing", text: "SET 'seal' = ^'rows:0'; SELECT * FROM lines", want: "'rows:N' with N from 1"},
	{name: "zone", text: "SET 'table.local-time-zone' = ^'Mars/Base'; SELECT * FROM lines", want: "not a time zone"},
	{name: "two values", text: "SET 'seed' = '1'; ^SET 'seed' = '2'; SELECT * FROM lines", want: "already set to '1' in line", hint: "a file is one query"},
	{name: "set of nothing", text: "SELECT * FROM lines", set: map[string]string{"linez.path": "/"}, want: "--set linez.path: there is no such setting or table", hint: `did you mean "lines.path"?`},
	{name: "set of a setting", text: "SELECT * FROM lines", set: map[string]string{"seeed": "1"}, want: "--set seeed", hint: `did you mean "seed"?`},
	{name: "set of a bad value", text: "SELECT * FROM lines", set: map[string]string{"seed": "x"}, want: `--set seed: "x" is not a whole number`},

	// tables
	{name: "no connector", text: "CREATE TABLE ^t (a INT) WITH ('path' = '/'); SELECT * FROM t", want: "no option 'connector'"},
	{name: "unknown connector", text: "CREATE TABLE t (a INT) WITH ('connector' = ^'gem')", want: "connector 'gem' is not there", hint: `did you mean "gen"?`},
	{name: "unknown option", text: "CREATE TABLE t (a INT) WITH ('connector' = 'gen', ^'rat' = '1')", want: "connector 'gen' has no option 'rat'", hint: "did you mean 'rate'?"},
	{name: "option without a neighbour", text: "CREATE TABLE t (a INT) WITH ('connector' = 'gen', ^'something' = '1')", want: "no option 'something'", hint: `"fields.#.kind"`},
	{name: "option twice", text: "CREATE TABLE t (a INT) WITH ('connector' = 'gen', 'rate' = '1', ^'rate' = '1')", want: "given twice"},
	{name: "required option", text: "CREATE TABLE ^t (a INT) WITH ('connector' = 'files', 'format' = 'raw')", want: "needs the option 'path'", hint: "the file or folder"},
	{name: "number", text: "CREATE TABLE t (a INT) WITH ('connector' = 'gen', 'rate' = ^'fast')", want: `option 'rate' of table "t": "fast" is not a whole number`},
	{name: "boolean", text: "CREATE TABLE t (a INT) WITH ('connector' = 'gen', 'ordered' = ^'yes')", want: "neither 'true' nor 'false'"},
	{name: "enum", text: "CREATE TABLE t (a INT) WITH ('connector' = 'gen', 'fields.a.kind' = ^'other')", want: `"other" is none of`},
	{name: "duration", text: "CREATE TABLE t (a INT) WITH ('connector' = 'files', 'path' = '/', 'format' = 'raw', 'roll' = ^'long')", want: "not a duration"},
	{name: "memory", text: "CREATE TABLE t (a INT) WITH ('connector' = 'files', 'path' = '/', 'format' = 'raw', 'buffer' = ^'big')", want: "not a memory size"},
	{name: "format", text: "CREATE TABLE t (a INT) WITH ('connector' = 'files', 'path' = '/', 'format' = ^'jsn')", want: "format 'jsn' is not there", hint: `did you mean "json"?`},
	{name: "option of a column", text: "CREATE TABLE t (abc INT) WITH ('connector' = 'gen', ^'fields.abd.kind' = 'random')", want: `has no column "abd"`, hint: `did you mean "abc"?`},
	{name: "connector's own check", text: "CREATE TABLE ^t (a INT) WITH ('connector' = 'gen', 'rows' = '13')", want: "13 rows bring bad luck"},
	{name: "fused lanes", text: "CREATE TABLE t (a INT) WITH ('connector' = 'print', 'sink.lanes' = ^'2')", want: "has no lanes of its own"},
	{name: "lanes", text: "CREATE TABLE t (a INT) WITH ('connector' = 'gen', 'sink.lanes' = ^'0')", want: "from 1 to 1024"},
	{name: "seals disagree", text: "CREATE TABLE t (a INT) WITH ('connector' = 'gen', 'seal' = 'rows:1'); CREATE TABLE u (a INT) WITH ('connector' = 'gen', 'seal' = ^'rows:2')", want: `differs from 'rows:1' of table "t"`},
	{name: "seal and SET disagree", text: "SET 'seal' = 'rows:3'; CREATE TABLE t (a INT) WITH ('connector' = 'gen', 'seal' = ^'rows:1')", want: `differs from 'rows:3' of SET 'seal'`},
	{name: "table twice", text: "CREATE TABLE ^lines (a INT) WITH ('connector' = 'gen')", want: "already declared"},
	{name: "column twice", text: "CREATE TABLE t (a INT, ^a INT) WITH ('connector' = 'gen')", want: `column "a" is declared twice`},
	{name: "metadata", text: "CREATE TABLE t (a INT, ^o BIGINT METADATA FROM 'offset') WITH ('connector' = 'gen')", want: `METADATA columns ("offset" of "o") are not supported`},
	{name: "partitioned", text: "CREATE TABLE t (a INT) PARTITIONED BY (^a) WITH ('connector' = 'gen')", want: "PARTITIONED BY is not supported"},
	{name: "fine times", text: "CREATE TABLE t (a TIMESTAMP(^6)) WITH ('connector' = 'gen')", want: "TIMESTAMP(6) is not supported", hint: "TIMESTAMP(3)"},
	{name: "computed of computed", text: "CREATE TABLE t (a INT, b AS a + 1, c AS ^b + 1) WITH ('connector' = 'gen')", want: `no column "b"`},
	{name: "computed null", text: "CREATE TABLE t (a INT, b AS ^NULL) WITH ('connector' = 'gen')", want: "has no type", hint: "CAST(NULL"},
	{name: "only computed", text: "CREATE TABLE ^t (b AS 1) WITH ('connector' = 'gen')", want: "computed columns only"},
	{name: "watermark type", text: "CREATE TABLE t (a BIGINT, WATERMARK FOR ^a AS a) WITH ('connector' = 'gen')", want: `"a" is BIGINT`, hint: "TO_TIMESTAMP_LTZ"},
	{name: "watermark column", text: "CREATE TABLE t (abc TIMESTAMP(3), WATERMARK FOR ^abd AS abc) WITH ('connector' = 'gen')", want: `no column "abd"`, hint: "abc"},
	{name: "watermark expression", text: "CREATE TABLE t (a TIMESTAMP(3), b INT, WATERMARK FOR a AS ^b) WITH ('connector' = 'gen')", want: "must be TIMESTAMP(3)"},
	{name: "primary key column", text: "CREATE TABLE t (a INT, PRIMARY KEY (^b) NOT ENFORCED) WITH ('connector' = 'gen')", want: `no physical column "b"`},
	{name: "aggregate in a computed column", text: "CREATE TABLE t (a INT, b AS ^SUM(a)) WITH ('connector' = 'gen')", want: "aggregate SUM may not stand in a computed column"},

	// names
	{name: "unknown table", text: "SELECT * FROM ^linez", want: `no table or view "linez"`, hint: `did you mean "lines"?`},
	{name: "case of a table", text: "SELECT * FROM ^something", want: `no table or view "something"`, hint: "case-sensitive"},
	{name: "unknown column", text: "SELECT ^lime FROM lines", want: `no column "lime"`, hint: `did you mean "line"?`},
	{name: "unknown column of a table", text: "SELECT l.^lime FROM lines AS l", want: `"l" has no column "lime"`, hint: `did you mean "line"?`},
	{name: "unknown qualifier", text: "SELECT ^x.lime FROM lines AS l", want: `no table or column "x"`},
	{name: "star of nothing", text: "SELECT ^x.* FROM lines AS l", want: `no table "x"`, hint: `"l"`},
	{name: "ambiguous", text: "SELECT ^line FROM lines, LATERAL TABLE(STRING_SPLIT(line, ' ')) AS t(line)", want: "ambiguous", hint: "write lines.line or t.line"},
	{name: "ambiguous in a subquery", text: "SELECT ^a FROM (SELECT auction AS a, bidder AS a FROM bids) AS q", want: "ambiguous", hint: "AS"},
	{name: "view twice", text: "CREATE VIEW ^lines AS SELECT * FROM bids", want: "already declared"},
	{name: "view columns", text: "CREATE VIEW ^v (a, b) AS SELECT line FROM lines", want: "names 2 columns, its query gives 1"},
	{name: "alias columns", text: "SELECT * FROM ^lines AS l (a, b)", want: "has 1 columns; 2 names"},
	{name: "unknown function", text: "SELECT ^UPER(line) FROM lines", want: "no function UPER", hint: "UPPER"},
	{name: "mistake in an unused view", text: "CREATE VIEW v AS SELECT ^nothing FROM lines; SELECT * FROM lines", want: `no column "nothing"`},

	// what is not there
	{name: "no FROM", text: "^SELECT 1", want: "SELECT without FROM is not supported"},
	{name: "VALUES", text: "INSERT INTO words ^VALUES ('a', 1)", want: "VALUES is not supported"},
	{name: "ORDER BY", text: "SELECT line FROM lines ORDER BY ^line", want: "ORDER BY is not supported"},
	{name: "LIMIT", text: "SELECT line FROM lines LIMIT ^1", want: "LIMIT is not supported"},
	{name: "ORDER BY of a union", text: "SELECT line FROM lines UNION ALL SELECT line FROM lines ORDER BY ^line", want: "ORDER BY is not supported"},
	{name: "join", text: "SELECT * FROM bids JOIN ^trades ON auction = 1", want: "INNER JOIN of two tables is not supported"},
	{name: "cross join", text: "SELECT * FROM bids , ^trades", want: "CROSS JOIN (or the comma) of two tables is not supported"},
	{name: "left join", text: "SELECT * FROM bids LEFT JOIN ^trades ON TRUE", want: "LEFT JOIN of two tables is not supported"},
	{name: "condition on a function", text: "SELECT * FROM lines JOIN LATERAL TABLE(STRING_SPLIT(line, ' ')) AS t(w) ON w ^= 'a'", want: "other than ON TRUE is not supported", hint: "WHERE"},
	{name: "right join of a function", text: "SELECT * FROM lines RIGHT JOIN ^LATERAL TABLE(STRING_SPLIT(line, ' ')) AS t(w) ON TRUE", want: "RIGHT JOIN with a table function is not supported"},
	{name: "over", text: "SELECT SUM(price) ^OVER (PARTITION BY auction ORDER BY ts) FROM bids", want: "OVER (SUM as a window function) is not supported"},
	{name: "row number", text: "SELECT ROW_NUMBER() ^OVER (PARTITION BY auction ORDER BY ts) FROM bids", want: "OVER (ROW_NUMBER as a window function) is not supported"},
	{name: "union distinct", text: "SELECT line FROM lines ^UNION SELECT line FROM lines", want: "UNION (distinct) is not supported", hint: "SELECT DISTINCT over a UNION ALL"},
	{name: "intersect", text: "SELECT line FROM lines ^INTERSECT SELECT line FROM lines", want: "INTERSECT is not supported"},
	{name: "except", text: "SELECT line FROM lines ^EXCEPT ALL SELECT line FROM lines", want: "EXCEPT ALL is not supported"},
	{name: "scalar subquery", text: "SELECT ^(SELECT MAX(price) FROM bids) FROM lines", want: "a subquery in an expression is not supported"},
	{name: "in subquery", text: "SELECT line FROM lines WHERE line ^IN (SELECT symbol FROM trades)", want: "IN (SELECT ...) is not supported"},
	{name: "exists", text: "SELECT line FROM lines WHERE ^EXISTS (SELECT symbol FROM trades)", want: "EXISTS is not supported"},
	{name: "session", text: "SELECT * FROM ^TABLE(SESSION(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' SECOND))", want: "SESSION is not supported", hint: "custom operator"},
	{name: "group window", text: "SELECT COUNT(*) FROM bids GROUP BY ^TUMBLE(ts, INTERVAL '1' SECOND)", want: "the group window function TUMBLE is not supported", hint: "GROUP BY window_start, window_end"},
	{name: "auxiliary", text: "SELECT ^TUMBLE_START(ts, INTERVAL '1' SECOND) FROM bids", want: "TUMBLE_START is not supported"},
	{name: "other aggregate", text: "SELECT ^LISTAGG(line) FROM lines", want: "the aggregate LISTAGG is not supported", hint: "AVG, COUNT"},
	{name: "ordinal", text: "SELECT auction, COUNT(*) FROM bids GROUP BY ^1", want: "GROUP BY with a column's number is not supported"},
	{name: "unnest alone", text: "SELECT * FROM ^UNNEST(ARRAY[1]) AS t(a)", want: "UNNEST without a table before it is not supported"},
	{name: "table function alone", text: "SELECT * FROM ^TABLE(STRING_SPLIT('a', 'b')) AS t(a)", want: "without a table before it is not supported", hint: "LATERAL TABLE"},
	{name: "nothing written", text: "CREATE TABLE t (a INT) WITH ('connector' = 'gen')", want: "the query writes nothing"},

	// aggregates
	{name: "aggregate in WHERE", text: "SELECT auction FROM bids WHERE ^COUNT(*) > 1 GROUP BY auction", want: "aggregate COUNT may not stand in WHERE", hint: "HAVING"},
	{name: "aggregate in GROUP BY", text: "SELECT 1 FROM bids GROUP BY ^MAX(price)", want: "may not stand in GROUP BY"},
	{name: "aggregate of an aggregate", text: "SELECT SUM(^COUNT(*)) FROM bids", want: "may not stand in an aggregate", hint: "subquery"},
	{name: "ungrouped column", text: "SELECT auction, ^bidder FROM bids GROUP BY auction", want: `column "bidder" is neither in GROUP BY nor in an aggregate`, hint: "GROUP BY"},
	{name: "ungrouped beside an aggregate", text: "SELECT ^auction, COUNT(*) FROM bids", want: `column "auction" is neither`},
	{name: "ungrouped in HAVING", text: "SELECT auction FROM bids GROUP BY auction HAVING ^price > 1", want: `column "price" is neither`},
	{name: "star of groups", text: "SELECT ^* FROM bids GROUP BY auction", want: `column "bidder" is neither`},
	{name: "sum of text", text: "SELECT ^SUM(line) FROM lines", want: "SUM needs a number, found STRING"},
	{name: "max of a row", text: "SELECT ^MAX(item) FROM bids", want: "MAX needs numbers, texts, times"},
	{name: "sum of all", text: "SELECT ^SUM(*) FROM bids", want: "only COUNT(*)"},
	{name: "two arguments", text: "SELECT ^COUNT(DISTINCT auction, bidder) FROM bids", want: "COUNT takes one argument, found 2"},
	{name: "filter of a number", text: "SELECT COUNT(*) FILTER (WHERE ^auction) FROM bids", want: "needs a BOOLEAN, found BIGINT"},
	{name: "filter of a scalar", text: "SELECT ^UPPER(line) FILTER (WHERE TRUE) FROM lines", want: "FILTER may follow only aggregates"},
	{name: "distinct of a scalar", text: "SELECT ^UPPER(DISTINCT line) FROM lines", want: "DISTINCT may stand only in aggregates"},
	{name: "where of a number", text: "SELECT line FROM lines WHERE ^1", want: "WHERE needs a BOOLEAN, found INT"},
	{name: "having of a number", text: "SELECT COUNT(*) FROM lines HAVING ^COUNT(*)", want: "HAVING needs a BOOLEAN, found BIGINT"},
	{name: "non-deterministic", text: "SELECT ^ASK_SOMEBODY(line) FROM lines", want: "the function ASK_SOMEBODY, which may give another answer next time, is not supported"},
	{name: "random key", text: "SELECT COUNT(*) FROM lines GROUP BY ^RAND()", want: "RAND may not stand in GROUP BY"},

	// windows
	{name: "no watermark", text: "CREATE TABLE t (ts TIMESTAMP(3)) WITH ('connector' = 'gen'); SELECT window_end FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(^ts), INTERVAL '1' SECOND))", want: `TUMBLE needs a column with a watermark; "ts" has none`, hint: "WATERMARK FOR ts"},
	{name: "lost watermark", text: "CREATE VIEW v AS SELECT ts + INTERVAL '1' SECOND AS ts FROM bids; SELECT window_end FROM TABLE(TUMBLE(TABLE v, DESCRIPTOR(^ts), INTERVAL '1' SECOND))", want: "has none", hint: "loses it"},
	{name: "watermark lost in a window", text: "CREATE VIEW v AS SELECT ts, window_end, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY ts, window_end; SELECT n FROM TABLE(TUMBLE(TABLE v, DESCRIPTOR(^ts), INTERVAL '1' SECOND))", want: "has none", hint: "loses it"},
	{name: "window over a number", text: "SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(^price), INTERVAL '1' SECOND))", want: `"price" is DOUBLE`},
	{name: "window column", text: "SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(^tss), INTERVAL '1' SECOND))", want: `no column "tss"`, hint: `"ts"`},
	{name: "window without size", text: "SELECT * FROM ^TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts)))", want: "TUMBLE needs the argument SIZE", hint: "write TUMBLE(TABLE t"},
	{name: "window of too much", text: "SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '0' SECOND, ^1))", want: "too many arguments"},
	{name: "window argument", text: "SELECT * FROM TABLE(TUMBLE(DATA => TABLE bids, TIMECOL => DESCRIPTOR(ts), ^LENGTH => INTERVAL '1' SECOND))", want: `no argument "LENGTH"`},
	{name: "window of zero", text: "SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), ^INTERVAL '0' SECOND))", want: "more than zero"},
	{name: "window of months", text: "SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), ^INTERVAL '1' MONTH))", want: "in months or years is not supported"},
	{name: "window of a number", text: "SELECT * FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), ^10))", want: "must be an INTERVAL"},
	{name: "hop that does not divide", text: "SELECT * FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '7' SECOND, ^INTERVAL '10' SECOND))", want: "SIZE of HOP must be a multiple of SLIDE"},
	{name: "hop into too many", text: "SELECT * FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), ^INTERVAL '0.001' SECOND, INTERVAL '1' MINUTE))", want: "puts each row into 60000 windows"},
	{name: "window start alone", text: "SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY ^window_start", want: "GROUP BY window_start needs window_end too"},
	{name: "window over updates", text: "CREATE VIEW v AS SELECT ts, COUNT(*) AS n FROM bids GROUP BY ts; SELECT * FROM TABLE(TUMBLE(^TABLE v, DESCRIPTOR(ts), INTERVAL '1' SECOND))", want: "TUMBLE takes only inserts, but the query updates its results because of GROUP BY"},
	{name: "partitioned window", text: "SELECT * FROM TABLE(TUMBLE(TABLE bids PARTITION BY (^auction), DESCRIPTOR(ts), INTERVAL '1' SECOND))", want: "PARTITION BY in TUMBLE is not supported"},
	{name: "days in a zone", text: "SET 'table.local-time-zone' = 'Europe/Berlin'; SELECT window_end FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), ^INTERVAL '1' DAY))", want: "does not divide 15 minutes"},

	// operators
	{name: "unknown operator", text: "SELECT * FROM ^session(TABLE bids)", want: "not supported"},
	{name: "misspelt operator", text: "SELECT * FROM ^TABLE(sesions(TABLE bids))", want: `no table function or operator "sesions"`, hint: `did you mean "sessions"?`},
	{name: "misspelt table function", text: "SELECT * FROM lines, ^LATERAL TABLE(STRING_SPLT(line, ' ')) AS t(w)", want: "no table function", hint: "STRING_SPLIT"},
	{name: "operator without a table", text: "SELECT * FROM ^TABLE(sessions(1))", want: "needs a TABLE argument", hint: "PARTITION BY"},
	{name: "operator with two tables", text: "SELECT * FROM sessions(TABLE bids, ^TABLE trades)", want: "a second TABLE argument", hint: "UNION ALL"},
	{name: "operator with a descriptor", text: "SELECT * FROM sessions(TABLE bids, ^DESCRIPTOR(ts))", want: "DESCRIPTOR as an argument"},
	{name: "operator with a column", text: "SELECT * FROM sessions(TABLE bids, ^RAND())", want: "must be a constant"},
	{name: "operator's own check", text: "SELECT * FROM ^sessions(TABLE bids, 5)", want: `operator "sessions": the gap must be an INTERVAL`},
	{name: "partition column", text: "SELECT * FROM sessions(TABLE bids PARTITION BY (^actuon), INTERVAL '1' SECOND)", want: `no column "actuon"`, hint: "auction"},
	{name: "operator over updates", text: "SELECT * FROM sessions(^TABLE (SELECT auction, MAX(ts) AS ts FROM bids GROUP BY auction), INTERVAL '1' SECOND)", want: `operator "sessions" takes only inserts`},
	{name: "function columns", text: "SELECT * FROM lines, LATERAL TABLE(STRING_SPLIT(line, ' ')) AS t(^a, b)", want: "gives 1 columns; 2 names"},
	{name: "function argument", text: "SELECT * FROM lines, ^LATERAL TABLE(STRING_SPLIT(1)) AS t(a)", want: "STRING_SPLIT"},

	// sinks and changes
	{name: "write to nothing", text: "INSERT INTO ^wrds SELECT line, 1 FROM lines", want: `no table "wrds"`, hint: `did you mean "words"?`},
	{name: "write to a view", text: "CREATE VIEW v AS SELECT line FROM lines; INSERT INTO ^v SELECT line FROM lines", want: "is a view"},
	{name: "write to a source", text: "INSERT INTO ^bids SELECT * FROM lines", want: "connector 'gen' only reads"},
	{name: "read of a sink", text: "SELECT * FROM ^hole", want: "connector 'blackhole' only writes"},
	{name: "read and write", text: "INSERT INTO ^words SELECT * FROM words", want: "read and written"},
	{name: "too few columns", text: "INSERT INTO words ^SELECT line FROM lines", want: `sink "words" has 2 columns, the query gives 1`, hint: "word STRING"},
	{name: "wrong type", text: "INSERT INTO words SELECT line, ^line FROM lines", want: `column 2 "n" of sink "words" is BIGINT, the query gives STRING`, hint: "use CAST(line AS BIGINT)"},
	{name: "unknown column of INSERT", text: "INSERT INTO words (word, ^m) SELECT line, 1 FROM lines", want: `table "words" has no column "m"`},
	{name: "column of INSERT twice", text: "INSERT INTO words (word, ^word) SELECT line, line FROM lines", want: "twice"},
	{name: "columns of INSERT", text: "INSERT INTO words (^word) SELECT line, line FROM lines", want: "INSERT names 1 columns, the query gives 2"},
	{name: "missing key", text: "^INSERT INTO store (v) SELECT price FROM bids", want: `column "k" of table "store" is NOT NULL`},
	{name: "updates into an append-only sink", text: "INSERT INTO words SELECT line, COUNT(*) FROM lines GROUP BY ^line", want: `sink "words" (files) takes only inserts, but the query updates its results because of GROUP BY at line`, hint: "SET 'execution.runtime-mode' = 'batch'"},
	{name: "updates below", text: "INSERT INTO words SELECT 'x', n FROM (SELECT COUNT(*) AS n FROM lines GROUP BY ^line) WHERE n > 1", want: "because of GROUP BY"},
	{name: "batch without end", text: "SET 'execution.runtime-mode' = 'batch'; SELECT * FROM ^bids", want: `needs input that ends; table "bids" never ends`, hint: "streaming"},
	{name: "moment over updates", text: "SELECT n, ^NOW() FROM (SELECT COUNT(*) AS n FROM lines GROUP BY line)", want: "NOW gives another value each time", hint: "batch"},
	{name: "union of types", text: "SELECT line FROM lines ^UNION ALL SELECT price FROM bids", want: `column 1 ("line") is STRING and DOUBLE`, hint: "CAST"},
	{name: "union of widths", text: "SELECT line FROM lines UNION ALL SELECT line FROM lines ^UNION ALL SELECT auction, price FROM bids", want: "queries with 1 and 2 columns"},
	{name: "printed interval", text: "^SELECT INTERVAL '1' DAY AS i FROM lines", want: "cannot be INTERVAL"},
	{name: "syntax", text: "SELECT FROM ^lines", want: ""},
}

func init() {
	must(expr.Register(expr.FunctionDef{Name: "ASK_SOMEBODY", Takes: "STRING", Result: batch.TypeString, NonDeterministic: true,
		Kernel: func(*expr.Call, *batch.Column, int) {}}))
}

func TestMistakesAreNamedWithPlaceAndHint(t *testing.T) {
	text, err := os.ReadFile("testdata/tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range refusals {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			src := string(text)
			if c.name == "nothing written" || strings.HasPrefix(c.text, "^SET") {
				src = ""
			}
			before, after, marked := strings.Cut(c.text, "^")
			pos := ast.Pos{Line: 1, Column: 1}
			if marked {
				pos = ast.Pos{Line: strings.Count(src, "\n") + 1, Column: len(before) + 1}
			}
			_, err := Compile(src+before+after, testCatalog(), Options{Set: c.set})
			var e *ast.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.Pos != pos && c.name != "syntax" {
				t.Errorf("at %v, not %v: %v", e.Pos, pos, err)
			}
			if !strings.Contains(e.Msg, c.want) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("got %q hint %q\nnot %q hint %q", e.Msg, e.Hint, c.want, c.hint)
			}
		})
	}
}
