package ast

import (
	"fmt"
	"strings"
	"testing"
)

// Each text has one mistake; the message is the whole of what the user sees.
var mistakes = []struct{ src, want string }{
	// Statements.
	{"SELCT a FROM t", "line 1, column 1: expected a statement (SELECT, INSERT, CREATE, WITH, VALUES, SET, EXECUTE, BEGIN), found SELCT; did you mean SELECT?"},
	{"SELECT 1;\n  foo", "line 2, column 3: expected a statement (SELECT, INSERT, CREATE, WITH, VALUES, SET, EXECUTE, BEGIN), found foo"},
	{"CREATE TABEL t (a INT)", "line 1, column 8: expected TABLE or VIEW, found TABEL; did you mean TABLE?"},
	{"SELECT 1 SELECT 2", `line 1, column 10: expected "," or FROM, found SELECT`},
	{"SELECT a FROM t SELECT 2", `line 1, column 17: expected ";" or the end of the text, found SELECT`},
	{"DROP TABLE t", "line 1, column 1: DROP is not supported; tables and views belong to their query and go with it"},
	{"ALTER TABLE t", "line 1, column 1: ALTER is not supported; a file is one query: change its CREATE statements and add it anew"},
	{"DELETE FROM t", "line 1, column 1: DELETE is not supported; a query only inserts: rows leave a result when its inputs retract them"},
	{"UPDATE t SET a = 1", "line 1, column 1: UPDATE is not supported; a sink with a PRIMARY KEY takes INSERT INTO as an upsert"},
	{"MERGE INTO t", "line 1, column 1: MERGE is not supported; a sink with a PRIMARY KEY takes INSERT INTO as an upsert"},
	{"SHOW TABLES", "line 1, column 1: SHOW is not supported"},
	{"DESCRIBE t", "line 1, column 1: DESCRIBE is not supported; seepnode query plan prints the plan of a file"},
	{"EXPLAIN SELECT 1", "line 1, column 1: EXPLAIN is not supported; seepnode query plan prints the plan of a file"},
	{"CREATE FUNCTION f AS 'x'", "line 1, column 1: CREATE FUNCTION is not supported; functions and operators are written in Go, registered, and called by their names"},
	{"CREATE CATALOG c", "line 1, column 1: CREATE CATALOG is not supported; there is one catalog and one database: name tables by their own names"},
	{"CREATE DATABASE d", "line 1, column 1: CREATE DATABASE is not supported; there is one catalog and one database: name tables by their own names"},
	{"INSERT OVERWRITE t SELECT 1", "line 1, column 1: INSERT OVERWRITE is not supported; use INSERT INTO"},
	{"INSERT INTO c.t SELECT 1", "line 1, column 14: names with a catalog or database, such as c.table, are not supported; name it by its last part alone"},
	{"INSERT INTO t SELET 1", "line 1, column 15: expected SELECT, VALUES or WITH, found SELET; did you mean SELECT?"},
	{"WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "line 1, column 22: expected SELECT, found INSERT; write INSERT INTO before WITH"},
	{"EXECUTE STATEMENT SET BEGIN SELECT 1; END", "line 1, column 29: expected INSERT INTO or END, found SELECT; a STATEMENT SET holds INSERT INTO statements only"},
	{"BEGIN STATEMENT SET; END", "line 1, column 1: the STATEMENT SET is empty; put one or more INSERT INTO statements before END"},
	{"SET 'a'", `line 1, column 8: expected "=", found the end of the text`},
	{"SET a", `line 1, column 5: expected SET 'key' = 'value', found SET a`},
	{"SET a =\n;", `line 1, column 8: expected a value after "="; write SET 'key' = 'value'`},
	// Words and characters.
	{"SELECT 'a\nb", "line 1, column 8: the string that begins here does not end; close it with a single quote; a single quote inside is written twice"},
	{"SELECT 1 /* x", "line 1, column 10: the comment that begins here does not end; close it with */"},
	{"SELECT `a", "line 1, column 8: the name that begins here does not end; close it with a backquote; a backquote inside is written twice"},
	{"SELECT ``", "line 1, column 8: a name in backquotes cannot be empty"},
	{`SELECT "a"`, "line 1, column 8: a string cannot begin with \"; use single quotes '...' for strings and backquotes `...` for names"},
	{"SELECT U&'a'", "line 1, column 8: U&'...' strings are not supported; write the characters themselves into '...'; the text is UTF-8"},
	{"SELECT X'0'", "line 1, column 8: X'0' is not a byte string; write pairs of hexadecimal digits, such as X'0A1F'"},
	{"SELECT 1a", "line 1, column 8: 1a is neither a number nor a name; put a name that begins with a digit into backquotes"},
	{"SELECT 1.", "line 1, column 8: expected digits after the decimal point of 1."},
	{"SELECT a::INT", `line 1, column 9: the cast operator "::" is not supported; write CAST(value AS TYPE)`},
	{"SELECT a == b", `line 1, column 10: the operator "==" is not supported; compare with "="`},
	{"SELECT ?", `line 1, column 8: the character "?" means nothing here; parameters are not supported: write the value`},
	{"SELECT \x00", "line 1, column 8: the character U+0000 means nothing here"},
	{"SELECT 'ü\xff'", "line 1, column 10: the byte 0xFF here is not UTF-8; save the file as UTF-8"},
	{"SELECT /*+ OPTIONS('a'='b') */ 1", "line 1, column 8: hints in /*+ ... */ are not supported; leave the hint out, or set the option in the table's WITH clause"},
	// CREATE TABLE.
	{"CREATE TABLE t (a INT b STRING)", `line 1, column 23: expected "," or ")", found b; is a comma missing before b?`},
	{"CREATE TABLE t (a INT, )", `line 1, column 24: expected a column, found ")"; remove the comma before it`},
	{"CREATE TABLE t (select INT)", "line 1, column 17: expected a column name, PRIMARY KEY or WATERMARK FOR, found select; select is a reserved word: put it into backquotes to use it as a name"},
	{"CREATE TABLE t (a STRNG)", "line 1, column 19: expected a type, found STRNG; did you mean STRING?"},
	{"CREATE TABLE t (a REAL)", "line 1, column 19: the type REAL is not supported; use FLOAT"},
	{"CREATE TABLE t (a TEXT)", "line 1, column 19: the type TEXT is not supported; use STRING"},
	{"CREATE TABLE t (a TIMESTAMP(6))", "line 1, column 29: TIMESTAMP(6) is not supported; times are kept in milliseconds: use TIMESTAMP(3)"},
	{"CREATE TABLE t (a TIMESTAMP(3) WITH TIME ZONE)", "line 1, column 32: TIMESTAMP WITH TIME ZONE is not supported; use TIMESTAMP_LTZ(3)"},
	{"CREATE TABLE t (a DECIMAL(39, 0))", "line 1, column 27: the precision of DECIMAL must be from 1 to 38, not 39"},
	{"CREATE TABLE t (a DECIMAL(5, 6))", "line 1, column 30: the scale of DECIMAL must be from 0 to 5, not 6"},
	{"CREATE TABLE t (a STRING(5))", "line 1, column 25: STRING takes no length; write VARCHAR(n) for a string with a limit"},
	{"CREATE TABLE t (a ROW<INT, STRING>)", "line 1, column 26: expected the type of field `INT`, found \",\"; a field of a ROW is written: name TYPE"},
	{"CREATE TABLE t (a INTERVAL DAY)", "line 1, column 19: INTERVAL as the type of column a is not supported; store a number or a timestamp"},
	{"CREATE TABLE t (a INT, PRIMARY KEY (a))", `line 1, column 39: expected NOT ENFORCED, found ")"; keys are not checked: write PRIMARY KEY (...) NOT ENFORCED`},
	{"CREATE TABLE t (a INT DEFAULT 3)", "line 1, column 23: DEFAULT is not supported; use COALESCE in the query"},
	{"CREATE TABLE t (a INT) WITH (connector = 'x')", "line 1, column 30: expected an option's key in single quotes, found connector; write it in single quotes: 'connector'"},
	{"CREATE TABLE t (a INT) WITH ('rows' = 5)", "line 1, column 39: expected an option's value in single quotes, found 5; write it in single quotes: '5'"},
	{"CREATE TABLE t (a INT) WITH (\n'a' = 'b'\n'c' = 'd')", `line 3, column 1: expected "," or ")", found 'c'; is a comma missing before 'c'?`},
	{"CREATE TABLE t (a INT) WITH ('a' = 'b',)", `line 1, column 40: expected an option, found ")"; remove the comma before it`},
	{"CREATE TABLE t (a INT) WIHT ('a' = 'b')", `line 1, column 24: expected WITH (...) or ";", found WIHT; did you mean WITH?`},
	{"CREATE TABLE t (a INT) LIKE u", "line 1, column 24: CREATE TABLE ... LIKE is not supported; write the columns and options out"},
	{"CREATE TABLE t AS SELECT 1", "line 1, column 16: CREATE TABLE ... AS SELECT is not supported; declare the table with its columns, then INSERT INTO it"},
	// Queries.
	{"SELECT a FORM t", "line 1, column 10: expected FROM, found FORM; did you mean FROM?"},
	{"SELECT a AS b FORM t", `line 1, column 15: expected "," or FROM, found FORM; did you mean FROM?`},
	{"SELECT a FROM t WHER a = 1", "line 1, column 17: expected WHERE, found WHER; did you mean WHERE?"},
	{"SELECT a FROM t GRUOP BY a", "line 1, column 17: expected GROUP, found GRUOP; did you mean GROUP?"},
	{"SELECT a FROM t GROUPBY a", "line 1, column 17: expected GROUP BY, found GROUPBY; did you mean GROUP BY?"},
	{"SELECT a b c FROM t", `line 1, column 12: expected "," or FROM, found c; is a comma missing before c?`},
	{"SELECT a, FROM t", "line 1, column 11: expected an expression, found FROM; remove the comma before it"},
	{"SELECT order FROM t", "line 1, column 8: expected an expression, found order; order is a reserved word: put it into backquotes to use it as a name"},
	{"SELECT a AS group FROM t", "line 1, column 13: expected an alias after AS, found group; group is a reserved word: put it into backquotes to use it as a name"},
	{"SELECT a FROM 't'", "line 1, column 15: expected a table, found 't'; names take backquotes or none, single quotes make a string"},
	{"SELECT a FROM SELECT b FROM t", "line 1, column 15: expected a table, found SELECT; put the query into parentheses"},
	{"SELECT a FROM t JOIN u", "line 1, column 23: expected ON or USING after the joined table, found the end of the text; use CROSS JOIN for a join without a condition"},
	{"SELECT a FROM t JOIN u FOR SYSTEM_TIME AS OF t.p AS v ON t.a = v.a", "line 1, column 24: FOR SYSTEM_TIME AS OF (a temporal join) is not supported; a table that does not change can be joined directly"},
	{"SELECT a FROM t NATURAL JOIN u", "line 1, column 17: NATURAL JOIN is not supported; write JOIN ... USING (columns) or JOIN ... ON"},
	{"SELECT a FROM t MATCH_RECOGNIZE (PARTITION BY a)", "line 1, column 17: MATCH_RECOGNIZE is not supported"},
	{"SELECT a FROM t PIVOT (SUM(a) FOR b IN (1))", "line 1, column 17: PIVOT is not supported; use an aggregate with FILTER (WHERE ...) for each column"},
	{"SELECT a FROM t TABLESAMPLE BERNOULLI (5)", "line 1, column 17: TABLESAMPLE is not supported"},
	{"SELECT a FROM t GROUP BY GROUPING SETS ((a))", "line 1, column 26: GROUPING SETS is not supported; write a query for each set and combine them with UNION ALL"},
	{"SELECT a FROM t GROUP BY ROLLUP (a)", "line 1, column 26: ROLLUP is not supported; write a query for each set and combine them with UNION ALL"},
	{"SELECT a FROM t GROUP BY CUBE(a)", "line 1, column 26: CUBE is not supported; write a query for each set and combine them with UNION ALL"},
	{"SELECT a FROM t LIMIT 1 OFFSET 2", "line 1, column 25: OFFSET is not supported"},
	{"SELECT a FROM t FETCH FIRST 1 ROWS ONLY", "line 1, column 17: FETCH FIRST is not supported; use LIMIT"},
	{"SELECT a FROM (SELECT b FROM u", `line 1, column 31: expected ")", found the end of the text`},
	// Expressions.
	{"SELECT (a + b FROM t", `line 1, column 15: expected "," or ")", found FROM`},
	{"SELECT a + FROM t", "line 1, column 12: expected an expression, found FROM; FROM is a reserved word: put it into backquotes to use it as a name"},
	{"SELECT f(a b)", `line 1, column 12: expected "," or ")", found b; is a comma missing before b?`},
	{"SELECT a BETWEEN 1, 2", `line 1, column 19: expected AND, found ","; write BETWEEN low AND high`},
	{"SELECT a IN 1", `line 1, column 13: expected "(", found 1; put the list into parentheses`},
	{"SELECT a IS 5", "line 1, column 13: expected NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM after IS, found 5"},
	{"SELECT CASE WHEN a THEN 1 FROM t", "line 1, column 27: expected WHEN, ELSE or END, found FROM; a CASE ends with END"},
	{"SELECT CAST(a, INT)", `line 1, column 14: expected AS, found ","; write CAST(value AS TYPE)`},
	{"SELECT INTERVAL '10' SECONDS", "line 1, column 22: expected a unit of time, found SECONDS; units are in the singular: write SECOND"},
	{"SELECT INTERVAL 10 SECOND", "line 1, column 17: expected a string, found 10; write INTERVAL '10' and the unit"},
	{"SELECT INTERVAL '10 s' SECOND", "line 1, column 17: '10 s' is not an interval of SECOND; write for example INTERVAL '1.5' SECOND"},
	{"SELECT INTERVAL '10'", "line 1, column 21: expected a unit of time (YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND), found the end of the text"},
	{"SELECT EXTRACT(DYA FROM a)", "line 1, column 16: expected a unit of time (YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND), found DYA; did you mean DAY?"},
	{"SELECT MAP['a']", "line 1, column 8: MAP[...] with 1 items has a key without a value; write MAP[key, value, key, value ...]"},
	{"SELECT LISTAGG(a) WITHIN GROUP (ORDER BY a)", "line 1, column 19: WITHIN GROUP is not supported"},
	{"SELECT FIRST_VALUE(a) IGNORE NULLS OVER (ORDER BY b)", "line 1, column 23: IGNORE NULLS is not supported"},
	{"SELECT LISTAGG(a ORDER BY b)", "line 1, column 18: ORDER BY in LISTAGG is not supported"},
	{"SELECT JSON_VALUE(a, '$.b' RETURNING INT)", "line 1, column 28: RETURNING in JSON_VALUE is not supported; use COALESCE and CAST around it"},
	{"SELECT a = ANY (SELECT 1)", "line 1, column 12: comparison with ANY is not supported; use a join"},
	{"SELECT a FROM f(TABLE t PARTITON BY a)", `line 1, column 25: expected "," or ")", found PARTITON; did you mean PARTITION?`},
	{"SELECT a FROM LATERAL (SELECT 1)", `line 1, column 23: expected TABLE, found "("; LATERAL before anything but TABLE(function(...)) is not supported`},
}

func TestMistakesAreNamedWithPlaceAndRemedy(t *testing.T) {
	for _, c := range mistakes {
		_, err := Parse(c.src)
		if err == nil {
			t.Errorf("%s\n is accepted, want %s", c.src, c.want)
			continue
		}
		if err.Error() != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.src, err, c.want)
		}
	}
}

func TestCaretStandsUnderTheColumn(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"\ufeffSELECT 'ä', ?\nFROM t", "SELECT 'ä', ?\n            ^"},
		{"SELECT 1;\r\n\tSELCT\r\n", "\tSELCT\n\t^"},
		{"SELECT " + strings.Repeat("a + ", 100) + "?", "..." + strings.Repeat("a + ", 15) + "?\n" + strings.Repeat(" ", 63) + "^"},
		{"SELECT (1", "SELECT (1\n         ^"},
	} {
		_, err := Parse(c.src)
		if err == nil {
			t.Fatalf("%s is accepted", c.src)
		}
		if got := err.(*Error).Caret(c.src); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
	}
	if got := (&Error{Pos: Pos{9, 1}}).Caret("a"); got != "" {
		t.Errorf("a line that is not there is shown as %q", got)
	}
}

func TestDeepAndLongTextsAreRefusedNotFatal(t *testing.T) {
	n := 100000
	for name, src := range map[string]string{
		"parentheses":  "SELECT " + strings.Repeat("(", n),
		"signs":        "SELECT " + strings.Repeat("- ", n) + "1",
		"not":          "SELECT " + strings.Repeat("NOT ", n) + "a",
		"calls":        "SELECT " + strings.Repeat("f(", n),
		"case":         "SELECT " + strings.Repeat("CASE WHEN ", n),
		"subqueries":   strings.Repeat("SELECT * FROM (", n),
		"from":         "SELECT * FROM " + strings.Repeat("(", n),
		"queries":      strings.Repeat("(", n) + "SELECT 1",
		"types":        "CREATE TABLE t (a " + strings.Repeat("ARRAY<", n),
		"index":        "SELECT a" + strings.Repeat("[1", n),
		"chain":        "SELECT a" + strings.Repeat(" + a", n),
		"index chain":  "SELECT a" + strings.Repeat("[1]", n),
		"fields":       "SELECT f()" + strings.Repeat(".a", n),
		"joins":        "SELECT * FROM a" + strings.Repeat(" CROSS JOIN a", n),
		"commas":       "SELECT * FROM a" + strings.Repeat(", a", n),
		"unions":       "SELECT 1" + strings.Repeat(" UNION SELECT 1", n),
		"is":           "SELECT a" + strings.Repeat(" IS NULL", n),
		"with":         strings.Repeat("WITH a AS (SELECT 1) ", n),
		"long":         strings.Repeat(" ", MaxSource+1),
		"frames":       "SELECT f() OVER (" + strings.Repeat("ORDER BY f() OVER (", n),
		"frame bounds": "SELECT " + strings.Repeat("f() OVER (ROWS ", n),
	} {
		if _, err := Parse(src); err == nil || !strings.Contains(err.Error(), "support") && !strings.Contains(err.Error(), "nested") {
			t.Errorf("%s: %v", name, err)
		}
	}
	deepest := strings.Repeat("(", maxDepth-5) + "1" + strings.Repeat(")", maxDepth-5)
	if _, err := ParseExpr(deepest); err != nil {
		t.Error(err)
	}
	list := make([]string, 100000)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	if _, err := ParseExpr("a IN (" + strings.Join(list, ", ") + ")"); err != nil {
		t.Error(err)
	}
}
