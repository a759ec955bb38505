package ast

import "strings"

func wordSet(lists ...string) map[string]bool {
	set := map[string]bool{}
	for _, list := range lists {
		for _, w := range strings.Fields(list) {
			set[w] = true
		}
	}
	return set
}

// reserved words cannot be names without backquotes, except after a dot. Flink reserves many more;
// here a keyword is a name wherever that is unambiguous.
var reserved = wordSet(`ALL AND AS BETWEEN BY CASE CAST CREATE CROSS DISTINCT ELSE END EXCEPT EXISTS FALSE FOR FROM FULL
	GROUP HAVING IN INNER INSERT INTERSECT INTO IS JOIN LATERAL LEFT LIKE LIMIT NATURAL NOT NULL ON OR ORDER OVER RIGHT
	SELECT SIMILAR TABLE THEN TRUE TRY_CAST UNION UNNEST USING VALUES WHEN WHERE WITH`)

// callableReserved are reserved words that are also functions.
var callableReserved = wordSet(`LEFT RIGHT`)

// special words mean something of their own in some expressions: Format puts them into backquotes when they are names.
var special = wordSet(`ARRAY ASYMMETRIC BOTH INTERVAL LEADING MAP SYMMETRIC TRAILING UNBOUNDED`,
	`CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP LOCALTIME LOCALTIMESTAMP`)

// specialCalls begin a call of their own form: Format puts them into backquotes when they are functions of another form.
var specialCalls = wordSet(`CUBE DESCRIPTOR EXTRACT POSITION ROLLUP ROW TIMESTAMPADD TIMESTAMPDIFF`)

// niladic functions are called without parentheses.
var niladic = wordSet(`CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP LOCALTIME LOCALTIMESTAMP`)

// statementWords begin a statement.
var statementWords = []string{"SELECT", "INSERT", "CREATE", "WITH", "VALUES", "SET", "EXECUTE", "BEGIN"}

// clauseWords may follow a complete expression or relation.
var clauseWords = []string{"FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "INTERSECT", "EXCEPT",
	"JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS"}

// queryEnd are the words that may follow the select list.
var queryEnd = wordSet(`FROM WHERE GROUP HAVING ORDER LIMIT UNION INTERSECT EXCEPT`)

// refusal says why a piece of SQL is refused: "<name> is not supported", with a hint.
type refusal struct{ name, hint string }

// refusedStatements are known statements that are not supported, by first word.
var refusedStatements = map[string]refusal{
	"ADD":      {"ADD JAR", "functions and operators are written in Go and built into the binary"},
	"ALTER":    {"ALTER", "a file is one query: change its CREATE statements and add it anew"},
	"ANALYZE":  {"ANALYZE TABLE", ""},
	"CALL":     {"CALL", ""},
	"COMPILE":  {"COMPILE PLAN", "seepnode query plan prints the plan of a file"},
	"DELETE":   {"DELETE", "a query only inserts: rows leave a result when its inputs retract them"},
	"DESC":     {"DESCRIBE", "seepnode query plan prints the plan of a file"},
	"DESCRIBE": {"DESCRIBE", "seepnode query plan prints the plan of a file"},
	"DROP":     {"DROP", "tables and views belong to their query and go with it"},
	"EXPLAIN":  {"EXPLAIN", "seepnode query plan prints the plan of a file"},
	"LOAD":     {"LOAD MODULE", ""},
	"MERGE":    {"MERGE", "a sink with a PRIMARY KEY takes INSERT INTO as an upsert"},
	"REMOVE":   {"REMOVE JAR", ""},
	"REPLACE":  {"REPLACE TABLE", ""},
	"RESET":    {"RESET", "leave the SET out instead"},
	"SHOW":     {"SHOW", ""},
	"TABLE":    {"TABLE as a query", "write SELECT * FROM"},
	"TRUNCATE": {"TRUNCATE", ""},
	"UNLOAD":   {"UNLOAD MODULE", ""},
	"UPDATE":   {"UPDATE", "a sink with a PRIMARY KEY takes INSERT INTO as an upsert"},
	"UPSERT":   {"UPSERT", "a sink with a PRIMARY KEY takes INSERT INTO as an upsert"},
	"USE":      {"USE", "there is one catalog and one database: name tables by their own names"},
}

// refusedCreates are the refused words after CREATE.
var refusedCreates = map[string]refusal{
	"CATALOG":      {"CREATE CATALOG", "there is one catalog and one database: name tables by their own names"},
	"DATABASE":     {"CREATE DATABASE", "there is one catalog and one database: name tables by their own names"},
	"EXTERNAL":     {"CREATE EXTERNAL TABLE", ""},
	"FUNCTION":     {"CREATE FUNCTION", "functions and operators are written in Go, registered, and called by their names"},
	"SYSTEM":       {"CREATE SYSTEM FUNCTION", "functions and operators are written in Go, registered, and called by their names"},
	"MATERIALIZED": {"CREATE MATERIALIZED TABLE", "insert into a table with 'connector' = 'table'"},
	"MODEL":        {"CREATE MODEL", ""},
	"OR":           {"CREATE OR REPLACE", "a file is one query: change its CREATE statements and add it anew"},
	"CONNECTION":   {"CREATE CONNECTION", ""},
}

// refusedClause is a refusal that holds only before one of the words or symbols of then ("#" is a number), if there are any.
type refusedClause struct {
	refusal
	then string
}

// refusedClauses are the known clauses that may stand after a complete expression, relation or query.
// They are never aliases without AS.
var refusedClauses = map[string]refusedClause{
	"FETCH":           {refusal{"FETCH FIRST", "use LIMIT"}, "FIRST NEXT"},
	"FOR":             {refusal{"FOR SYSTEM_TIME AS OF (a temporal join)", "a table that does not change can be joined directly"}, "SYSTEM_TIME"},
	"IGNORE":          {refusal{"IGNORE NULLS", ""}, "NULLS"},
	"MATCH_RECOGNIZE": {refusal{"MATCH_RECOGNIZE", ""}, "("},
	"MINUS":           {refusal{"MINUS", "write EXCEPT"}, "SELECT ALL ("},
	"NATURAL":         {refusal{"NATURAL JOIN", "write JOIN ... USING (columns) or JOIN ... ON"}, "JOIN LEFT RIGHT FULL INNER"},
	"OFFSET":          {refusal{"OFFSET", ""}, "#"},
	"OVERLAPS":        {refusal{"OVERLAPS", "compare the ends with AND"}, ""},
	"PIVOT":           {refusal{"PIVOT", "use an aggregate with FILTER (WHERE ...) for each column"}, "("},
	"QUALIFY":         {refusal{"QUALIFY", "put the query into a subquery and use WHERE"}, ""},
	"RESPECT":         {refusal{"RESPECT NULLS", "leave it out, it is the default"}, "NULLS"},
	"TABLESAMPLE":     {refusal{"TABLESAMPLE", ""}, ""},
	"UNPIVOT":         {refusal{"UNPIVOT", ""}, ""},
	"WINDOW":          {refusal{"WINDOW", "write the window into OVER (...)"}, ""},
	"WITHIN":          {refusal{"WITHIN GROUP", ""}, "GROUP"},
}

// timeUnits are the units of INTERVAL.
var timeUnits = []string{"YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"}

// fieldUnits are the units of EXTRACT, FLOOR, CEIL, TIMESTAMPADD and TIMESTAMPDIFF.
var fieldUnits = append([]string{"MILLISECOND", "MICROSECOND", "NANOSECOND", "EPOCH", "DOY", "DOW", "ISODOW", "ISOYEAR",
	"DECADE", "CENTURY", "MILLENNIUM"}, timeUnits...)

// plainName says whether s can be written without backquotes.
func plainName(s string) bool {
	for i, r := range s {
		if i == 0 && !isWordStart(r) || !isWordPart(r) {
			return false
		}
	}
	u := asciiUpper(s)
	return s != "" && !reserved[u] && !special[u]
}

// quoteName is s as an identifier, in backquotes always.
func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// quoteString is s as a string literal.
func quoteString(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
