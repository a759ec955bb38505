package ast

import "fmt"

func (f *formatter) query(q Query) {
	switch q := q.(type) {
	case *Select:
		f.selectQuery(q)
		f.tail(q.OrderBy, q.Limit)
	case *SetOp:
		f.term(q.Left, setOpPrec(q))
		f.put(" ", q.Op, " ")
		f.term(q.Right, setOpPrec(q)+1)
		f.tail(q.OrderBy, q.Limit)
	case *Values:
		f.put("VALUES ")
		f.commas(len(q.Rows), func(i int) {
			f.put("(")
			f.exprs(q.Rows[i])
			f.put(")")
		})
	case *With:
		f.put("WITH ")
		f.commas(len(q.Views), func(i int) {
			v := &q.Views[i]
			f.put(FormatName(v.Name.Text))
			f.columnList(v.Columns)
			f.put(" AS (")
			f.query(v.Query)
			f.put(")")
		})
		f.put(" ")
		f.query(q.Body)
	default:
		f.put(fmt.Sprintf("<%T>", q))
	}
}

func setOpPrec(q *SetOp) int {
	if q.Op == "INTERSECT" || q.Op == "INTERSECT ALL" {
		return 2
	}
	return 1
}

// term writes a side of a set operation, in parentheses unless it is a plain query or an operation of strength prec.
func (f *formatter) term(q Query, prec int) {
	plain := false
	switch q := q.(type) {
	case *Select:
		plain = q.OrderBy == nil && q.Limit == nil
	case *Values:
		plain = true
	case *SetOp:
		plain = q.OrderBy == nil && q.Limit == nil && setOpPrec(q) >= prec
	}
	if plain {
		f.query(q)
		return
	}
	f.put("(")
	f.query(q)
	f.put(")")
}

func (f *formatter) tail(orderBy []OrderItem, limit Expr) {
	if len(orderBy) > 0 {
		f.put(" ORDER BY ")
		f.orderBy(orderBy)
	}
	if limit != nil {
		f.put(" LIMIT ")
		f.expr(limit, precOr)
	}
}

func (f *formatter) selectQuery(s *Select) {
	f.put("SELECT ", choose(s.Distinct, "DISTINCT ", ""))
	f.commas(len(s.Items), func(i int) {
		item := &s.Items[i]
		if item.Star {
			if item.Qualifier != "" {
				f.put(FormatName(item.Qualifier), ".")
			}
			f.put("*")
			return
		}
		f.expr(item.Expr, precOr)
		if item.Alias != "" {
			f.put(" AS ", FormatName(item.Alias))
		}
	})
	if s.From != nil {
		f.put(" FROM ")
		f.relation(s.From)
	}
	if s.Where != nil {
		f.put(" WHERE ")
		f.expr(s.Where, precOr)
	}
	if len(s.GroupBy) > 0 {
		f.put(" GROUP BY ")
		f.exprs(s.GroupBy)
	}
	if s.Having != nil {
		f.put(" HAVING ")
		f.expr(s.Having, precOr)
	}
}

func (f *formatter) relation(r Relation) {
	switch r := r.(type) {
	case *TableRef:
		f.put(FormatName(r.Name.Text))
		f.alias(r.Alias, r.Columns)
	case *Subquery:
		f.put("(")
		f.query(r.Query)
		f.put(")")
		f.alias(r.Alias, r.Columns)
	case *TableFunction:
		f.put(choose(r.Lateral, "LATERAL ", ""), "TABLE(")
		f.tableCall(r.Call)
		f.put(")")
		f.alias(r.Alias, r.Columns)
	case *Unnest:
		f.put("UNNEST(")
		f.expr(r.Expr, precOr)
		f.put(")", choose(r.Ordinality, " WITH ORDINALITY", ""))
		f.alias(r.Alias, r.Columns)
	case *Join:
		f.join(r)
	default:
		f.put(fmt.Sprintf("<%T>", r))
	}
}

func (f *formatter) join(j *Join) {
	f.relation(j.Left)
	f.put(" ", choose(j.Kind == "INNER", "", j.Kind+" "), "JOIN ")
	if right, ok := j.Right.(*Join); ok {
		f.put("(")
		f.join(right)
		f.put(")")
	} else {
		f.relation(j.Right)
	}
	switch {
	case j.On != nil:
		f.put(" ON ")
		f.expr(j.On, precOr)
	case len(j.Using) > 0:
		f.put(" USING")
		f.columnList(j.Using)
	}
}

func (f *formatter) alias(alias string, columns []Name) {
	if alias != "" {
		f.put(" AS ", FormatName(alias))
		f.columnList(columns)
	}
}

// columnList writes " (a, b)", nothing for no columns.
func (f *formatter) columnList(columns []Name) {
	if len(columns) == 0 {
		return
	}
	f.put(" (")
	f.commas(len(columns), func(i int) { f.put(FormatName(columns[i].Text)) })
	f.put(")")
}

func (f *formatter) tableCall(c *TableCall) {
	f.put(FormatName(c.Name), "(")
	f.commas(len(c.Args), func(i int) {
		a := &c.Args[i]
		if a.Name != "" {
			f.put(FormatName(a.Name), " => ")
		}
		switch {
		case a.Table != nil:
			f.put("TABLE ")
			f.relation(a.Table.Relation)
			if len(a.Table.PartitionBy) > 0 {
				f.put(" PARTITION BY")
				f.columnList(a.Table.PartitionBy)
			}
		case a.Descriptor != nil:
			f.put("DESCRIPTOR(")
			f.commas(len(a.Descriptor), func(i int) { f.put(FormatName(a.Descriptor[i].Text)) })
			f.put(")")
		case a.Expr != nil:
			f.expr(a.Expr, precOr)
		}
	})
	f.put(")")
}
