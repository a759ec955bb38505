package ast

// query reads [WITH ...] body [ORDER BY ...] [LIMIT n].
func (p *parser) query() Query {
	p.enter()
	defer p.leave()
	if p.isWord("WITH") {
		return p.with()
	}
	return p.queryTail(p.setOps(p.queryTerm()))
}

func (p *parser) with() *With {
	w := &With{Pos: p.tok.pos}
	p.advance()
	if p.isWord("RECURSIVE") && p.peek().isName() {
		p.refuse(p.tok.pos, refusal{"WITH RECURSIVE", ""})
	}
	for {
		v := CreateView{Pos: p.tok.pos}
		v.Name = p.name("the name of a query in WITH")
		if p.isSym("(") {
			v.Columns = p.nameList("a column name")
		}
		p.words("AS")
		p.sym("(")
		v.Query = p.query()
		p.queryClose()
		w.Views = append(w.Views, v)
		if !p.acceptSym(",") {
			break
		}
	}
	if p.isWord("INSERT") {
		p.unexpectedHint("write INSERT INTO before WITH", "SELECT")
	}
	w.Body = p.query()
	return w
}

// queryClose consumes the parenthesis that ends a query.
func (p *parser) queryClose() {
	if !p.acceptSym(")") {
		p.unexpected(`")"`, clauseWords...)
	}
}

// queryTerm reads SELECT, VALUES or a query in parentheses.
func (p *parser) queryTerm() Query {
	switch {
	case p.isWord("SELECT"):
		return p.selectQuery()
	case p.isWord("VALUES"):
		return p.values()
	case p.isWord("TABLE"):
		p.refuse(p.tok.pos, refusedStatements["TABLE"])
	case p.acceptSym("("):
		q := p.query()
		p.queryClose()
		return q
	}
	p.unexpected("SELECT, VALUES or a query in parentheses", "SELECT", "VALUES")
	return nil
}

// setOps reads the set operations after left. INTERSECT binds tighter than UNION and EXCEPT.
func (p *parser) setOps(left Query) Query {
	left = p.intersections(left)
	for p.isWord("UNION") || p.isWord("EXCEPT") {
		op := p.setOp(left)
		op.Right = p.intersections(p.queryTerm())
		left = op
	}
	return left
}

func (p *parser) intersections(left Query) Query {
	for p.isWord("INTERSECT") {
		op := p.setOp(left)
		op.Right = p.queryTerm()
		left = op
	}
	return left
}

func (p *parser) setOp(left Query) *SetOp {
	p.operator()
	op := &SetOp{Pos: p.tok.pos, Op: p.tok.upper, Left: left}
	p.advance()
	if p.acceptWord("ALL") {
		op.Op += " ALL"
	} else {
		p.acceptWord("DISTINCT")
	}
	return op
}

// queryTail reads ORDER BY and LIMIT after a complete body.
func (p *parser) queryTail(q Query) Query {
	pos, word := p.tok.pos, p.tok.upper
	if !p.isWord("ORDER") && !p.isWord("LIMIT") {
		return q
	}
	orderBy, limit := p.orderBy(), p.limit()
	switch body := q.(type) {
	case *Select:
		if body.OrderBy == nil && body.Limit == nil {
			body.OrderBy, body.Limit = orderBy, limit
			return q
		}
	case *SetOp:
		if body.OrderBy == nil && body.Limit == nil {
			body.OrderBy, body.Limit = orderBy, limit
			return q
		}
	}
	p.fail(pos, "put the query into SELECT * FROM (...)", "%s after VALUES or after a query that is ordered or limited in parentheses is not supported", word)
	return nil
}

func (p *parser) orderBy() []OrderItem {
	if !p.acceptWord("ORDER") {
		return nil
	}
	p.words("BY")
	var items []OrderItem
	for {
		o := OrderItem{Expr: p.expression()}
		if p.acceptWord("DESC") {
			o.Desc = true
		} else {
			p.acceptWord("ASC")
		}
		if p.acceptWord("NULLS") {
			first := p.isWord("FIRST")
			if !first && !p.isWord("LAST") {
				p.unexpected("FIRST or LAST", "FIRST", "LAST")
			}
			p.advance()
			o.NullsFirst = &first
		}
		items = append(items, o)
		if !p.acceptSym(",") {
			return items
		}
	}
}

func (p *parser) limit() Expr {
	if !p.acceptWord("LIMIT") {
		return nil
	}
	if p.isWord("ALL") {
		p.fail(p.tok.pos, "leave it out", "LIMIT ALL is not supported")
	}
	e := p.expression()
	if p.isSym(",") {
		p.refuse(p.tok.pos, refusal{"LIMIT with an offset", ""})
	}
	return e
}

func (p *parser) values() *Values {
	v := &Values{Pos: p.tok.pos}
	p.advance()
	for {
		if p.acceptSym("(") {
			v.Rows = append(v.Rows, p.expressionList(")"))
		} else {
			// ROW(a, b) is the row itself.
			x := p.expression()
			if r, ok := x.(*RowValue); ok {
				v.Rows = append(v.Rows, r.Items)
			} else {
				v.Rows = append(v.Rows, []Expr{x})
			}
		}
		if !p.acceptSym(",") {
			return v
		}
	}
}

func (p *parser) selectQuery() *Select {
	s := &Select{Pos: p.tok.pos}
	p.advance()
	if p.acceptWord("DISTINCT") {
		s.Distinct = true
	} else {
		p.acceptWord("ALL")
	}
	s.Items = p.selectItems()
	if p.acceptWord("FROM") {
		s.From = p.from()
	}
	if p.acceptWord("WHERE") {
		s.Where = p.expression()
	}
	if p.acceptWord("GROUP") {
		p.words("BY")
		s.GroupBy = p.groupBy()
	}
	if p.acceptWord("HAVING") {
		s.Having = p.expression()
	}
	return s
}

func (p *parser) selectItems() []SelectItem {
	var items []SelectItem
	for {
		items = append(items, p.selectItem())
		if p.acceptSym(",") {
			continue
		}
		switch {
		case p.tok.kind == tokenEnd, p.isSym(")"), p.isSym(";"), p.tok.kind == tokenWord && queryEnd[p.tok.upper]:
			return items
		}
		p.listEnd("FROM", clauseWords...)
	}
}

func (p *parser) selectItem() SelectItem {
	item := SelectItem{Pos: p.tok.pos}
	if p.acceptSym("*") {
		item.Star = true
		return item
	}
	if p.isName() && !niladic[p.tok.upper] && p.peek().isSym(".") {
		// A qualifier with a star, or a column path: which one shows after the dot.
		first := p.name("a column")
		p.advance()
		if p.acceptSym("*") {
			item.Star, item.Qualifier = true, first.Text
			return item
		}
		item.Expr = p.infix(p.postfix(p.columnPath(first)), precOr)
	} else {
		item.Expr = p.expression()
	}
	item.Alias = p.alias()
	return item
}

// alias reads [AS] name, "" if there is none. A reserved word needs backquotes, END aside.
func (p *parser) alias() string {
	if p.acceptWord("AS") {
		if p.isWord("END") {
			return p.anyName("an alias").Text
		}
		return p.name("an alias after AS").Text
	}
	if !p.startsAlias() {
		return ""
	}
	if p.tok.kind == tokenWord {
		p.aliasAt = p.tok.start
	}
	return p.name("an alias").Text
}

// startsAlias says whether the current token can be an alias without AS.
func (p *parser) startsAlias() bool {
	return p.isName() && !p.atRefusedClause()
}

func (p *parser) groupBy() []Expr {
	var list []Expr
	for {
		next := p.peek()
		switch {
		case p.isWord("GROUPING") && next.isWord("SETS"):
			p.refuse(p.tok.pos, refusal{"GROUPING SETS", "write a query for each set and combine them with UNION ALL"})
		case p.tok.isWordIn("ROLLUP", "CUBE") && next.isSym("("):
			p.refuse(p.tok.pos, refusal{p.tok.upper, "write a query for each set and combine them with UNION ALL"})
		case p.isSym("(") && next.isSym(")"):
			p.refuse(p.tok.pos, refusal{"GROUP BY ()", "leave GROUP BY out"})
		}
		list = append(list, p.expression())
		if !p.acceptSym(",") {
			return list
		}
	}
}
