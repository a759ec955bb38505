package expr

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/query/ast"
)

func TestArithmeticGivesFlinksValues(t *testing.T) {
	checkValues(t, testEnv, []valueCase{
		{"1 + 2", "3"}, {"7 / 2", "3"}, {"-7 / 2", "-3"}, {"-7 % 3", "-1"}, {"7 - 10 * 2", "-13"},
		{"2147483647 + 1", "-2147483648"}, {"9223372036854775807 + 1", "-9223372036854775808"},
		{"CAST(127 AS TINYINT) + CAST(1 AS TINYINT)", "-128"}, {"-CAST(-128 AS TINYINT)", "-128"},
		{"1.5 + 2", "3.5"}, {"1.50 * 2.0", "3.000"}, {"1.0 / 3.0", "0.333333"}, {"10.00 % 3", "1.00"}, {"-5.5 % 2.0", "-1.5"},
		{"1e0 / 0", "Infinity"}, {"0e0 / 0", "NaN"}, {"1 + NULL", "NULL"}, {"1 / NULL", "NULL"},
		{"99999999999999999999999999999999999999 + 1", "NULL"},
		{"12345678901234567890.1234567890 * 98765432109876543210.0987654321", "NULL"},
		{"CAST(2 AS DECIMAL(38, 0)) / 3", "0.666667"}, {"i + b", "11"}, {"i * d", "1.5"}, {"i + dec", "2.25"}, {"d + dec", "2.75"},
		{"f + f", "0.2"}, {"f * 3", "0.3"}, {"- dec", "-1.25"}, {"+i", "1"}, {"- - i", "1"},
	})
}

func TestColumnsKeepNullsThroughOperators(t *testing.T) {
	in := sample(t)
	for _, c := range []valueCase{
		{"i + 1", "2|3|NULL|-6|-2147483648|1|NULL|13|-2147483647"},
		{"1 - i", "0|-1|NULL|8|-2147483646|1|NULL|-11|-2147483647"},
		{"i + b", "11|NULL|NULL|-7|-9223372034707292162|-1|NULL|NULL|-2147483646"},
		{"i > 1", "FALSE|TRUE|NULL|FALSE|TRUE|FALSE|NULL|TRUE|FALSE"},
		{"1 < i", "FALSE|TRUE|NULL|FALSE|TRUE|FALSE|NULL|TRUE|FALSE"},
		{"d = d", "TRUE|TRUE|FALSE|TRUE|NULL|TRUE|TRUE|TRUE|TRUE"},
		{"p AND q", "TRUE|FALSE|NULL|NULL|FALSE|NULL|FALSE|FALSE|NULL"},
		{"p OR q", "TRUE|TRUE|TRUE|TRUE|NULL|NULL|TRUE|FALSE|TRUE"},
		{"NOT p", "FALSE|TRUE|NULL|FALSE|TRUE|NULL|FALSE|TRUE|FALSE"},
		{"p IS TRUE", "TRUE|FALSE|FALSE|TRUE|FALSE|FALSE|TRUE|FALSE|TRUE"},
		{"p IS NOT FALSE", "TRUE|FALSE|TRUE|TRUE|FALSE|TRUE|TRUE|FALSE|TRUE"},
		{"p IS UNKNOWN", "FALSE|FALSE|TRUE|FALSE|FALSE|TRUE|FALSE|FALSE|FALSE"},
		{"i IS DISTINCT FROM NULL", "TRUE|TRUE|FALSE|TRUE|TRUE|TRUE|FALSE|TRUE|TRUE"},
		{"i IN (1, 12, 5)", "TRUE|FALSE|NULL|FALSE|FALSE|FALSE|NULL|TRUE|FALSE"},
		{"i NOT IN (1, NULL, 5)", "FALSE|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL"},
		{"i IN (1, b, 0)", "TRUE|NULL|NULL|FALSE|FALSE|TRUE|NULL|NULL|FALSE"},
		{"s IN ('Hello', '', '0')", "TRUE|NULL|TRUE|FALSE|FALSE|FALSE|FALSE|FALSE|TRUE"},
		{"i BETWEEN 0 AND 5", "TRUE|TRUE|NULL|FALSE|FALSE|TRUE|NULL|FALSE|FALSE"},
		{"i NOT BETWEEN b AND 5", "TRUE|NULL|NULL|TRUE|TRUE|FALSE|NULL|TRUE|TRUE"},
		{"CASE WHEN i > 1 THEN 'big' WHEN i < 0 THEN s END", "NULL|big|NULL|été ß|big|NULL|NULL|big|0"},
		{"CASE i WHEN 1 THEN b WHEN 0 THEN i ELSE -1 END", "10|-1|-1|-1|-1|0|-1|-1|-1"},
		{"COALESCE(i, b, 9)", "1|2|3|-7|2147483647|0|5|12|-2147483648"},
		{"COALESCE(s, CAST(i AS STRING))", "Hello|2||été ß|a,b,,c|x=1&y=2|  pad |UPPER lower|0"},
		{"IFNULL(d, 0)", "1.5|-0.0|NaN|Infinity|0.0|2.25|1.0E10|-3.0|0.001"},
		{"NULLIF(i, 2)", "1|NULL|NULL|-7|2147483647|0|NULL|12|-2147483648"},
		{"IF(p, i, b)", "1|NULL|3|-7|9223372036854775807|-1|NULL|NULL|-2147483648"},
		{"GREATEST(i, b)", "10|NULL|NULL|0|9223372036854775807|0|NULL|NULL|2"},
		{"LEAST(s, 'b')", "Hello|NULL||b|a,b,,c|b|  pad |UPPER lower|0"},
		{"CASE WHEN b <> 0 THEN i / b END", "0|NULL|NULL|NULL|0|0|NULL|NULL|-1073741824"},
		{"b <> 0 AND i / b = 0", "TRUE|NULL|NULL|FALSE|TRUE|TRUE|NULL|NULL|FALSE"},
		{"b = 0 OR i / b = 0", "TRUE|NULL|NULL|TRUE|TRUE|TRUE|NULL|NULL|FALSE"},
		{"dec * dec", "1.5625|NULL|12.2500|0.0000|9999999998000000.0001|4.0000|60.3729|0.0001|25.0000"},
		{"CAST(i AS STRING) || '!'", "1!|2!|NULL|-7!|2147483647!|0!|NULL|12!|-2147483648!"},
		{"day = DATE '2020-02-29'", "TRUE|NULL|FALSE|FALSE|FALSE|FALSE|FALSE|FALSE|FALSE"},
		{"ts > '2020-01-01'", "TRUE|NULL|FALSE|TRUE|TRUE|TRUE|FALSE|TRUE|TRUE"},
		{"p = q", "TRUE|FALSE|NULL|NULL|NULL|NULL|FALSE|TRUE|NULL"},
		{"p < q", "FALSE|TRUE|NULL|NULL|NULL|NULL|FALSE|FALSE|NULL"},
		{"s LIKE '%l%o'", "TRUE|NULL|FALSE|FALSE|FALSE|FALSE|FALSE|FALSE|FALSE"},
		{"s LIKE s", "TRUE|NULL|TRUE|TRUE|TRUE|TRUE|TRUE|TRUE|TRUE"},
	} {
		got, _, err := runAll(t, in, c.src, testEnv)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
		} else if text := strings.Join(got, "|"); text != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.src, text, c.want)
		}
	}
}

func TestTheFirstFailingRowIsReported(t *testing.T) {
	in := sample(t)
	for _, c := range []struct{ src, want string }{
		{"i / (b - 3) + 10 / i", "row 5: line 1, column 18: 10 / i: division of 10 by zero; guard it"},
		{"CAST(s AS INT)", `row 0: line 1, column 1: CAST(s AS INT): "Hello" is not a INT; TRY_CAST gives NULL`},
		{"CASE WHEN i IS NULL THEN CAST(s AS INT) END", `row 2: line 1, column 26: CAST(s AS INT): "" is not a INT`},
		{"1 / 0", "row 0: line 1, column 3: 1 / 0: division of 1 by zero"},
		{"p AND 1 / 0 = 1", "row 0: "},
		{"NOT p AND 1 / 0 = 1", "row 1: "},
		{"1.0 / (dec - dec)", "row 0: "},
		{"CAST(ARRAY[CAST(i AS STRING), s] AS ARRAY<INT>)", "row 0: line 1, column 1: "},
		{"CASE WHEN i > 1 THEN REPEAT(s, 2000000000) END", "row 4: line 1, column 22: REPEAT(s, 2000000000): 2000000000 times 6 bytes is over the limit"},
	} {
		_, _, err := runAll(t, in, c.src, testEnv)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.src, err, c.want)
		}
	}
}

func TestMistakesAreExplained(t *testing.T) {
	in := sample(t)
	for _, c := range []struct{ src, want string }{
		{"i + s", "+ is not defined between INT and STRING; write CAST(s AS INT)"},
		{"i AND p", "AND needs a BOOLEAN; i is INT"},
		{"SUBSTRING(s, TRUE)", "SUBSTRING takes (STRING, INT[, INT]); the second argument is BOOLEAN"},
		{"SUBSTRING(s)", "SUBSTRING takes (STRING, INT[, INT]); it was given 1 argument"},
		{"UPER(s)", "there is no function UPER; did you mean UPPER?"},
		{"COUNT(*)", "COUNT is an aggregate"},
		{"UNNEST(s)", "UNNEST"},
		{"CASE WHEN p THEN 1 ELSE 'a' END", "no common type"},
		{"CAST(ts AS BIGINT)", "cannot be cast to BIGINT; UNIX_TIMESTAMP"},
		{"nosuch + 1", "there is no column nosuch"},
		{"ts - ts", "write TIMESTAMPDIFF(SECOND, ts, ts)"},
		{"i.x", "i is INT, not a ROW"},
		{"s[1]", "only ARRAY and MAP are indexed"},
		{"UPPER(DISTINCT s)", "is not an aggregate"},
		{"REGEXP(s, '(')", "is not a supported regular expression"},
		{"s LIKE 'a' ESCAPE 'xy'", "ESCAPE takes one character"},
	} {
		_, _, err := run(in, c.src, testEnv, 100)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.src, err, c.want)
		}
	}
}

func TestNodesSurviveJSONAndPrintTheSame(t *testing.T) {
	in := sample(t)
	for _, c := range []valueCase{
		{"i + b * 2 - (i - 1)", "i + b * 2 - (i - 1)"},
		{"(p OR q) AND NOT (p AND q)", "(p OR q) AND NOT (p AND q)"},
		{"CASE WHEN p THEN s ELSE 'it''s' END", "CASE WHEN p THEN s ELSE 'it''s' END"},
		{"i IS NULL = p", "(i IS NULL) = p"},
		{"LOWER(s) LIKE 'a%'", "LOWER(s) LIKE 'a%'"},
		{"0e0 / 0 > d", "0.0 / 0.0 > d"},
		{"FLOOR(ts TO DAY) + INTERVAL '1' DAY", "FLOOR(ts TO DAY) + INTERVAL '+1 00:00:00.000'"},
		{"GREATEST(ARRAY[i, 2][1], CEIL(i))", "GREATEST(ARRAY[i, 2][1], CEIL(i))"},
		{"i NOT IN (1, 2, 3)", "NOT i IN (1, 2, 3)"},
	} {
		e, err := ast.ParseExpr(c.src)
		if err != nil {
			t.Fatal(err)
		}
		n, err := Check(e, in)
		if err != nil {
			t.Fatalf("%s: %v", c.src, err)
		}
		if strings.Replace(n.String(), "CAST(0 AS DOUBLE)", "0.0", 1) != c.want {
			t.Errorf("%s prints as %s", c.src, n)
		}
		folded, err := Fold(n)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []*Node{n, folded} {
			text, err := json.Marshal(n)
			if err != nil {
				t.Fatal(err)
			}
			var back Node
			if err := json.Unmarshal(text, &back); err != nil {
				t.Fatal(err)
			}
			if !Equal(n, &back) || n.String() != back.String() {
				t.Errorf("%s comes back from JSON as %s", n, &back)
			}
		}
	}
}
