package ast

import (
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
)

func (p *parser) script() *Script {
	s := &Script{}
	for {
		for p.acceptSym(";") {
		}
		if p.tok.kind == tokenEnd {
			return s
		}
		p.operators = 0
		s.Statements = append(s.Statements, p.statement())
		if p.tok.kind != tokenEnd {
			p.statementEnd()
		}
	}
}

func (p *parser) statementEnd() {
	if !p.acceptSym(";") {
		p.unexpected(`";" or the end of the text`, clauseWords...)
	}
}

func (p *parser) statement() Statement {
	pos := p.tok.pos
	switch {
	case p.isSym("("), p.tok.startsQuery():
		return &SelectStatement{Pos: pos, Query: p.query()}
	case p.isWord("CREATE"):
		return p.create()
	case p.isWord("INSERT"):
		return p.insert()
	case p.isWord("EXECUTE"), p.isWord("BEGIN"):
		return p.statementSet()
	case p.isWord("SET"):
		return p.set()
	}
	if r, ok := refusedStatements[p.tok.upper]; ok && p.tok.kind == tokenWord {
		p.refuse(pos, r)
	}
	p.unexpected("a statement ("+strings.Join(statementWords, ", ")+")", statementWords...)
	return nil
}

// create reads CREATE [TEMPORARY] TABLE | VIEW ...; everything is of the query only, so TEMPORARY makes no difference.
func (p *parser) create() Statement {
	pos := p.tok.pos
	p.advance()
	p.acceptWord("TEMPORARY")
	if r, ok := refusedCreates[p.tok.upper]; ok && p.tok.kind == tokenWord {
		p.refuse(pos, r)
	}
	switch {
	case p.acceptWord("TABLE"):
		return p.createTable(pos)
	case p.acceptWord("VIEW"):
		return p.createView(pos)
	}
	p.unexpected("TABLE or VIEW", "TABLE", "VIEW", "TEMPORARY")
	return nil
}

func (p *parser) createView(pos Pos) *CreateView {
	v := &CreateView{Pos: pos}
	v.IfNotExists = p.ifNotExists()
	v.Name = p.tableName("the name of the view")
	if p.isSym("(") {
		v.Columns = p.nameList("a column name")
	}
	if p.acceptWord("COMMENT") {
		p.str("a comment in single quotes")
	}
	p.words("AS")
	v.Query = p.query()
	return v
}

func (p *parser) createTable(pos Pos) *CreateTable {
	t := &CreateTable{Pos: pos}
	t.IfNotExists = p.ifNotExists()
	t.Name = p.tableName("the name of the table")
	p.refuseTableTail()
	if p.isWord("WITH") {
		p.unexpectedHint("tables are declared with their columns", `"(" and the columns`)
	}
	p.sym("(")
	for {
		p.tableElement(t)
		if p.acceptSym(")") {
			break
		}
		if !p.acceptSym(",") {
			p.listEnd(`")"`, "NOT", "NULL", "PRIMARY", "METADATA", "COMMENT")
		}
		if p.isSym(")") {
			p.unexpectedHint("remove the comma before it", "a column")
		}
	}
	if p.acceptWord("COMMENT") {
		p.str("a comment in single quotes")
	}
	if p.isWord("DISTRIBUTED") {
		p.refuse(p.tok.pos, refusal{"DISTRIBUTED BY", "rows are distributed by the query's keys"})
	}
	if p.acceptWord("PARTITIONED") {
		p.words("BY")
		t.PartitionedBy = p.nameList("a column name")
	}
	if p.acceptWord("WITH") {
		t.Options = p.options()
	}
	p.refuseTableTail()
	if p.tok.kind != tokenEnd && !p.isSym(";") {
		p.unexpected(`WITH (...) or ";"`, "WITH", "PARTITIONED", "COMMENT")
	}
	return t
}

func (p *parser) refuseTableTail() {
	switch {
	case p.isWord("LIKE"):
		p.refuse(p.tok.pos, refusal{"CREATE TABLE ... LIKE", "write the columns and options out"})
	case p.isWord("AS"):
		p.refuse(p.tok.pos, refusal{"CREATE TABLE ... AS SELECT", "declare the table with its columns, then INSERT INTO it"})
	}
}

// options reads ('key' = 'value', ...).
func (p *parser) options() []Option {
	p.sym("(")
	var list []Option
	if p.acceptSym(")") {
		return list
	}
	for {
		if p.isSym(")") {
			p.unexpectedHint("remove the comma before it", "an option")
		}
		o := Option{Pos: p.tok.pos}
		o.Key = p.str("an option's key in single quotes")
		if !p.acceptSym("=") {
			p.unexpected(`"=" after the option's key`)
		}
		o.ValuePos = p.tok.pos
		o.Value = p.str("an option's value in single quotes")
		list = append(list, o)
		if p.acceptSym(")") {
			return list
		}
		if !p.acceptSym(",") {
			p.listEnd(`")"`)
		}
	}
}

// tableElement reads one column, watermark or key of CREATE TABLE.
func (p *parser) tableElement(t *CreateTable) {
	switch {
	case p.isWord("WATERMARK") && p.peek().isWord("FOR"):
		p.watermark(t)
	case p.isWord("PRIMARY") && p.peek().isWord("KEY"):
		p.primaryKey(t, nil)
	case p.isWord("CONSTRAINT") && p.peek().isName():
		p.advance()
		p.name("the name of the constraint")
		if !p.isWord("PRIMARY") {
			p.unexpected("PRIMARY KEY", "PRIMARY")
		}
		p.primaryKey(t, nil)
	case p.isWord("UNIQUE") && p.peek().isSym("("):
		p.refuse(p.tok.pos, refusal{"UNIQUE", "use PRIMARY KEY (...) NOT ENFORCED"})
	default:
		t.Columns = append(t.Columns, p.column(t))
	}
}

func (p *parser) watermark(t *CreateTable) {
	w := &Watermark{Pos: p.tok.pos}
	if t.Watermark != nil {
		p.fail(w.Pos, "", "table %s has a WATERMARK already, on line %d", t.Name.Text, t.Watermark.Pos.Line)
	}
	p.words("WATERMARK", "FOR")
	w.Column = p.name("the time column")
	if p.isSym(".") {
		p.fail(p.tok.pos, "add a computed column for it", "WATERMARK FOR a field of a ROW is not supported")
	}
	p.words("AS")
	w.Expr = p.expression()
	t.Watermark = w
}

// primaryKey reads PRIMARY KEY (cols) NOT ENFORCED, or without the columns when they are given.
func (p *parser) primaryKey(t *CreateTable, columns []Name) {
	pos := p.tok.pos
	p.words("PRIMARY", "KEY")
	if columns == nil {
		columns = p.nameList("a column name")
	}
	if t.PrimaryKey != nil {
		p.fail(pos, "name all key columns in one PRIMARY KEY (...)", "table %s has a PRIMARY KEY already", t.Name.Text)
	}
	if !p.isWord("NOT") || !p.peek().isWord("ENFORCED") {
		p.unexpectedHint("keys are not checked: write PRIMARY KEY (...) NOT ENFORCED", "NOT ENFORCED")
	}
	p.words("NOT", "ENFORCED")
	t.PrimaryKey = columns
}

func (p *parser) column(t *CreateTable) ColumnDef {
	c := ColumnDef{Name: p.name("a column name, PRIMARY KEY or WATERMARK FOR")}
	if p.acceptWord("AS") {
		c.Computed = p.expression()
	} else {
		pos := p.tok.pos
		c.Type = p.dataType()
		if c.Type.ID == batch.Interval || c.Type.ID == batch.IntervalYM {
			p.fail(pos, "store a number or a timestamp", "INTERVAL as the type of column %s is not supported", c.Name.Text)
		}
		if p.acceptWord("METADATA") {
			c.Metadata = c.Name.Text
			if p.acceptWord("FROM") {
				c.Metadata = p.str("the key of the metadata in single quotes")
			}
			c.Virtual = p.acceptWord("VIRTUAL")
		}
		p.columnConstraints(t, c.Name)
	}
	if p.acceptWord("COMMENT") {
		c.Comment = p.str("a comment in single quotes")
	}
	return c
}

func (p *parser) columnConstraints(t *CreateTable, column Name) {
	if p.isWord("CONSTRAINT") {
		p.advance()
		p.name("the name of the constraint")
	}
	switch {
	case p.isWord("PRIMARY"):
		p.primaryKey(t, []Name{column})
	case p.isWord("UNIQUE"):
		p.refuse(p.tok.pos, refusal{"UNIQUE", "use PRIMARY KEY (...) NOT ENFORCED"})
	case p.isWord("DEFAULT"):
		p.refuse(p.tok.pos, refusal{"DEFAULT", "use COALESCE in the query"})
	case p.isWord("GENERATED"):
		p.refuse(p.tok.pos, refusal{"GENERATED ALWAYS AS", "write a computed column: name AS expression"})
	}
}

func (p *parser) insert() *Insert {
	in := &Insert{Pos: p.tok.pos}
	p.advance()
	if p.isWord("OVERWRITE") {
		p.refuse(in.Pos, refusal{"INSERT OVERWRITE", "use INSERT INTO"})
	}
	p.words("INTO")
	p.acceptWord("TABLE")
	in.Table = p.tableName("the name of the table")
	if p.isWord("PARTITION") {
		p.refuse(p.tok.pos, refusal{"INSERT INTO ... PARTITION", "select the partition columns as the other columns"})
	}
	if next := p.peek(); p.isSym("(") && !next.startsQuery() && !next.isSym("(") {
		in.Columns = p.nameList("a column name")
	}
	if !p.isSym("(") && !p.tok.startsQuery() {
		p.unexpected("SELECT, VALUES or WITH", "SELECT", "VALUES", "WITH")
	}
	in.Query = p.query()
	return in
}

// statementSet reads EXECUTE STATEMENT SET BEGIN ... END and BEGIN STATEMENT SET; ... END.
func (p *parser) statementSet() *StatementSet {
	s := &StatementSet{Pos: p.tok.pos}
	if p.acceptWord("EXECUTE") {
		p.words("STATEMENT", "SET", "BEGIN")
	} else {
		p.words("BEGIN", "STATEMENT", "SET")
		p.sym(";")
	}
	for !p.acceptWord("END") {
		if !p.isWord("INSERT") {
			p.unexpectedHint("a STATEMENT SET holds INSERT INTO statements only", "INSERT INTO or END", "INSERT", "END")
		}
		s.Inserts = append(s.Inserts, p.insert())
		p.statementEnd()
	}
	if len(s.Inserts) == 0 {
		p.fail(s.Pos, "put one or more INSERT INTO statements before END", "the STATEMENT SET is empty")
	}
	return s
}

// set reads SET 'key' = 'value', or SET key = value up to the semicolon or the end of the line.
func (p *parser) set() *Set {
	s := &Set{Pos: p.tok.pos}
	err := p.lex.blank()
	if err != nil {
		panic(bailout{err})
	}
	if c := p.lex.byteAt(0); c == '\'' {
		p.advance()
		s.Key = p.str("an option's key")
		p.sym("=")
		s.ValuePos = p.tok.pos
		s.Value = p.str("an option's value in single quotes")
		return s
	} else if c == ';' || c == 0 {
		p.refuse(s.Pos, refusal{"SET without an option", "write SET 'key' = 'value'"})
	}
	pos := p.lex.pos()
	line := p.lex.restOfLine()
	key, value, found := strings.Cut(line, "=")
	key = strings.TrimRight(key, " \t")
	if !found || key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "" {
		p.fail(pos, "", "expected SET 'key' = 'value', found SET %s", shorten(line))
	}
	s.Key = key
	trimmed := strings.TrimSpace(value)
	before := len([]rune(line)) - len([]rune(strings.TrimLeft(value, " \t\r")))
	s.ValuePos = Pos{pos.Line, pos.Column + before}
	s.Value = p.unquoteSetting(trimmed, s.ValuePos)
	p.advance()
	return s
}

// unquoteSetting is the value of SET key = value, which may be in single quotes.
func (p *parser) unquoteSetting(value string, pos Pos) string {
	if value == "" {
		p.fail(pos, "write SET 'key' = 'value'", "expected a value after \"=\"")
	}
	if value[0] != '\'' && value[0] != '"' {
		return value
	}
	l := newLexer(value)
	t := l.next()
	if t.kind == tokenString && l.off == len(value) {
		return t.text
	}
	p.fail(pos, "write SET 'key' = 'value'", "expected one value in single quotes, found %s", shorten(value))
	return ""
}

// restOfLine consumes up to the semicolon, comment or end of the line.
// A semicolon in single quotes belongs to the value.
func (l *lexer) restOfLine() string {
	from, quoted := l.off, false
	for l.off < len(l.src) {
		c := l.src[l.off]
		if c == '\n' || !quoted && (c == ';' || strings.HasPrefix(l.src[l.off:], "--") || strings.HasPrefix(l.src[l.off:], "/*")) {
			break
		}
		if c == '\'' {
			quoted = !quoted
		}
		l.skip(1)
	}
	return strings.TrimRight(l.src[from:l.off], " \t\r")
}
