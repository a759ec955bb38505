package ast

import (
	"strconv"

	"github.com/seepnode/seepnode/dataplane/batch"
)

const (
	maxDecimalPrecision = 38
	timestampPrecision  = 3 // fractional digits of a second that are stored
)

// plainTypes take no parameters.
var plainTypes = map[string]batch.Type{
	"TINYINT": batch.TypeTinyInt, "SMALLINT": batch.TypeSmallInt, "INT": batch.TypeInt, "INTEGER": batch.TypeInt,
	"BIGINT": batch.TypeBigInt, "FLOAT": batch.TypeFloat, "BOOLEAN": batch.TypeBoolean,
	"STRING": batch.TypeString, "BYTES": batch.TypeBytes, "DATE": batch.TypeDate,
}

// foreignTypes are types of other systems, with what to write instead.
var foreignTypes = map[string]string{
	"REAL": "FLOAT", "TEXT": "STRING", "CLOB": "STRING", "JSON": "STRING", "UUID": "STRING", "NVARCHAR": "STRING", "BLOB": "BYTES",
	"BYTEA": "BYTES", "LONG": "BIGINT", "INT64": "BIGINT", "INT8": "BIGINT", "UINT64": "DECIMAL(20, 0)", "INT32": "INT", "INT4": "INT",
	"INT2": "SMALLINT", "INT16": "SMALLINT", "FLOAT8": "DOUBLE", "FLOAT64": "DOUBLE", "FLOAT4": "FLOAT", "FLOAT32": "FLOAT",
	"BOOL": "BOOLEAN", "DATETIME": "TIMESTAMP(3)", "TIMESTAMPTZ": "TIMESTAMP_LTZ(3)", "STRUCT": "ROW<name TYPE, ...>",
	"LIST": "ARRAY<TYPE>", "MULTISET": "MAP<TYPE, INT>", "RAW": "BYTES", "VARIANT": "STRING", "SERIAL": "BIGINT",
}

var typeNames = []string{"TINYINT", "SMALLINT", "INT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL", "NUMERIC", "BOOLEAN",
	"CHAR", "VARCHAR", "STRING", "BYTES", "BINARY", "VARBINARY", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP_LTZ", "ARRAY", "MAP", "ROW"}

// dataType reads a type with its [NOT] NULL. TIME and TIMESTAMP keep milliseconds whatever precision from 0 to 3 is written.
func (p *parser) dataType() batch.Type {
	p.enter()
	defer p.leave()
	t := p.bareType()
	switch {
	case p.isWord("ARRAY"), p.isWord("MULTISET"):
		p.fail(p.tok.pos, "write ARRAY<TYPE>", "TYPE %s is not supported", p.tok.upper)
	case p.isWord("NOT") && p.peek().isWord("NULL"):
		p.words("NOT", "NULL")
		t.NotNull = true
	case p.isWord("NULL"):
		p.advance()
	}
	return t
}

func (p *parser) bareType() batch.Type {
	pos, word := p.tok.pos, p.tok.upper
	if p.tok.kind != tokenWord {
		word = ""
	}
	if t, ok := plainTypes[word]; ok {
		p.advance()
		if p.isSym("(") {
			hint := ""
			if word == "STRING" {
				hint = "write VARCHAR(n) for a string with a limit"
			}
			p.fail(p.tok.pos, hint, "%s takes no length", word)
		}
		return t
	}
	switch word {
	case "DOUBLE":
		p.advance()
		p.acceptWord("PRECISION")
		return batch.TypeDouble
	case "DECIMAL", "DEC", "NUMERIC":
		p.advance()
		return p.decimalType(word)
	case "CHAR", "VARCHAR", "BINARY", "VARBINARY":
		p.advance()
		return p.lengthType(word)
	case "CHARACTER":
		p.fail(pos, "write CHAR(n) or VARCHAR(n)", "the type CHARACTER is not supported")
	case "TIME", "TIMESTAMP", "TIMESTAMP_LTZ":
		p.advance()
		return p.timeType(word)
	case "INTERVAL":
		p.advance()
		return p.intervalType()
	case "ARRAY":
		p.advance()
		p.sym("<")
		t := batch.ArrayOf(p.dataType())
		p.typeEnd(">")
		return t
	case "MAP":
		p.advance()
		p.sym("<")
		key := p.dataType()
		p.sym(",")
		t := batch.MapOf(key, p.dataType())
		p.typeEnd(">")
		return t
	case "ROW":
		p.advance()
		return p.rowType()
	}
	if instead, ok := foreignTypes[word]; ok {
		p.fail(pos, "use "+instead, "the type %s is not supported", word)
	}
	p.unexpected("a type", typeNames...)
	return batch.Type{}
}

func (p *parser) typeEnd(closing string) {
	if !p.acceptSym(closing) {
		p.listEnd(`"`+closing+`"`, "NOT", "NULL")
	}
}

// parameter reads one integer of (p, s), between low and high.
func (p *parser) parameter(what string, low, high int) int {
	pos := p.tok.pos
	if p.tok.kind != tokenNumber {
		p.unexpected(what)
	}
	text := p.tok.text
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		p.fail(pos, "", "%s must be from %d to %d, not %s", what, low, high, shorten(text))
	}
	p.advance()
	return n
}

func (p *parser) decimalType(word string) batch.Type {
	precision, scale := 10, 0
	if p.acceptSym("(") {
		precision = p.parameter("the precision of "+word, 1, maxDecimalPrecision)
		if p.acceptSym(",") {
			scale = p.parameter("the scale of "+word, 0, precision)
		}
		p.sym(")")
	}
	return batch.DecimalOf(precision, scale)
}

// lengthType reads the length. As in Flink, CHAR and BINARY without it have length 1, VARCHAR and VARBINARY have no limit.
func (p *parser) lengthType(word string) batch.Type {
	t := batch.Type{ID: batch.Varchar, Precision: batch.MaxLength}
	switch word {
	case "CHAR":
		t = batch.Type{ID: batch.Char, Precision: 1}
	case "BINARY":
		t = batch.Type{ID: batch.Bytes, Precision: 1}
	case "VARBINARY":
		t.ID = batch.Bytes
	}
	if p.acceptSym("(") {
		t.Precision = p.parameter("the length of "+word, 1, batch.MaxLength)
		p.sym(")")
	}
	return t
}

func (p *parser) timeType(word string) batch.Type {
	if p.acceptSym("(") {
		pos, text := p.tok.pos, p.tok.text
		n := p.parameter("the precision of "+word, 0, 9)
		if n > timestampPrecision {
			p.fail(pos, "times are kept in milliseconds: use "+word+"(3)", "%s(%s) is not supported", word, text)
		}
		p.sym(")")
	}
	t := batch.TypeTimestamp
	switch word {
	case "TIME":
		t = batch.TypeTime
	case "TIMESTAMP_LTZ":
		return batch.TypeTimestampLTZ
	}
	pos := p.tok.pos
	// WITH may also begin the options of a table, when a type is the last thing before it.
	if p.isWord("WITHOUT") {
		p.words("WITHOUT", "TIME", "ZONE")
		return t
	}
	if !p.isWord("WITH") || p.peek().kind != tokenWord {
		return t
	}
	p.advance()
	if word == "TIMESTAMP" && p.acceptWord("LOCAL") {
		p.words("TIME", "ZONE")
		return batch.TypeTimestampLTZ
	}
	if !p.isWord("TIME") {
		p.unexpected("LOCAL TIME ZONE", "LOCAL")
	}
	p.fail(pos, "use TIMESTAMP_LTZ(3)", "%s WITH TIME ZONE is not supported", word)
	return t
}

func (p *parser) intervalType() batch.Type {
	switch unit := p.intervalUnit(); unit {
	case "YEAR", "QUARTER", "MONTH", "YEAR TO MONTH":
		return batch.TypeIntervalYM
	}
	return batch.TypeInterval
}

// rowType reads ROW<a T, ...> or ROW(a T, ...).
func (p *parser) rowType() batch.Type {
	closing := ">"
	if p.acceptSym("(") {
		closing = ")"
	} else {
		p.sym("<")
	}
	var fields []batch.Field
	for {
		n := p.name("the name of a field")
		if p.isSym(":") {
			p.fail(p.tok.pos, "write name TYPE", `a ":" between the name and type of a field is not supported`)
		}
		if p.isSym(",") || p.isSym(closing) {
			p.unexpectedHint("a field of a ROW is written: name TYPE", "the type of field "+quoteName(shorten(n.Text)))
		}
		fields = append(fields, batch.Field{Name: n.Text, Type: p.dataType()})
		if p.tok.kind == tokenString { // the field's comment
			p.advance()
		}
		if p.acceptSym(closing) {
			return batch.RowOf(fields...)
		}
		if !p.acceptSym(",") {
			p.listEnd(`"`+closing+`"`, "NOT", "NULL")
		}
	}
}
