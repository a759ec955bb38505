package ast

import (
	"regexp"
	"strings"
)

func (p *parser) caseExpr() *Case {
	c := &Case{Pos: p.tok.pos}
	p.advance()
	if !p.isWord("WHEN") {
		c.Operand = p.expression()
	}
	for p.acceptWord("WHEN") {
		w := When{Cond: p.expression()}
		if !p.acceptWord("THEN") {
			p.unexpected("THEN", "THEN")
		}
		w.Then = p.expression()
		c.Whens = append(c.Whens, w)
	}
	if len(c.Whens) == 0 {
		p.unexpected("WHEN", "WHEN")
	}
	if p.acceptWord("ELSE") {
		c.Else = p.expression()
	}
	if !p.acceptWord("END") {
		if c.Else != nil {
			p.unexpectedHint("a CASE ends with END", "END", "END")
		}
		p.unexpectedHint("a CASE ends with END", "WHEN, ELSE or END", "WHEN", "ELSE", "END")
	}
	return c
}

func (p *parser) cast() *Cast {
	c := &Cast{Pos: p.tok.pos}
	c.Try = p.isWord("TRY_CAST")
	p.advance()
	p.sym("(")
	c.X = p.expression()
	if !p.acceptWord("AS") {
		p.unexpectedHint("write CAST(value AS TYPE)", "AS", "AS")
	}
	c.Type = p.dataType()
	if p.isWord("FORMAT") {
		p.refuse(p.tok.pos, refusal{"FORMAT in CAST", "use TO_TIMESTAMP or DATE_FORMAT"})
	}
	p.sym(")")
	return c
}

// collection reads ARRAY[...] and MAP[...].
func (p *parser) collection(word string) Expr {
	pos := p.tok.pos
	p.advance()
	p.sym("[")
	var items []Expr
	if !p.acceptSym("]") {
		items = p.expressionList("]")
	}
	if word == "ARRAY" {
		return &ArrayValue{Pos: pos, Items: items}
	}
	if len(items)%2 != 0 {
		p.fail(pos, "write MAP[key, value, key, value ...]", "MAP[...] with %d items has a key without a value", len(items))
	}
	return &MapValue{Pos: pos, Items: items}
}

func (p *parser) timeLiteral(word string) *Literal {
	l := &Literal{Pos: p.tok.pos, Kind: LiteralDate}
	switch word {
	case "TIME":
		l.Kind = LiteralTime
	case "TIMESTAMP":
		l.Kind = LiteralTimestamp
	}
	p.advance()
	l.Text = p.str("a string")
	return l
}

// intervalShapes are the texts that an interval of a unit may have, its sign aside, with an example.
var intervalShapes = map[string]struct {
	text    *regexp.Regexp
	example string
}{
	"YEAR":             {regexp.MustCompile(`^\d{1,10}$`), "1"},
	"QUARTER":          {regexp.MustCompile(`^\d{1,10}$`), "1"},
	"MONTH":            {regexp.MustCompile(`^\d{1,10}$`), "1"},
	"WEEK":             {regexp.MustCompile(`^\d{1,10}$`), "1"},
	"DAY":              {regexp.MustCompile(`^\d{1,10}$`), "1"},
	"HOUR":             {regexp.MustCompile(`^\d{1,10}$`), "1"},
	"MINUTE":           {regexp.MustCompile(`^\d{1,10}$`), "1"},
	"SECOND":           {regexp.MustCompile(`^\d{1,10}(\.\d{1,9})?$`), "1.5"},
	"YEAR TO MONTH":    {regexp.MustCompile(`^\d{1,10}-(0?\d|1[01])$`), "1-6"},
	"DAY TO HOUR":      {regexp.MustCompile(`^\d{1,10} +([01]?\d|2[0-3])$`), "1 12"},
	"DAY TO MINUTE":    {regexp.MustCompile(`^\d{1,10} +([01]?\d|2[0-3]):[0-5]?\d$`), "1 12:30"},
	"DAY TO SECOND":    {regexp.MustCompile(`^\d{1,10} +([01]?\d|2[0-3]):[0-5]?\d:[0-5]?\d(\.\d{1,9})?$`), "1 12:30:15.5"},
	"HOUR TO MINUTE":   {regexp.MustCompile(`^\d{1,10}:[0-5]?\d$`), "12:30"},
	"HOUR TO SECOND":   {regexp.MustCompile(`^\d{1,10}:[0-5]?\d:[0-5]?\d(\.\d{1,9})?$`), "12:30:15.5"},
	"MINUTE TO SECOND": {regexp.MustCompile(`^\d{1,10}:[0-5]?\d(\.\d{1,9})?$`), "30:15.5"},
}

// interval reads INTERVAL [-] 'text' unit [TO unit]. A minus before or in the string ends up in Text.
func (p *parser) interval() *Literal {
	l := &Literal{Pos: p.tok.pos, Kind: LiteralInterval}
	p.advance()
	minus := p.isSym("-")
	if minus || p.isSym("+") {
		p.advance()
	}
	pos := p.tok.pos
	if p.tok.kind == tokenNumber {
		p.unexpectedHint("write INTERVAL "+quoteString(shorten(p.tok.text))+" and the unit", "a string")
	}
	text := strings.TrimSpace(p.str("a string"))
	l.Unit = p.intervalUnit()
	if rest := strings.TrimPrefix(text, "-"); rest != text {
		minus, text = !minus, rest
	} else {
		text = strings.TrimPrefix(text, "+")
	}
	if shape := intervalShapes[l.Unit]; !shape.text.MatchString(text) {
		p.fail(pos, "write for example INTERVAL "+quoteString(shape.example)+" "+l.Unit,
			"%s is not an interval of %s", quoteString(shorten(text)), l.Unit)
	}
	if minus {
		text = "-" + text
	}
	l.Text = text
	return l
}

// intervalUnit reads unit [(p)] [TO unit [(p)]]. Precisions are accepted and mean nothing: all digits are kept.
func (p *parser) intervalUnit() string {
	pos := p.tok.pos
	unit := p.unit(timeUnits)
	if !p.isWord("TO") {
		return unit
	}
	p.advance()
	unit += " TO " + p.unit(timeUnits)
	if _, ok := intervalShapes[unit]; !ok {
		p.fail(pos, "use YEAR TO MONTH, or DAY, HOUR or MINUTE TO a smaller unit", "INTERVAL %s is not supported", unit)
	}
	return unit
}

// unit reads one of the units, and a precision that INTERVAL allows after it.
func (p *parser) unit(units []string) string {
	unit := p.tok.upper
	known := false
	for _, u := range units {
		if p.isWord(u) {
			known = true
		}
		if p.isWord(u + "S") {
			p.unexpectedHint("units are in the singular: write "+u, "a unit of time")
		}
		if p.tok.kind == tokenString && strings.EqualFold(p.tok.text, u) {
			p.unexpectedHint("write "+u+" without quotes", "a unit of time")
		}
	}
	if !known {
		p.unexpected("a unit of time ("+strings.Join(timeUnits, ", ")+")", units...)
	}
	p.advance()
	if p.prev.isWordIn(timeUnits...) && p.acceptSym("(") {
		p.parameter("the precision of "+unit, 0, 10)
		if p.acceptSym(",") {
			p.parameter("the fractional precision of "+unit, 0, 9)
		}
		p.sym(")")
	}
	return unit
}

// unitLiteral reads a unit as the string argument of a call.
func (p *parser) unitLiteral() *Literal {
	pos := p.tok.pos
	return &Literal{Pos: pos, Kind: LiteralString, Text: p.unit(fieldUnits)}
}

// call reads name(args) with FILTER and OVER.
func (p *parser) call() *Call {
	c := &Call{Pos: p.tok.pos, Name: p.tok.text}
	word := p.tok.upper
	if p.tok.kind == tokenQuoted {
		word = ""
	}
	p.advance()
	p.sym("(")
	if !p.specialArgs(c, word) {
		p.args(c)
	}
	p.callClauses(c)
	return c
}

// specialArgs reads the arguments and the closing parenthesis of functions whose arguments are not just a list,
// in the form that Call's comment describes; false if word is not one of them.
func (p *parser) specialArgs(c *Call, word string) bool {
	switch word {
	case "EXTRACT":
		c.Args = append(c.Args, p.unitLiteral())
		p.words("FROM")
		c.Args = append(c.Args, p.expression())
	case "TIMESTAMPADD", "TIMESTAMPDIFF":
		c.Args = append(c.Args, p.unitLiteral())
		p.sym(",")
		c.Args = append(c.Args, p.expression())
		p.sym(",")
		c.Args = append(c.Args, p.expression())
	case "POSITION":
		c.Args = append(c.Args, p.binary(precRange+1))
		p.words("IN")
		c.Args = append(c.Args, p.expression())
	case "TRIM":
		return p.trimArgs(c)
	case "SUBSTRING", "OVERLAY", "CEIL", "CEILING", "FLOOR":
		if p.isSym(")") || p.isSym("*") || p.isWord("DISTINCT") {
			return false
		}
		return p.keywordArgs(c, word)
	default:
		return false
	}
	p.sym(")")
	return true
}

// trimArgs reads TRIM(x) as it stands and TRIM([BOTH|LEADING|TRAILING] [c] FROM x) as (side, c, x), c being ' ' if left out.
func (p *parser) trimArgs(c *Call) bool {
	side := &Literal{Pos: p.tok.pos, Kind: LiteralString, Text: "BOTH"}
	sided := p.tok.isWordIn("BOTH", "LEADING", "TRAILING") && !p.peek().isSym(")") && !p.peek().isSym(".") && !p.peek().isSym(",")
	if sided {
		side.Text = p.tok.upper
		p.advance()
	}
	if !sided && (p.isSym(")") || p.isSym("*") || p.isWord("DISTINCT")) {
		return false
	}
	var chars Expr = &Literal{Pos: p.tok.pos, Kind: LiteralString, Text: " "}
	if !p.isWord("FROM") {
		first := p.expression()
		if !sided && !p.isWord("FROM") {
			c.Args = append(c.Args, first)
			if p.acceptSym(",") {
				c.Args = append(c.Args, p.expressionList(")")...)
				return true
			}
			p.sym(")")
			return true
		}
		chars = first
	}
	p.words("FROM")
	c.Args = append(c.Args, side, chars, p.expression())
	p.sym(")")
	return true
}

// keywordArgs reads SUBSTRING(x FROM a [FOR b]), OVERLAY(x PLACING y FROM a [FOR b]) and FLOOR(x TO unit),
// or the same functions with commas.
func (p *parser) keywordArgs(c *Call, word string) bool {
	c.Args = append(c.Args, p.expression())
	switch {
	case word == "OVERLAY" && p.acceptWord("PLACING"):
		c.Args = append(c.Args, p.expression())
		p.words("FROM")
		c.Args = append(c.Args, p.expression())
		if p.acceptWord("FOR") {
			c.Args = append(c.Args, p.expression())
		}
	case word == "SUBSTRING" && p.acceptWord("FROM"):
		c.Args = append(c.Args, p.expression())
		if p.acceptWord("FOR") {
			c.Args = append(c.Args, p.expression())
		}
	case word != "SUBSTRING" && word != "OVERLAY" && p.acceptWord("TO"):
		c.Args = append(c.Args, p.unitLiteral())
	case p.acceptSym(","):
		c.Args = append(c.Args, p.expressionList(")")...)
		return true
	}
	p.sym(")")
	return true
}

// args reads [DISTINCT|ALL] expressions, or *, and the closing parenthesis.
func (p *parser) args(c *Call) {
	if p.acceptSym(")") {
		return
	}
	if p.acceptSym("*") {
		c.Star = true
		p.sym(")")
		return
	}
	if p.acceptWord("DISTINCT") {
		c.Distinct = true
	} else {
		p.acceptWord("ALL")
	}
	for {
		p.refuseArg(c)
		c.Args = append(c.Args, p.expression())
		if p.acceptSym(")") {
			return
		}
		if !p.acceptSym(",") {
			p.refuseArgClause(c)
			p.listEnd(`")"`)
		}
	}
}

// refuseArg refuses arguments that only table functions take.
func (p *parser) refuseArg(c *Call) {
	switch next := p.peek(); {
	case next.isSym("=>"):
		p.fail(p.tok.pos, "give the arguments in order", "named arguments of the scalar function %s are not supported", c.Name)
	case p.isWord("TABLE"), p.isWord("DESCRIPTOR") && next.isSym("("):
		p.fail(p.tok.pos, "call "+c.Name+" in FROM", "%s as an argument of a scalar function is not supported", p.tok.upper)
	}
}

// refuseArgClause refuses the clauses that SQL knows inside a call's parentheses.
func (p *parser) refuseArgClause(c *Call) {
	name := strings.ToUpper(c.Name)
	switch {
	case p.isWord("ORDER"):
		p.refuse(p.tok.pos, refusal{"ORDER BY in " + name, ""})
	case p.tok.isWordIn("RETURNING", "ON", "FORMAT", "WITH", "WITHOUT", "NULL", "ERROR", "DEFAULT", "VALUE", "KEY", "ABSENT", "SEPARATOR") && strings.HasPrefix(name, "JSON_"),
		p.tok.isWordIn("RETURNING", "SEPARATOR"):
		p.refuse(p.tok.pos, refusal{p.tok.upper + " in " + name, "use COALESCE and CAST around it"})
	}
}

// callClauses reads FILTER (WHERE ...) and OVER (...).
func (p *parser) callClauses(c *Call) {
	p.refuseClause()
	if p.isWord("FILTER") && p.peek().isSym("(") {
		p.advance()
		p.advance()
		p.words("WHERE")
		c.Filter = p.expression()
		p.sym(")")
	}
	if p.isWord("OVER") {
		c.Over = p.over()
	}
}

func (p *parser) over() *Over {
	o := &Over{Pos: p.tok.pos}
	p.advance()
	if p.isName() {
		p.refuse(p.tok.pos, refusal{"OVER with a named window", "write the window into OVER (...)"})
	}
	p.sym("(")
	if p.acceptWord("PARTITION") {
		p.words("BY")
		for {
			o.PartitionBy = append(o.PartitionBy, p.expression())
			if !p.acceptSym(",") {
				break
			}
		}
	}
	o.OrderBy = p.orderBy()
	if p.tok.isWordIn("ROWS", "RANGE", "GROUPS") {
		o.Frame = p.frame()
	}
	if !p.acceptSym(")") {
		p.unexpected(`PARTITION BY, ORDER BY, ROWS, RANGE or ")"`, "PARTITION", "ORDER", "ROWS", "RANGE")
	}
	return o
}

// frame reads ROWS|RANGE bound or BETWEEN bound AND bound, and gives its canonical text.
func (p *parser) frame() string {
	text := p.tok.upper
	if p.isWord("GROUPS") {
		p.refuse(p.tok.pos, refusal{"a frame of GROUPS", "use ROWS or RANGE"})
	}
	p.advance()
	if !p.acceptWord("BETWEEN") {
		return text + " " + p.frameBound()
	}
	text += " BETWEEN " + p.frameBound()
	p.words("AND")
	return text + " AND " + p.frameBound()
}

func (p *parser) frameBound() string {
	if p.isWord("CURRENT") && p.peek().isWord("ROW") {
		p.words("CURRENT", "ROW")
		return "CURRENT ROW"
	}
	text := "UNBOUNDED"
	if !p.acceptWord("UNBOUNDED") {
		p.enter()
		text = p.formatOperand()
		p.leave()
	}
	if !p.tok.isWordIn("PRECEDING", "FOLLOWING") {
		p.unexpected("PRECEDING or FOLLOWING", "PRECEDING", "FOLLOWING")
	}
	text += " " + p.tok.upper
	p.advance()
	return text
}

// formatOperand reads the expression of a frame bound and gives its canonical text.
func (p *parser) formatOperand() string {
	f := formatter{}
	f.expr(p.binary(precAdd), precAdd)
	return f.String()
}
