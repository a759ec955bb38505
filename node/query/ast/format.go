package ast

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// Format is the canonical SQL text of e: keywords in capitals, one space between words, backquotes only where needed,
// parentheses only where the tree needs them. ParseExpr of it gives e up to positions. Function names stay as written.
func Format(e Expr) string {
	f := formatter{}
	f.expr(e, precOr)
	return f.String()
}

// FormatQuery is the canonical SQL text of q, on one line.
func FormatQuery(q Query) string {
	f := formatter{}
	f.query(q)
	return f.String()
}

// FormatName is s as an identifier, in backquotes only if it needs them.
func FormatName(s string) string {
	if plainName(s) {
		return s
	}
	return quoteName(s)
}

// FormatType is t as ParseType reads it.
func FormatType(t batch.Type) string {
	s := ""
	switch t.ID {
	case batch.Array:
		s = "ARRAY<" + FormatType(t.Fields[0].Type) + ">"
	case batch.Map:
		s = "MAP<" + FormatType(t.Fields[0].Type) + ", " + FormatType(t.Fields[1].Type) + ">"
	case batch.RowType:
		parts := make([]string, len(t.Fields))
		for i, field := range t.Fields {
			parts[i] = FormatName(field.Name) + " " + FormatType(field.Type)
		}
		s = "ROW<" + strings.Join(parts, ", ") + ">"
	default:
		return t.String()
	}
	if t.NotNull {
		s += " NOT NULL"
	}
	return s
}

type formatter struct{ strings.Builder }

func (f *formatter) put(parts ...string) {
	for _, s := range parts {
		f.WriteString(s)
	}
}

// commas writes n things with ", " between them.
func (f *formatter) commas(n int, item func(i int)) {
	for i := range n {
		if i > 0 {
			f.put(", ")
		}
		item(i)
	}
}

func (f *formatter) exprs(list []Expr) { f.commas(len(list), func(i int) { f.expr(list[i], precOr) }) }

// precedence is how strongly e holds together when written without parentheses.
func precedence(e Expr) int {
	switch e := e.(type) {
	case *Unary:
		if e.Op == "NOT" {
			return precNot
		}
		return precUnary
	case *Binary:
		return binaryPrec[e.Op]
	case *Is:
		return precIs
	case *IsDistinct:
		return precCompare
	case *Between, *In, *Like:
		return precRange
	case *Index, *FieldAccess:
		return precPostfix
	}
	return precPrimary
}

// expr writes e where the text around it holds together with strength prec.
func (f *formatter) expr(e Expr, prec int) {
	own := precedence(e)
	if own < prec {
		f.put("(")
		defer f.put(")")
	}
	switch e := e.(type) {
	case *Literal:
		f.literal(e)
	case *Column:
		f.path(e.Parts)
	case *Unary:
		f.unary(e)
	case *Binary:
		f.expr(e.L, own)
		f.put(" ", e.Op, " ")
		f.expr(e.R, own+1)
	case *Is, *IsDistinct, *Between, *In, *Like:
		f.predicate(e)
	case *Case:
		f.caseExpr(e)
	case *Cast:
		f.put(choose(e.Try, "TRY_CAST(", "CAST("))
		f.expr(e.X, precOr)
		f.put(" AS ", FormatType(e.Type), ")")
	case *Call:
		f.call(e)
	case *ArrayValue:
		f.put("ARRAY[")
		f.exprs(e.Items)
		f.put("]")
	case *MapValue:
		f.put("MAP[")
		f.exprs(e.Items)
		f.put("]")
	case *RowValue:
		f.put("ROW(")
		f.exprs(e.Items)
		f.put(")")
	case *Index:
		f.operand(e.X)
		f.put("[")
		f.expr(e.I, precOr)
		f.put("]")
	case *FieldAccess:
		f.fieldAccess(e)
	case *ScalarSubquery:
		f.put("(")
		f.query(e.Query)
		f.put(")")
	case *Exists:
		f.put("EXISTS (")
		f.query(e.Query)
		f.put(")")
	default:
		f.put(fmt.Sprintf("<%T>", e))
	}
}

func choose(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

// path writes a path with dots.
func (f *formatter) path(parts []Name) {
	for i, n := range parts {
		if i > 0 {
			f.put(".")
		}
		f.put(FormatName(n.Text))
	}
}

// operand writes x before a postfix. A literal gets parentheses: 1.x would read as a number.
func (f *formatter) operand(x Expr) {
	if _, ok := x.(*Literal); ok {
		f.put("(")
		f.literal(x.(*Literal))
		f.put(")")
		return
	}
	f.expr(x, precPostfix)
}

func (f *formatter) fieldAccess(e *FieldAccess) {
	// Without parentheses the name would become a part of the column's path.
	if c, ok := e.X.(*Column); ok {
		f.put("(")
		f.path(c.Parts)
		f.put(")")
	} else {
		f.operand(e.X)
	}
	f.put(".", FormatName(e.Name.Text))
}

func (f *formatter) literal(l *Literal) {
	switch l.Kind {
	case LiteralNull:
		f.put("NULL")
	case LiteralBool:
		f.put(choose(l.Bool, "TRUE", "FALSE"))
	case LiteralNumber:
		f.put(l.Text)
	case LiteralHex:
		f.put("X", quoteString(l.Text))
	case LiteralDate:
		f.put("DATE ", quoteString(l.Text))
	case LiteralTime:
		f.put("TIME ", quoteString(l.Text))
	case LiteralTimestamp:
		f.put("TIMESTAMP ", quoteString(l.Text))
	case LiteralInterval:
		f.put("INTERVAL ", quoteString(l.Text), " ", l.Unit)
	default:
		f.put(quoteString(l.Text))
	}
}

func (f *formatter) unary(e *Unary) {
	if e.Op == "NOT" {
		f.put("NOT ")
		f.expr(e.X, precNot)
		return
	}
	f.put(e.Op)
	// Two signs need parentheses between them: "--" would begin a comment.
	if _, sign := e.X.(*Unary); sign {
		f.expr(e.X, precPrimary)
		return
	}
	f.expr(e.X, precUnary)
}

func (f *formatter) predicate(e Expr) {
	switch e := e.(type) {
	case *Is:
		f.expr(e.X, precIs)
		f.put(" IS ", choose(e.Not, "NOT ", ""), e.What)
	case *IsDistinct:
		f.expr(e.L, precCompare)
		f.put(" IS ", choose(e.Not, "NOT ", ""), "DISTINCT FROM ")
		f.expr(e.R, precCompare+1)
	case *Between:
		f.expr(e.X, precRange)
		f.put(choose(e.Not, " NOT", ""), " BETWEEN ")
		f.expr(e.Low, precRange+1)
		f.put(" AND ")
		f.expr(e.High, precRange+1)
	case *In:
		f.expr(e.X, precRange)
		f.put(choose(e.Not, " NOT", ""), " IN (")
		if e.Query != nil {
			f.query(e.Query)
		} else {
			f.exprs(e.List)
		}
		f.put(")")
	case *Like:
		f.expr(e.X, precRange)
		f.put(choose(e.Not, " NOT", ""), choose(e.Similar, " SIMILAR TO ", " LIKE "))
		f.expr(e.Pattern, precRange+1)
		if e.Escape != nil {
			f.put(" ESCAPE ")
			f.expr(e.Escape, precRange+1)
		}
	}
}

func (f *formatter) caseExpr(e *Case) {
	f.put("CASE")
	if e.Operand != nil {
		f.put(" ")
		f.expr(e.Operand, precOr)
	}
	for _, w := range e.Whens {
		f.put(" WHEN ")
		f.expr(w.Cond, precOr)
		f.put(" THEN ")
		f.expr(w.Then, precOr)
	}
	if e.Else != nil {
		f.put(" ELSE ")
		f.expr(e.Else, precOr)
	}
	f.put(" END")
}

func (f *formatter) call(c *Call) {
	word := asciiUpper(c.Name)
	if !f.specialCall(c, word) {
		f.put(callName(c.Name))
		if niladic[word] && len(c.Args) == 0 && !c.Star {
			f.clauses(c)
			return
		}
		f.put("(", choose(c.Distinct, "DISTINCT ", ""), choose(c.Star, "*", ""))
		f.exprs(c.Args)
		f.put(")")
	}
	f.clauses(c)
}

// callName is a function's name; one that begins a special form is written in backquotes when it is not that form.
func callName(name string) string {
	switch u := asciiUpper(name); {
	case callableReserved[u], niladic[u]:
		return name
	case specialCalls[u]:
		return quoteName(name)
	}
	return FormatName(name)
}

// specialCall writes the special forms that Call's comment lists; false if c is not one.
func (f *formatter) specialCall(c *Call, word string) bool {
	if c.Star || c.Distinct {
		return false
	}
	first, last := "", ""
	if n := len(c.Args); n > 0 {
		first, last = stringOf(c.Args[0]), stringOf(c.Args[n-1])
	}
	switch n := len(c.Args); {
	case word == "EXTRACT" && n == 2 && slices.Contains(fieldUnits, first):
		f.put(c.Name, "(", first, " FROM ")
		f.expr(c.Args[1], precOr)
	case (word == "TIMESTAMPADD" || word == "TIMESTAMPDIFF") && n == 3 && slices.Contains(fieldUnits, first):
		f.put(c.Name, "(", first, ", ")
		f.exprs(c.Args[1:])
	case word == "POSITION" && n == 2:
		f.put(c.Name, "(")
		f.expr(c.Args[0], precRange+1)
		f.put(" IN ")
		f.expr(c.Args[1], precOr)
	case word == "TRIM" && n == 3 && slices.Contains([]string{"BOTH", "LEADING", "TRAILING"}, first):
		f.put(c.Name, "(", first, " ")
		f.expr(c.Args[1], precOr)
		f.put(" FROM ")
		f.expr(c.Args[2], precOr)
	case (word == "FLOOR" || word == "CEIL" || word == "CEILING") && n == 2 && slices.Contains(fieldUnits, last):
		f.put(c.Name, "(")
		f.beforeTo(c.Args[0])
		f.put(" TO ", last)
	default:
		return false
	}
	f.put(")")
	return true
}

// beforeTo writes e before a TO, which would become a part of an interval at e's end.
func (f *formatter) beforeTo(e Expr) {
	text := Format(e)
	if at := strings.LastIndexByte(text, ' '); at >= 0 && slices.Contains(timeUnits, text[at+1:]) {
		text = "(" + text + ")"
	}
	f.put(text)
}

// stringOf is the text of a string literal, "" for anything else.
func stringOf(e Expr) string {
	if l, ok := e.(*Literal); ok && l.Kind == LiteralString {
		return l.Text
	}
	return ""
}

func (f *formatter) clauses(c *Call) {
	if c.Filter != nil {
		f.put(" FILTER (WHERE ")
		f.expr(c.Filter, precOr)
		f.put(")")
	}
	if c.Over == nil {
		return
	}
	f.put(" OVER (")
	sep := ""
	if len(c.Over.PartitionBy) > 0 {
		f.put("PARTITION BY ")
		f.exprs(c.Over.PartitionBy)
		sep = " "
	}
	if len(c.Over.OrderBy) > 0 {
		f.put(sep, "ORDER BY ")
		f.orderBy(c.Over.OrderBy)
		sep = " "
	}
	if c.Over.Frame != "" {
		f.put(sep, c.Over.Frame)
	}
	f.put(")")
}

func (f *formatter) orderBy(items []OrderItem) {
	f.commas(len(items), func(i int) {
		o := items[i]
		f.expr(o.Expr, precOr)
		f.put(choose(o.Desc, " DESC", ""))
		if o.NullsFirst != nil {
			f.put(choose(*o.NullsFirst, " NULLS FIRST", " NULLS LAST"))
		}
	})
}
