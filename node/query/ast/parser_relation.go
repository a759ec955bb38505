package ast

// from reads everything after FROM. The comma is a CROSS join; like the joins it associates to the left, which differs
// from the standard's lower precedence only for a RIGHT or FULL JOIN after a comma: that is refused.
func (p *parser) from() Relation {
	left := p.joins(p.relationTerm(), false)
	for p.isSym(",") {
		p.operator()
		pos := p.tok.pos
		p.advance()
		if p.tok.kind == tokenWord && queryEnd[p.tok.upper] {
			p.unexpectedHint("remove the comma before it", "a table")
		}
		left = p.joins(&Join{Pos: pos, Kind: "CROSS", Left: left, Right: p.relationTerm()}, true)
	}
	return left
}

func (p *parser) joins(left Relation, afterComma bool) Relation {
	for {
		pos := p.tok.pos
		kind := p.joinKind()
		if kind == "" {
			return left
		}
		p.operator()
		if afterComma && (kind == "RIGHT" || kind == "FULL") {
			p.fail(pos, "write CROSS JOIN instead of the comma", "%s JOIN after a comma is not supported", kind)
		}
		j := &Join{Pos: pos, Kind: kind, Left: left, Right: p.relationTerm()}
		switch {
		case kind == "CROSS":
		case p.acceptWord("ON"):
			j.On = p.expression()
		case p.isWord("USING") && p.peek().isSym("("):
			p.advance()
			j.Using = p.nameList("a column name")
		default:
			p.unexpectedHint("use CROSS JOIN for a join without a condition", "ON or USING after the joined table", "ON", "USING")
		}
		left = j
	}
}

// joinKind consumes [INNER|LEFT|RIGHT|FULL|CROSS] JOIN and gives its kind, "" if there is no join.
func (p *parser) joinKind() string {
	kind := "INNER"
	switch {
	case p.acceptWord("JOIN"):
		return kind
	case p.tok.isWordIn("INNER", "CROSS"):
		kind = p.tok.upper
		p.advance()
	case p.tok.isWordIn("LEFT", "RIGHT", "FULL"):
		kind = p.tok.upper
		p.advance()
		if p.tok.isWordIn("SEMI", "ANTI") {
			p.refuse(p.tok.pos, refusal{kind + " " + p.tok.upper + " JOIN", ""})
		}
		p.acceptWord("OUTER")
	default:
		p.refuseClause()
		return ""
	}
	p.words("JOIN")
	return kind
}

// relationTerm reads one table, call or parenthesis of FROM with its alias.
func (p *parser) relationTerm() Relation {
	pos := p.tok.pos
	switch {
	case p.isSym("("):
		rel, query := p.parenthesis()
		if query != nil {
			return p.aliased(&Subquery{Pos: pos, Query: query})
		}
		return rel
	case p.isWord("LATERAL"):
		p.advance()
		if !p.isWord("TABLE") {
			p.unexpectedHint("LATERAL before anything but TABLE(function(...)) is not supported", "TABLE")
		}
		return p.aliased(p.tableFunction(pos, true))
	case p.isWord("TABLE"):
		return p.aliased(p.tableFunction(pos, false))
	case p.isWord("UNNEST"):
		return p.aliased(p.unnest())
	case p.isName() && p.peek().isSym("("):
		return p.aliased(&TableFunction{Pos: pos, Call: p.tableCall()})
	case p.tok.startsQuery():
		p.unexpectedHint("put the query into parentheses", "a table")
	}
	return p.aliased(&TableRef{Pos: pos, Name: p.tableName("a table")})
}

// parenthesis reads "(" query or relation ")": exactly one of the results is set.
// Which of the two it is may show only after inner parentheses have been read, so nothing is read twice.
func (p *parser) parenthesis() (Relation, Query) {
	p.enter()
	defer p.leave()
	pos := p.tok.pos
	p.sym("(")
	var rel Relation
	switch {
	case p.tok.startsQuery():
		q := p.query()
		p.queryClose()
		return nil, q
	case p.isSym("("):
		inner, q := p.parenthesis()
		if q != nil {
			if p.isSym(")") || p.tok.isWordIn("UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT") {
				q = p.queryTail(p.setOps(q))
				p.queryClose()
				return nil, q
			}
			inner = p.aliased(&Subquery{Pos: pos, Query: q})
		}
		rel = p.joins(inner, false)
	default:
		rel = p.joins(p.relationTerm(), false)
	}
	if p.isSym(",") {
		p.fail(p.tok.pos, "write CROSS JOIN", "a comma between tables in parentheses is not supported")
	}
	p.queryClose()
	return rel, nil
}

// aliased reads [AS] alias [(columns)] into r.
func (p *parser) aliased(r Relation) Relation {
	p.refuseClause()
	alias := p.alias()
	var columns []Name
	if alias != "" && p.isSym("(") {
		columns = p.nameList("a column name")
	}
	p.refuseClause()
	switch r := r.(type) {
	case *TableRef:
		r.Alias, r.Columns = alias, columns
	case *Subquery:
		r.Alias, r.Columns = alias, columns
	case *TableFunction:
		r.Alias, r.Columns = alias, columns
	case *Unnest:
		r.Alias, r.Columns = alias, columns
	}
	return r
}

// tableFunction reads TABLE(f(args)).
func (p *parser) tableFunction(pos Pos, lateral bool) *TableFunction {
	p.words("TABLE")
	if p.isName() {
		p.unexpectedHint("in FROM a table is named without TABLE", `"(" and a function call`)
	}
	p.sym("(")
	f := &TableFunction{Pos: pos, Lateral: lateral, Call: p.tableCall()}
	p.sym(")")
	return f
}

func (p *parser) tableCall() *TableCall {
	c := &TableCall{Pos: p.tok.pos}
	c.Name = p.name("a table function").Text
	p.sym("(")
	if p.acceptSym(")") {
		return c
	}
	for {
		c.Args = append(c.Args, p.tableCallArg())
		if p.acceptSym(")") {
			return c
		}
		if !p.acceptSym(",") {
			p.listEnd(`")"`, "PARTITION", "ORDER")
		}
	}
}

func (p *parser) tableCallArg() TableCallArg {
	a := TableCallArg{Pos: p.tok.pos}
	if p.tok.kind == tokenWord || p.tok.kind == tokenQuoted {
		if p.peek().isSym("=>") {
			a.Name = p.anyName("an argument").Text
			p.advance()
		}
	}
	switch next := p.peek(); {
	case p.isWord("TABLE"):
		a.Table = p.tableArg()
	case p.isWord("DESCRIPTOR") && next.isSym("("):
		p.advance()
		a.Descriptor = p.nameList("a column name")
	default:
		a.Expr = p.expression()
		// A query alone is a table, not a value.
		if s, ok := a.Expr.(*ScalarSubquery); ok {
			a.Table = &TableArg{Pos: s.Pos, Relation: &Subquery{Pos: s.Pos, Query: s.Query}}
			a.Expr = nil
			p.argPartition(a.Table)
		}
		if p.isWord("PARTITION") {
			p.unexpectedHint("a table argument is written TABLE name PARTITION BY (columns)", `"," or ")"`)
		}
	}
	return a
}

// tableArg reads TABLE name or TABLE (query), with PARTITION BY.
func (p *parser) tableArg() *TableArg {
	t := &TableArg{Pos: p.tok.pos}
	p.advance()
	if p.isSym("(") {
		t.Relation = p.argSubquery()
	} else {
		pos := p.tok.pos
		t.Relation = &TableRef{Pos: pos, Name: p.tableName("a table")}
	}
	p.argPartition(t)
	return t
}

func (p *parser) argSubquery() *Subquery {
	s := &Subquery{Pos: p.tok.pos}
	p.sym("(")
	s.Query = p.query()
	p.queryClose()
	return s
}

func (p *parser) argPartition(t *TableArg) {
	if p.acceptWord("PARTITION") {
		p.words("BY")
		if p.isSym("(") {
			t.PartitionBy = p.nameList("a column name")
		} else {
			t.PartitionBy = []Name{p.name("a column name")}
		}
		if p.isSym(".") {
			p.fail(p.tok.pos, "name the column alone", "PARTITION BY a qualified column is not supported")
		}
	}
	if p.isWord("ORDER") {
		p.refuse(p.tok.pos, refusal{"ORDER BY of a table argument", "rows arrive in the canonical order of their epochs"})
	}
}

// unnest reads UNNEST(expr) [WITH ORDINALITY].
func (p *parser) unnest() *Unnest {
	u := &Unnest{Pos: p.tok.pos}
	p.advance()
	p.sym("(")
	u.Expr = p.expression()
	if p.isSym(",") {
		p.refuse(p.tok.pos, refusal{"UNNEST of several collections", "use one UNNEST for each"})
	}
	p.sym(")")
	if p.isWord("WITH") {
		p.words("WITH", "ORDINALITY")
		u.Ordinality = true
	}
	return u
}
