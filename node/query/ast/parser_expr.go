package ast

// Binding strengths, as in Calcite, whose grammar Flink SQL is: note that IS binds weaker than "=", BETWEEN, IN and LIKE
// stronger, and that "||" stands with "*".
const (
	precOr = iota + 1
	precAnd
	precNot
	precIs
	precCompare
	precRange // BETWEEN, IN, LIKE, SIMILAR TO
	precAdd
	precMultiply
	precUnary
	precPostfix
	precPrimary
)

var binaryPrec = map[string]int{
	"OR": precOr, "AND": precAnd,
	"=": precCompare, "<>": precCompare, "<": precCompare, "<=": precCompare, ">": precCompare, ">=": precCompare,
	"+": precAdd, "-": precAdd,
	"*": precMultiply, "/": precMultiply, "%": precMultiply, "||": precMultiply,
}

// expression reads one expression of any kind.
func (p *parser) expression() Expr {
	p.enter()
	defer p.leave()
	return p.binary(precOr)
}

// binary reads an expression of operators that bind at least as strongly as prec.
func (p *parser) binary(prec int) Expr { return p.infix(p.unary(), prec) }

// expressionList reads expressions up to the closing symbol, at least one.
func (p *parser) expressionList(closing string) []Expr {
	return p.moreExpressions(p.expression(), closing)
}

// moreExpressions reads the rest of a list after its first expression.
func (p *parser) moreExpressions(first Expr, closing string) []Expr {
	list := []Expr{first}
	for !p.acceptSym(closing) {
		if !p.acceptSym(",") {
			p.listEnd(`"` + closing + `"`)
		}
		list = append(list, p.expression())
	}
	return list
}

// infixOp is the operator at the current token and its strength; 0 if there is none.
func (p *parser) infixOp() (op string, prec int) {
	switch p.tok.kind {
	case tokenSymbol:
		op = p.tok.text
		if op == "!=" {
			op = "<>"
		}
		return op, binaryPrec[op]
	case tokenWord:
		switch w := p.tok.upper; w {
		case "OR", "AND":
			return w, binaryPrec[w]
		case "IS":
			next := p.peek()
			if next.isWord("DISTINCT") {
				return w, precCompare
			}
			if after := p.second(); next.isWord("NOT") && after.isWord("DISTINCT") {
				return w, precCompare
			}
			return w, precIs
		case "BETWEEN", "IN", "LIKE", "SIMILAR":
			return w, precRange
		case "NOT":
			if p.peek().isWordIn("BETWEEN", "IN", "LIKE", "SIMILAR") {
				return w, precRange
			}
		}
	}
	return "", 0
}

// infix reads operators of strength prec and more after left. Those of the same strength associate to the left.
func (p *parser) infix(left Expr, prec int) Expr {
	for {
		op, strength := p.infixOp()
		if strength == 0 || strength < prec {
			return left
		}
		p.operator()
		pos := p.tok.pos
		switch op {
		case "IS":
			p.advance()
			left = p.is(left, pos)
		case "NOT":
			p.advance()
			left = p.rangeOp(left, pos, true)
		case "BETWEEN", "IN", "LIKE", "SIMILAR":
			left = p.rangeOp(left, pos, false)
		default:
			p.advance()
			if strength == precCompare && p.tok.isWordIn("ANY", "SOME", "ALL") && p.peek().isSym("(") {
				p.refuse(p.tok.pos, refusal{"comparison with " + p.tok.upper, "use a join"})
			}
			left = &Binary{Pos: pos, Op: op, L: left, R: p.binary(strength + 1)}
		}
	}
}

// is reads what follows IS.
func (p *parser) is(x Expr, pos Pos) Expr {
	not := p.acceptWord("NOT")
	switch {
	case p.tok.isWordIn("NULL", "TRUE", "FALSE", "UNKNOWN"):
		what := p.tok.upper
		p.advance()
		return &Is{Pos: pos, X: x, Not: not, What: what}
	case p.acceptWord("DISTINCT"):
		p.words("FROM")
		return &IsDistinct{Pos: pos, L: x, R: p.binary(precCompare + 1), Not: not}
	case p.isWord("JSON"):
		p.refuse(p.tok.pos, refusal{"IS JSON", ""})
	}
	p.unexpected("NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM after IS", "NULL", "TRUE", "FALSE", "UNKNOWN", "DISTINCT", "NOT")
	return nil
}

// rangeOp reads [NOT] BETWEEN, IN, LIKE or SIMILAR TO after x; the current token is the operator without NOT.
func (p *parser) rangeOp(x Expr, pos Pos, not bool) Expr {
	word := p.tok.upper
	p.advance()
	switch word {
	case "BETWEEN":
		if p.isWord("SYMMETRIC") {
			p.refuse(p.tok.pos, refusal{"BETWEEN SYMMETRIC", "write the bounds in order"})
		}
		p.acceptWord("ASYMMETRIC")
		b := &Between{Pos: pos, X: x, Not: not, Low: p.binary(precRange + 1)}
		if !p.acceptWord("AND") {
			p.unexpectedHint("write BETWEEN low AND high", "AND", "AND")
		}
		b.High = p.binary(precRange + 1)
		return b
	case "IN":
		in := &In{Pos: pos, X: x, Not: not}
		if !p.isSym("(") {
			p.unexpectedHint("put the list into parentheses", `"("`)
		}
		p.advance()
		if p.tok.startsQuery() {
			in.Query = p.query()
			p.queryClose()
			return in
		}
		x := p.expression()
		if in.Query = p.queryAfter(x); in.Query != nil {
			return in
		}
		in.List = p.moreExpressions(x, ")")
		return in
	case "SIMILAR":
		p.words("TO")
	}
	l := &Like{Pos: pos, X: x, Not: not, Similar: word == "SIMILAR", Pattern: p.binary(precRange + 1)}
	if p.acceptWord("ESCAPE") {
		l.Escape = p.binary(precRange + 1)
	}
	return l
}

// unary reads signs and NOT before an operand with its postfixes.
func (p *parser) unary() Expr {
	pos := p.tok.pos
	switch {
	case p.isSym("-"), p.isSym("+"):
		p.enter()
		defer p.leave()
		op := p.tok.text
		p.advance()
		return &Unary{Pos: pos, Op: op, X: p.unary()}
	case p.isWord("NOT"):
		p.enter()
		defer p.leave()
		p.advance()
		return &Unary{Pos: pos, Op: "NOT", X: p.binary(precNot)}
	}
	return p.postfix(p.primary())
}

// postfix reads [index] and .field after x.
func (p *parser) postfix(x Expr) Expr {
	for {
		pos := p.tok.pos
		switch {
		case p.acceptSym("["):
			p.operator()
			i := &Index{Pos: pos, X: x, I: p.expression()}
			p.sym("]")
			x = i
		case p.acceptSym("."):
			p.operator()
			x = &FieldAccess{Pos: pos, X: x, Name: p.anyName("the name of a field")}
		default:
			return x
		}
	}
}

// primary reads an operand without postfixes.
func (p *parser) primary() Expr {
	pos, text := p.tok.pos, p.tok.text
	switch p.tok.kind {
	case tokenNumber:
		p.advance()
		return &Literal{Pos: pos, Kind: LiteralNumber, Text: text}
	case tokenString:
		p.advance()
		return &Literal{Pos: pos, Kind: LiteralString, Text: text}
	case tokenHex:
		p.advance()
		return &Literal{Pos: pos, Kind: LiteralHex, Text: text}
	case tokenQuoted:
		return p.columnOrCall()
	case tokenWord:
		return p.wordPrimary()
	}
	if p.isSym("(") {
		return p.parenthesized()
	}
	return p.noExpression()
}

// noExpression stops parsing where an expression should stand.
func (p *parser) noExpression() Expr {
	hint := ""
	switch {
	case p.prev.isSym(","):
		hint = "remove the comma before it"
	case p.tok.kind == tokenWord && reserved[p.tok.upper]:
		hint = p.tok.text + " is a reserved word: put it into backquotes to use it as a name"
	}
	p.unexpectedHint(hint, "an expression")
	return nil
}

// parenthesized reads (expr), (a, b, ...) as a row, or (query).
func (p *parser) parenthesized() Expr {
	pos := p.tok.pos
	p.advance()
	if p.tok.startsQuery() {
		q := p.query()
		p.queryClose()
		return &ScalarSubquery{Pos: pos, Query: q}
	}
	x := p.expression()
	if q := p.queryAfter(x); q != nil {
		return &ScalarSubquery{Pos: pos, Query: q}
	}
	if p.acceptSym(")") {
		return x
	}
	return &RowValue{Pos: pos, Items: p.moreExpressions(x, ")")}
}

// queryAfter reads the rest of ((SELECT ...) UNION (SELECT ...)), in which the inner parenthesis x was a query and not an operand,
// with the closing parenthesis; nil if x is an operand.
func (p *parser) queryAfter(x Expr) Query {
	s, ok := x.(*ScalarSubquery)
	if !ok || !p.tok.isWordIn("UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT") {
		return nil
	}
	q := p.queryTail(p.setOps(s.Query))
	p.queryClose()
	return q
}

// wordPrimary reads an operand that begins with a word: a literal, a special form, a call or a column.
func (p *parser) wordPrimary() Expr {
	pos, word := p.tok.pos, p.tok.upper
	next := p.peek()
	switch word {
	case "NULL":
		p.advance()
		return &Literal{Pos: pos, Kind: LiteralNull}
	case "TRUE", "FALSE":
		p.advance()
		return &Literal{Pos: pos, Kind: LiteralBool, Bool: word == "TRUE"}
	case "CASE":
		return p.caseExpr()
	case "CAST", "TRY_CAST":
		return p.cast()
	case "EXISTS":
		p.advance()
		p.sym("(")
		if !p.tok.startsQuery() && !p.isSym("(") {
			p.unexpected("a query", "SELECT", "VALUES", "WITH")
		}
		e := &Exists{Pos: pos, Query: p.query()}
		p.queryClose()
		return e
	case "INTERVAL":
		if next.kind == tokenString || next.kind == tokenNumber || next.isSym("-") || next.isSym("+") {
			return p.interval()
		}
	case "DATE", "TIME", "TIMESTAMP":
		if next.kind == tokenString {
			return p.timeLiteral(word)
		}
	case "ARRAY", "MAP":
		if next.isSym("[") {
			return p.collection(word)
		}
		if next.isSym("(") {
			p.fail(pos, "write "+word+"[...]", "%s(...) is not supported", word)
		}
	case "ROW":
		if next.isSym("(") {
			p.advance()
			p.advance()
			return &RowValue{Pos: pos, Items: p.expressionList(")")}
		}
	}
	if reserved[word] && !(callableReserved[word] && next.isSym("(")) {
		return p.noExpression()
	}
	if niladic[word] && !next.isSym("(") {
		call := &Call{Pos: pos, Name: p.tok.text}
		p.advance()
		return call
	}
	return p.columnOrCall()
}

func (p *parser) columnOrCall() Expr {
	if p.peek().isSym("(") {
		return p.call()
	}
	first := p.name("a column")
	if !p.acceptSym(".") {
		return &Column{Pos: first.Pos, Parts: []Name{first}}
	}
	return p.columnPath(first)
}

// columnPath reads the rest of a column's path, after first and a dot.
func (p *parser) columnPath(first Name) *Column {
	c := &Column{Pos: first.Pos, Parts: []Name{first}}
	for {
		c.Parts = append(c.Parts, p.anyName("a column after the dot"))
		if !p.isSym(".") {
			break
		}
		p.advance()
	}
	if p.isSym("(") {
		p.fail(first.Pos, "name the function by its last part alone", "functions with a catalog or database are not supported")
	}
	return c
}
