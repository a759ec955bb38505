package plan

import (
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
)

// optimize rewrites the graph above the given relations without changing what it gives: stateless operators move below UNION
// ALL to the rows' origins, columns nobody uses go, and calcs in a row become one.
func optimize(roots []*rel) []*rel {
	roots = pushDown(roots)
	roots = mergeCalcs(roots)
	roots = filterEarly(roots)
	roots = prune(roots)
	roots = pushDown(roots)
	return mergeCalcs(roots)
}

// rewrite applies f to every relation below roots, inputs first and each one once. f gets the relation as it was and with its
// inputs already rewritten, and must not change either.
func rewrite(roots []*rel, f func(was, r *rel) *rel) []*rel {
	done := map[*rel]*rel{}
	var visit func(*rel) *rel
	visit = func(r *rel) *rel {
		if out, ok := done[r]; ok {
			return out
		}
		inputs, changed := make([]*rel, len(r.inputs)), false
		for i, in := range r.inputs {
			inputs[i] = visit(in)
			changed = changed || inputs[i] != in
		}
		out := r
		if changed {
			c := *r
			c.inputs = inputs
			out = &c
		}
		out = f(r, out)
		done[r] = out
		return out
	}
	out := make([]*rel, len(roots))
	for i, r := range roots {
		out[i] = visit(r)
	}
	return out
}

// pushDown moves calcs and flat maps below UNION ALL and makes unions of unions one.
func pushDown(roots []*rel) []*rel {
	return rewrite(roots, func(_, r *rel) *rel {
		switch {
		case r.kind == relUnion:
			return flattened(r)
		case (r.kind == relCalc || r.kind == relFlatMap) && r.inputs[0].kind == relUnion:
			u := r.inputs[0]
			inputs := make([]*rel, len(u.inputs))
			for i, in := range u.inputs {
				c := *r
				c.inputs = []*rel{in}
				inputs[i] = &c
			}
			return &rel{kind: relUnion, inputs: inputs, columns: r.columns, updates: r.updates, branches: len(inputs)}
		}
		return r
	})
}

func flattened(r *rel) *rel {
	if !slices.ContainsFunc(r.inputs, func(in *rel) bool { return in.kind == relUnion }) {
		return r
	}
	c := *r
	c.inputs = nil
	for _, in := range r.inputs {
		if in.kind == relUnion {
			c.inputs = append(c.inputs, in.inputs...)
		} else {
			c.inputs = append(c.inputs, in)
		}
	}
	return &c
}

// filterEarly moves conditions on the columns that a flat map passes on below it.
func filterEarly(roots []*rel) []*rel {
	count := consumers(roots)
	return rewrite(roots, func(was, r *rel) *rel {
		if r.kind != relCalc || r.filter == nil || r.inputs[0].kind != relFlatMap || count[was.inputs[0]] > 1 {
			return r
		}
		flat := r.inputs[0]
		terms := []*expr.Node{r.filter}
		if r.filter.Op == expr.OpAnd {
			terms = r.filter.Args
		}
		var early, late *expr.Node
		for _, n := range terms {
			if usesOnly(n, len(flat.keep)) {
				early = and(early, n.Remap(func(i int) int { return flat.keep[i] }))
			} else {
				late = and(late, n)
			}
		}
		if early == nil {
			return r
		}
		in := flat.inputs[0]
		names := make([]string, len(in.columns))
		for i, c := range in.columns {
			names[i] = c.name
		}
		below, above := *flat, *r
		below.inputs = []*rel{newCalc(in, early, in.identity(early.Pos), names)}
		above.inputs, above.filter = []*rel{&below}, late
		return &above
	})
}

// usesOnly says whether n is over the first columns alone and the same whenever it is evaluated.
func usesOnly(n *expr.Node, columns int) bool {
	ok := true
	expr.Walk(n, func(n *expr.Node) {
		if n.Op == expr.OpColumn && n.Column >= columns || n.IsRandom() {
			ok = false
		}
	})
	return ok
}

// consumers counts the references to each relation below roots.
func consumers(roots []*rel) map[*rel]int {
	count := map[*rel]int{}
	var visit func(*rel)
	visit = func(r *rel) {
		if count[r]++; count[r] > 1 {
			return
		}
		for _, in := range r.inputs {
			visit(in)
		}
	}
	for _, r := range roots {
		visit(r)
	}
	return count
}

// mergeCalcs makes a calc or flat map over a calc one operator where that computes nothing twice, and drops calcs that do nothing.
func mergeCalcs(roots []*rel) []*rel {
	count := consumers(roots)
	shared := map[*rel]bool{}
	return rewrite(roots, func(was, r *rel) *rel {
		for (r.kind == relCalc || r.kind == relFlatMap) && r.inputs[0].kind == relCalc {
			merged := merge(r, r.inputs[0], shared[r.inputs[0]])
			if merged == nil {
				break
			}
			r = merged
		}
		if r.kind == relCalc && isIdentity(r) {
			r = r.inputs[0]
		}
		shared[r] = shared[r] || count[was] > 1
		return r
	})
}

// isIdentity says whether r passes all columns on as they are; names do not matter to what comes after.
func isIdentity(r *rel) bool {
	if r.filter != nil || len(r.project) != len(r.inputs[0].columns) {
		return false
	}
	for i, n := range r.project {
		if n.Op != expr.OpColumn || n.Column != i {
			return false
		}
	}
	return true
}

// merge is outer over inner as one operator, or nil when that is not possible or would compute something twice.
func merge(outer, inner *rel, shared bool) *rel {
	uses := make([]int, len(inner.columns))
	count := func(n *expr.Node) {
		expr.Walk(n, func(n *expr.Node) {
			if n.Op == expr.OpColumn {
				uses[n.Column]++
			}
		})
	}
	count(outer.filter)
	for _, n := range outer.project {
		count(n)
	}
	for _, n := range outer.args {
		count(n)
	}
	if inner.filter != nil && (shared || outer.kind == relFlatMap) {
		return nil
	}
	for _, k := range outer.keep {
		if inner.project[k].Op != expr.OpColumn {
			return nil
		}
	}
	for i, n := range inner.project {
		if uses[i] > 0 && !isCheap(n) && (shared || uses[i] > 1) {
			return nil
		}
	}
	m := *outer
	m.inputs = inner.inputs
	m.filter = and(inner.filter, substitute(outer.filter, inner.project))
	m.project, m.args, m.keep = substituteAll(outer.project, inner.project), substituteAll(outer.args, inner.project), nil
	for _, k := range outer.keep {
		m.keep = append(m.keep, inner.project[k].Column)
	}
	return &m
}

// isCheap says whether computing n again costs nothing.
func isCheap(n *expr.Node) bool { return n.Op == expr.OpColumn || n.Op == expr.OpLiteral }

// substitute puts project[c] for every column c of n.
func substitute(n *expr.Node, project []*expr.Node) *expr.Node {
	if n == nil {
		return nil
	}
	if n.Op == expr.OpColumn {
		return project[n.Column]
	}
	if len(n.Args) == 0 {
		return n
	}
	c := *n
	c.Args = substituteAll(n.Args, project)
	return &c
}

func substituteAll(nodes, project []*expr.Node) []*expr.Node {
	if nodes == nil {
		return nil
	}
	out := make([]*expr.Node, len(nodes))
	for i, n := range nodes {
		out[i] = substitute(n, project)
	}
	return out
}

// and is a AND b; either may be nil.
func and(a, b *expr.Node) *expr.Node {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	n := &expr.Node{Op: expr.OpAnd, Type: batch.TypeBoolean, Pos: a.Pos}
	n.Type.NotNull = a.Type.NotNull && b.Type.NotNull
	for _, x := range []*expr.Node{a, b} {
		if x.Op == expr.OpAnd {
			n.Args = append(n.Args, x.Args...)
		} else {
			n.Args = append(n.Args, x)
		}
	}
	return n
}
