package expr

import (
	"errors"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
)

func TestCastsGiveFlinksValues(t *testing.T) {
	checkValues(t, testEnv, []valueCase{
		{"CAST('12' AS INT)", "12"}, {"CAST(' 12.9 ' AS INT)", "12"}, {"TRY_CAST('x' AS INT)", "NULL"}, {"TRY_CAST('300' AS TINYINT)", "NULL"},
		{"CAST(300 AS TINYINT)", "44"}, {"CAST(3e9 AS INT)", "2147483647"}, {"CAST(-1.9 AS INT)", "-1"}, {"CAST(0e0/0 AS INT)", "0"},
		{"CAST(1.555 AS DECIMAL(5, 2))", "1.56"}, {"CAST(-1.555 AS DECIMAL(5, 2))", "-1.56"}, {"CAST(123.4 AS DECIMAL(3, 1))", "NULL"},
		{"CAST('1.5e2' AS DECIMAL(5, 1))", "150.0"}, {"CAST(1 AS STRING)", "1"}, {"CAST(1.50 AS STRING)", "1.50"}, {"CAST(1e10 AS STRING)", "1.0E10"},
		{"CAST(0.1e0 AS STRING)", "0.1"}, {"CAST(123456789e0 AS STRING)", "1.23456789E8"}, {"CAST(1e-5 AS STRING)", "1.0E-5"}, {"CAST(TRUE AS STRING)", "TRUE"},
		{"CAST('yes' AS BOOLEAN)", "TRUE"}, {"CAST(0 AS BOOLEAN)", "FALSE"}, {"CAST(TRUE AS INT)", "1"}, {"CAST('abc' AS CHAR(5)) || '|'", "abc  |"},
		{"CAST('abc' AS VARCHAR(2))", "ab"}, {"CAST('été' AS VARCHAR(2))", "ét"}, {"CAST('2020-1-2' AS DATE)", "2020-01-02"},
		{"CAST('2020-01-02 03:04:05.678' AS TIMESTAMP(3))", "2020-01-02 03:04:05.678"}, {"CAST('2020-01-02T03:04' AS TIMESTAMP(3))", "2020-01-02 03:04:00.000"},
		{"CAST(ts AS DATE)", "2020-02-29"}, {"CAST(ts AS TIME)", "12:34:56"}, {"CAST(day AS TIMESTAMP(3))", "2020-02-29 00:00:00.000"},
		{"CAST(ts AS STRING)", "2020-02-29 12:34:56.789"}, {"CAST(day AS STRING)", "2020-02-29"}, {"CAST(tm AS STRING)", "00:00:00.000"},
		{"CAST(ARRAY[1, NULL] AS STRING)", "[1, NULL]"}, {"CAST(MAP['a', 1] AS STRING)", "{a=1}"}, {"CAST(ROW(1, 'x') AS STRING)", "(1, x)"},
		{"CAST(ARRAY['1', '2'] AS ARRAY<INT>)", "[1, 2]"}, {"TRY_CAST(ARRAY['1', 'x'] AS ARRAY<INT>)", "NULL"}, {"TRY_CAST(ROW('1', 'x') AS ROW<a INT, b STRING>)", "(1, x)"}, {"CAST('abc' AS BYTES)", "abc"}, {"CAST(X'4142' AS STRING)", "AB"},
		{"CAST(INTERVAL '1 02:03:04.5' DAY TO SECOND AS STRING)", "+1 02:03:04.500"}, {"CAST(INTERVAL '1-6' YEAR TO MONTH AS STRING)", "+1-06"},
		{"CAST(NULL AS INT)", "NULL"}, {"CAST(f AS DOUBLE)", "0.10000000149011612"}, {"CAST(0.1e0 AS FLOAT)", "0.1"},
		{"CAST(99999999999999999999 AS BIGINT)", "7766279631452241919"}, {"CAST('NaN' AS DOUBLE)", "NaN"}, {"CAST('1e999' AS DOUBLE)", "Infinity"},
	})
}

func TestTextFunctions(t *testing.T) {
	checkValues(t, testEnv, []valueCase{
		{"CHAR_LENGTH('été')", "3"}, {"CHARACTER_LENGTH('')", "0"}, {"OCTET_LENGTH('é')", "2"}, {"UPPER('abcXYZ1é')", "ABCXYZ1É"}, {"LOWER('ABCabcÉ')", "abcabcé"},
		{"LOWER('[ABCDEFGHIJKLMNOPQRSTUVWXYZ@{`]')", "[abcdefghijklmnopqrstuvwxyz@{`]"}, {"UPPER('[abcdefghijklmnopqrstuvwxyz@{`]')", "[ABCDEFGHIJKLMNOPQRSTUVWXYZ@{`]"},
		{"INITCAP('hello wORLD x1y')", "Hello World X1y"}, {"CONCAT('a', 'b', 'c')", "abc"}, {"CONCAT('a', NULL)", "NULL"}, {"CONCAT_WS('-', 'a', NULL, 'b')", "a-b"},
		{"CONCAT_WS(NULL, 'a')", "NULL"}, {"SUBSTRING('hello', 2)", "ello"}, {"SUBSTRING('hello' FROM 2 FOR 3)", "ell"}, {"SUBSTR('hello', -3, 2)", "ll"},
		{"SUBSTRING('été', 2, 1)", "t"}, {"SUBSTRING('abc', 9)", ""}, {"SUBSTRING('abc', -9)", ""}, {"LEFT('hello', 2)", "he"}, {"RIGHT('hello', 2)", "lo"}, {"RIGHT('hello', 9)", "hello"},
		{"LEFT('hello', -1)", ""}, {"POSITION('l' IN 'hello')", "3"}, {"LOCATE('l', 'hello', 4)", "4"}, {"LOCATE('z', 'hello')", "0"}, {"INSTR('héllo', 'l')", "3"},
		{"TRIM('  a  ')", "a"}, {"TRIM(LEADING 'x' FROM 'xxaxx')", "axx"}, {"TRIM(TRAILING 'x' FROM 'xxaxx')", "xxa"}, {"TRIM(BOTH 'x' FROM 'xxaxx')", "a"},
		{"LTRIM('  a ') || '|'", "a |"}, {"RTRIM(' a  ') || '|'", " a|"}, {"BTRIM('xyaxy', 'yx')", "a"}, {"REPLACE('banana', 'an', 'x')", "bxxa"}, {"REPLACE('abc', '', 'x')", "abc"},
		{"LPAD('hi', 5, 'xy')", "xyxhi"}, {"RPAD('hi', 5, 'xy')", "hixyx"}, {"LPAD('hello', 2, 'x')", "he"}, {"LPAD('a', -1, 'x')", "NULL"}, {"REPEAT('ab', 3)", "ababab"}, {"REPEAT('ab', -1)", ""},
		{"REVERSE('été!')", "!été"}, {"OVERLAY('abcdef' PLACING 'XY' FROM 3 FOR 1)", "abXYdef"}, {"OVERLAY('abcdef' PLACING 'XY' FROM 3)", "abXYef"}, {"SPLIT_INDEX('a,b,c', ',', 1)", "b"},
		{"SPLIT_INDEX('a,b', ',', 5)", "NULL"}, {"SPLIT('a,,b', ',')", "[a, , b]"}, {"SPLIT('ab', '')", "[a, b]"}, {"STR_TO_MAP('a=1,b=2,a=3')", "{a=3, b=2}"}, {"STR_TO_MAP('a:1;b', ';', ':')", "{a=1, b=NULL}"},
		{"STARTSWITH('abc', 'ab')", "TRUE"}, {"ENDSWITH('abc', 'ab')", "FALSE"}, {"ASCII('A')", "65"}, {"ASCII('')", "0"}, {"CHR(65)", "A"}, {"TO_BASE64('hello')", "aGVsbG8="},
		{"FROM_BASE64('aGVsbG8=')", "hello"}, {"FROM_BASE64('!')", "NULL"}, {"URL_ENCODE('a b&é')", "a+b%26%C3%A9"}, {"URL_DECODE('a+b%26')", "a b&"}, {"URL_DECODE('%zz')", "NULL"},
		{"PARSE_URL('http://u:p@h.com:80/a/b?x=1&y=2#f', 'HOST')", "h.com"}, {"PARSE_URL('http://h.com/a?x=1&y=2', 'QUERY', 'y')", "2"}, {"PARSE_URL('nonsense', 'HOST')", "NULL"},
		{"MD5('a')", "0cc175b9c0f1b6a831c399e269772661"}, {"SHA1('a')", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"}, {"SHA2('a', 224)", "abd37534c7d9a2efb9465de931cd7055ffdb8879563ae98078d6d6d5"},
		{"SHA256('a')", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}, {"SHA224('a') = SHA2('a', 224)", "TRUE"}, {"SHA384('a') = SHA2('a', 384)", "TRUE"}, {"SHA512('a') = SHA2('a', 512)", "TRUE"},
		{"ENCODE('é', 'UTF-16BE')", "\x00\xe9"}, {"DECODE(ENCODE('é€', 'UTF-16'), 'UTF-16')", "é€"}, {"DECODE(X'E9', 'ISO-8859-1')", "é"}, {"HEX('abc')", "616263"}, {"HEX(255)", "FF"}, {"BIN(5)", "101"},
		{"'a' LIKE '_'", "TRUE"}, {"'abc' LIKE 'a%c'", "TRUE"}, {"'abcbc' LIKE '%bc'", "TRUE"}, {"'a%c' LIKE 'a!%c' ESCAPE '!'", "TRUE"}, {"'abc' NOT LIKE '_b_'", "FALSE"}, {"'été' LIKE '_t_'", "TRUE"},
		{"'abcd' LIKE 'a%b%d'", "TRUE"}, {"'abc' SIMILAR TO '(a|x)[b-c]+'", "TRUE"}, {"'abc' SIMILAR TO 'b%'", "FALSE"},
		{"REGEXP('hello', 'l+')", "TRUE"}, {"REGEXP_REPLACE('a1b22', '[0-9]+', '#')", "a#b#"}, {"REGEXP_REPLACE('ab', '(a)(b)', '$2$1\\$')", "ba$"}, {"REGEXP_EXTRACT('foo123', '([a-z]+)([0-9]+)', 2)", "123"},
		{"REGEXP_EXTRACT('foo', '[0-9]+')", "NULL"}, {"REGEXP_EXTRACT('x12', '\\d+')", "12"}, {"REGEXP_EXTRACT_ALL('a1 b2', '[a-z0-9]+')", "[a1, b2]"}, {"REGEXP_EXTRACT_ALL('a1 b2', '([a-z])([0-9])', 2)", "[1, 2]"},
		{"REGEXP_EXTRACT_ALL('a1', 'a', 3)", "NULL"}, {"REGEXP_COUNT('a1b2', '[0-9]')", "2"}, {"REGEXP_LIKE('a', 'b')", "FALSE"}, {"JSON_VALUE('{\"a\": {\"b\": [1, \"x\"]}}', '$.a.b[1]')", "x"},
		{"JSON_VALUE('{\"a\": 1.50}', 'lax $.a')", "1.50"}, {"JSON_VALUE('{\"a\": null}', '$.a')", "NULL"}, {"JSON_VALUE('nope', '$.a')", "NULL"}, {"JSON_EXISTS('{\"a\": null}', '$.a')", "TRUE"}, {"IS_JSON('[1]')", "TRUE"},
		{"'a' || 'b' || 'c'", "abc"}, {"'a' || NULL", "NULL"}, {"X'41' || X'42' = X'4142'", "TRUE"},
	})
}

func TestMathFunctions(t *testing.T) {
	checkValues(t, testEnv, []valueCase{
		{"ABS(-5)", "5"}, {"ABS(-1.5)", "1.5"}, {"ABS(-2e0)", "2.0"}, {"CEIL(1.2)", "2"}, {"FLOOR(-1.2)", "-2"}, {"CEIL(1.2e0)", "2.0"}, {"FLOOR(7)", "7"}, {"CEILING(-1.5)", "-1"},
		{"ROUND(1.255, 2)", "1.26"}, {"ROUND(-2.5)", "-3"}, {"ROUND(2.5e0)", "3.0"}, {"ROUND(1.005e0, 2)", "1.01"}, {"ROUND(1234, -2)", "1200"}, {"ROUND(1250, -2)", "1300"}, {"ROUND(9.99e0, 1)", "10.0"},
		{"TRUNCATE(1.999, 1)", "1.900"}, {"TRUNCATE(-1.999e0, 2)", "-1.99"}, {"TRUNCATE(42.9)", "42.0"}, {"SIGN(-3)", "-1"}, {"SIGN(2.5)", "1.0"}, {"SIGN(-2.5e0)", "-1.0"}, {"SQRT(4)", "2.0"}, {"POWER(2, 10)", "1024.0"},
		{"EXP(0)", "1.0"}, {"LN(1)", "0.0"}, {"LOG(2, 8)", "3.0"}, {"LOG10(100)", "2.0"}, {"LOG2(8)", "3.0"}, {"LN(0)", "-Infinity"}, {"MOD(7, 3)", "1"}, {"MOD(-7.5, 2)", "-1.5"}, {"SIN(0)", "0.0"}, {"COS(0)", "1.0"},
		{"TAN(0)", "0.0"}, {"ASIN(0)", "0.0"}, {"ACOS(1)", "0.0"}, {"ATAN(0)", "0.0"}, {"ATAN2(0, 1)", "0.0"}, {"PI()", "3.141592653589793"}, {"E()", "2.718281828459045"}, {"COT(PI() / 2) < 1e-9", "TRUE"},
		{"DEGREES(PI())", "180.0"}, {"RADIANS(180)", "3.141592653589793"}, {"SINH(0)", "0.0"}, {"COSH(0)", "1.0"}, {"TANH(0)", "0.0"},
		{"GREATEST(1, 2.5, 2)", "2.5"}, {"LEAST(3, 1, 2)", "1"}, {"GREATEST(1, NULL)", "NULL"}, {"TYPEOF(1)", "INT NOT NULL"}, {"TYPEOF(1.5 + 1)", "DECIMAL(12, 1)"}, {"TYPEOF(dec * dec)", "DECIMAL(21, 4)"},
		{"TYPEOF(dec / dec)", "DECIMAL(23, 13)"}, {"TYPEOF(s)", "STRING"}, {"TYPEOF('ab')", "CHAR(2) NOT NULL"}, {"TYPEOF(ROUND(dec, 1))", "DECIMAL(10, 1)"}, {"SQRT(NULL)", "NULL"},
	})
}

func TestDateAndTimeFunctions(t *testing.T) {
	checkValues(t, testEnv, []valueCase{
		{"EXTRACT(YEAR FROM ts)", "2020"}, {"EXTRACT(QUARTER FROM ts)", "1"}, {"EXTRACT(MONTH FROM day)", "2"}, {"EXTRACT(WEEK FROM day)", "9"}, {"EXTRACT(DOW FROM day)", "7"}, {"EXTRACT(DOY FROM day)", "60"},
		{"EXTRACT(ISODOW FROM day)", "6"}, {"EXTRACT(ISOYEAR FROM DATE '2021-01-01')", "2020"}, {"EXTRACT(HOUR FROM ts)", "12"}, {"EXTRACT(MILLISECOND FROM ts)", "56789"}, {"EXTRACT(EPOCH FROM ts)", "1582979696"},
		{"EXTRACT(CENTURY FROM ts)", "21"}, {"EXTRACT(DECADE FROM ts)", "202"}, {"EXTRACT(MILLENNIUM FROM ts)", "3"}, {"EXTRACT(DAY FROM INTERVAL '3 04:05:06' DAY TO SECOND)", "3"},
		{"YEAR(day)", "2020"}, {"QUARTER(day)", "1"}, {"MONTH(day)", "2"}, {"WEEK(day)", "9"}, {"DAYOFYEAR(day)", "60"}, {"DAYOFMONTH(day)", "29"}, {"DAYOFWEEK(day)", "7"}, {"HOUR(ts)", "12"}, {"MINUTE(ts)", "34"}, {"SECOND(ts)", "56"},
		{"FLOOR(ts TO HOUR)", "2020-02-29 12:00:00.000"}, {"CEIL(ts TO DAY)", "2020-03-01 00:00:00.000"}, {"FLOOR(day TO MONTH)", "2020-02-01"}, {"CEIL(day TO YEAR)", "2021-01-01"}, {"FLOOR(day TO WEEK)", "2020-02-23"}, {"FLOOR(ts TO QUARTER)", "2020-01-01 00:00:00.000"},
		{"TIMESTAMPADD(MONTH, 1, DATE '2020-01-31')", "2020-02-29"}, {"TIMESTAMPADD(HOUR, -13, ts)", "2020-02-28 23:34:56.789"}, {"TIMESTAMPDIFF(DAY, TIMESTAMP '2020-01-01 00:00:00', ts)", "59"}, {"TIMESTAMPDIFF(MONTH, DATE '2020-01-31', DATE '2020-02-29')", "0"},
		{"TIMESTAMPDIFF(YEAR, DATE '2020-02-29', DATE '2019-02-28')", "-1"}, {"ts + INTERVAL '1' DAY", "2020-03-01 12:34:56.789"}, {"ts - INTERVAL '1' YEAR", "2019-02-28 12:34:56.789"}, {"INTERVAL '1' HOUR + ts", "2020-02-29 13:34:56.789"},
		{"day + INTERVAL '1' MONTH", "2020-03-29"}, {"day - INTERVAL '1' DAY", "2020-02-28"}, {"tm + INTERVAL '25' HOUR", "01:00:00.000"}, {"INTERVAL '1' DAY * 2 + INTERVAL '1' HOUR", "+2 01:00:00.000"}, {"- INTERVAL '1' DAY", "-1 00:00:00.000"},
		{"DATE_FORMAT(ts, 'yyyy/MM/dd HH:mm:ss.SSS')", "2020/02/29 12:34:56.789"}, {"DATE_FORMAT(ts, 'yy-M-d h a EEE MMM ''at''')", "20-2-29 12 PM Sat Feb at"}, {"DATE_FORMAT('2020-01-02 03:04:05', 'HHmm')", "0304"}, {"DATE_FORMAT('x', 'HH')", "NULL"},
		{"TO_DATE('2020-02-30')", "NULL"}, {"TO_DATE('03/02/2020', 'dd/MM/yyyy')", "2020-02-03"}, {"TO_TIMESTAMP('2020-02-03 04:05:06')", "2020-02-03 04:05:06.000"}, {"TO_TIMESTAMP('20200203040506', 'yyyyMMddHHmmss')", "2020-02-03 04:05:06.000"}, {"TO_TIMESTAMP('x')", "NULL"},
		{"TO_TIMESTAMP('5 Mar 2020 3:07 PM', 'd MMM yyyy h:mm a')", "2020-03-05 15:07:00.000"}, {"TO_TIMESTAMP_LTZ(1000, 0)", "1970-01-01 00:16:40.000"}, {"TO_TIMESTAMP_LTZ(1000, 3)", "1970-01-01 00:00:01.000"}, {"TO_TIMESTAMP_LTZ('2020-01-01 00:00:00', 'yyyy-MM-dd HH:mm:ss', '+02:00')", "2019-12-31 22:00:00.000"},
		{"UNIX_TIMESTAMP()", "1600000000"}, {"UNIX_TIMESTAMP('1970-01-02 00:00:00')", "86400"}, {"UNIX_TIMESTAMP('x')", "-9223372036854775808"}, {"FROM_UNIXTIME(86400)", "1970-01-02 00:00:00"}, {"FROM_UNIXTIME(0, 'yyyy')", "1970"},
		{"CONVERT_TZ('2020-01-01 00:00:00', 'UTC', '+05:30')", "2020-01-01 05:30:00"}, {"NOW()", "2020-09-13 12:26:40.123"}, {"CURRENT_TIMESTAMP", "2020-09-13 12:26:40.123"}, {"PROCTIME()", "2020-09-13 12:26:40.123"}, {"LOCALTIMESTAMP", "2020-09-13 12:26:40.123"},
		{"CURRENT_DATE", "2020-09-13"}, {"CURRENT_TIME", "12:26:40"}, {"LOCALTIME", "12:26:40"}, {"CURRENT_ROW_TIMESTAMP()", "2020-09-13 12:26:40.123"},
	})
}

func TestLocalTimesFollowTheSessionsZone(t *testing.T) {
	env := *testEnv
	env.Zone = mustZone(t, "Europe/Berlin")
	checkValues(t, &env, []valueCase{
		{"CAST(ltz AS STRING)", "2020-02-29 13:34:56.789"}, {"HOUR(ltz)", "13"}, {"LOCALTIMESTAMP", "2020-09-13 14:26:40.123"}, {"FROM_UNIXTIME(0)", "1970-01-01 01:00:00"},
		{"CAST(ts AS TIMESTAMP_LTZ(3))", "2020-02-29 12:34:56.789"}, {"CAST(CAST(TIMESTAMP '2024-03-31 02:30:00' AS TIMESTAMP_LTZ(3)) AS STRING)", "2024-03-31 03:30:00.000"},
		{"FLOOR(ltz TO DAY)", "2020-02-29 00:00:00.000"}, {"TIMESTAMPADD(MONTH, 1, ltz)", "2020-03-29 13:34:56.789"}, {"UNIX_TIMESTAMP('1970-01-01 01:00:00')", "0"}, {"DATE_FORMAT(ltz, 'HH:mm XXX')", "13:34 +01:00"},
	})
}

func TestCollectionFunctions(t *testing.T) {
	checkValues(t, testEnv, []valueCase{
		{"ARRAY[1, 2.5]", "[1.0, 2.5]"}, {"ARRAY[1, 2][2]", "2"}, {"ARRAY[1, 2][3]", "NULL"}, {"ARRAY['a'][0]", "NULL"}, {"MAP['a', 1, 'b', 2]['b']", "2"}, {"MAP['a', 1]['z']", "NULL"}, {"MAP['a', 1, 'a', 2]", "{a=2}"},
		{"ROW(1, 'a').EXPR$1", "a"}, {"CARDINALITY(ARRAY[1, 2, 3])", "3"}, {"CARDINALITY(MAP['a', 1])", "1"}, {"ELEMENT(ARRAY[7])", "7"}, {"ARRAY_CONTAINS(ARRAY[1, 2], 2)", "TRUE"}, {"ARRAY_CONTAINS(ARRAY[1, NULL], NULL)", "TRUE"},
		{"ARRAY_JOIN(ARRAY['a', NULL, 'b'], ',')", "a,b"}, {"ARRAY_JOIN(ARRAY['a', NULL], ',', '?')", "a,?"}, {"ARRAY_DISTINCT(ARRAY[1, 2, 1, NULL, NULL])", "[1, 2, NULL]"}, {"ARRAY_POSITION(ARRAY['x', 'y'], 'y')", "2"}, {"ARRAY_REVERSE(ARRAY[1, 2])", "[2, 1]"},
		{"ARRAY_SLICE(ARRAY[1, 2, 3, 4], 2, 3)", "[2, 3]"}, {"ARRAY_SLICE(ARRAY[1, 2, 3], -2)", "[2, 3]"}, {"MAP_KEYS(MAP['a', 1])", "[a]"}, {"MAP_VALUES(MAP['a', 1])", "[1]"}, {"MAP_ENTRIES(MAP['a', 1])", "[(a, 1)]"},
		{"CASE WHEN p THEN ARRAY[i] ELSE ARRAY[2] END", "[1]"}, {"COALESCE(NULLIF(ARRAY[1], ARRAY[1]), ARRAY[3])", "[3]"}, {"ROW(1, 2) = ROW(1, 2)", "TRUE"}, {"ARRAY[i, 2] <> ARRAY[1, 2]", "FALSE"},
	})
}

func TestRandomFunctionsDependOnPlaceNotOnBatches(t *testing.T) {
	in := sample(t)
	for _, src := range []string{"RAND()", "RAND(5)", "RAND_INTEGER(100)", "UUID()", "CASE WHEN p THEN UUID() ELSE UUID() END", "COALESCE(s, UUID())"} {
		got, _, err := runAll(t, in, src, testEnv)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, v := range got {
			seen[v] = true
		}
		if len(seen) < 5 {
			t.Errorf("%s repeats itself: %q", src, got)
		}
	}
}

func TestEveryFunctionIsNullWithoutArguments(t *testing.T) {
	in := sample(t)
	for _, name := range Functions() {
		def, ok := lookup(name)
		if !ok || def.CallsOnNull || len(def.params) == 0 || def.perRow {
			continue
		}
		args := []string{}
		for _, p := range def.params {
			if !p.optional {
				args = append(args, "CAST(NULL AS "+strings.Replace(defaultOf(p.classes[0]).String(), "ARRAY<NULL>", "ARRAY<INT>", 1)+")")
			}
		}
		if len(args) == 0 || name == "EXTRACT" || name == "POSITION" || name == "ARRAY_JOIN" || name == "ARRAY_POSITION" || strings.HasPrefix(name, "TIMESTAMP") || def.params[0].classes[0] == "MAP" {
			continue
		}
		src := name + "(" + strings.Join(args, ", ") + ")"
		got, _, err := runAll(t, in, src, testEnv)
		if err != nil || got[0] != "NULL" {
			t.Errorf("%s = %v, %v", src, got, err)
		}
	}
}

func TestRegisteredGoFunctionsAreCalledByName(t *testing.T) {
	if err := Register(Func2("test_join", func(a string, b int64) (string, error) {
		if b < 0 {
			return "", errors.New("negative")
		}
		return strings.Repeat(a, int(b%3)), nil
	})); err != nil {
		t.Fatal(err)
	}
	if Register(Func1("TEST_JOIN", func(a bool) (bool, error) { return !a, nil })) == nil {
		t.Error("a taken name was registered")
	}
	in := sample(t)
	got, _, err := runAll(t, in, "TEST_JOIN(s, ABS(i) + 0)", testEnv)
	if err == nil || !strings.Contains(err.Error(), "row 8: line 1, column 1: TEST_JOIN(s, ABS(i) + 0): negative") {
		t.Errorf("%v, %v", got, err)
	}
	got, _, err = runAll(t, in, "test_join('ab', 2)", testEnv)
	if err != nil || got[0] != "abab" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestUnnestMakesRowsOfElements(t *testing.T) {
	for _, c := range []struct{ name, src, want string }{
		{"UNNEST", "ARRAY[1, NULL, 3]", "1;NULL;3;"},
		{"UNNEST", "MAP['a', 1, 'b', 2]", "a,1;b,2;"},
		{"UNNEST", "ARRAY[ROW(1, 'x'), ROW(2, 'y')]", "1,x;2,y;"},
		{"UNNEST WITH ORDINALITY", "SPLIT('p q', ' ')", "p,1;q,2;"},
	} {
		n := checked(t, sample(t), c.src)
		p, err := Compile(n)
		if err != nil {
			t.Fatal(err)
		}
		col, err := p.Eval(oneRow, nil)
		if err != nil {
			t.Fatal(err)
		}
		def, _ := LookupTableFunction(c.name)
		fields, err := def.Check([]batch.Type{n.Type})
		if err != nil {
			t.Fatal(err)
		}
		f, err := def.New([]batch.Type{n.Type})
		if err != nil {
			t.Fatal(err)
		}
		out := batch.New(batch.NewSchema(fields...))
		if _, err := f.Call([]*batch.Column{col}, 0, out); err != nil {
			t.Fatal(err)
		}
		got := ""
		for i := range out.Len() {
			var cells []string
			for k := range out.Cols {
				cells = append(cells, string(AppendText(nil, &out.Cols[k], i, nil)))
			}
			got += strings.Join(cells, ",") + ";"
		}
		if got != c.want {
			t.Errorf("%s(%s) gives %s, want %s", c.name, c.src, got, c.want)
		}
	}
}
