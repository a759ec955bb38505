package plan

import (
	"slices"

	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// pruned is a relation without the columns that nobody needs. at[i] is the new number of column i, -1 when it is gone.
type pruned struct {
	rel *rel
	at  []int
}

func (p pruned) remap(n *expr.Node) *expr.Node {
	if n == nil {
		return nil
	}
	return n.Remap(func(i int) int { return p.at[i] })
}

func (p pruned) remapAll(nodes []*expr.Node) []*expr.Node {
	out := make([]*expr.Node, len(nodes))
	for i, n := range nodes {
		out[i] = p.remap(n)
	}
	return out
}

// prune drops columns that no consumer needs. Tables are read with all their columns, and operators, sinks and keys get all of theirs.
func prune(roots []*rel) []*rel {
	order := topological(roots)
	needed := map[*rel][]bool{}
	for _, r := range order {
		needed[r] = make([]bool, len(r.columns))
	}
	for _, r := range slices.Backward(order) { // consumers before what they consume
		require(r, needed)
	}
	done := map[*rel]pruned{}
	for _, r := range order {
		done[r] = pruneOne(r, needed[r], done)
	}
	out := make([]*rel, len(roots))
	for i, r := range roots {
		out[i] = done[r].rel
	}
	return out
}

// topological lists all relations, inputs before consumers.
func topological(roots []*rel) []*rel {
	var order []*rel
	seen := map[*rel]bool{}
	var visit func(*rel)
	visit = func(r *rel) {
		if seen[r] {
			return
		}
		seen[r] = true
		for _, in := range r.inputs {
			visit(in)
		}
		order = append(order, r)
	}
	for _, r := range roots {
		visit(r)
	}
	return order
}

// require marks what r needs of its inputs, given what is needed of r.
func require(r *rel, needed map[*rel][]bool) {
	mine := needed[r]
	if r.kind == relScan {
		return
	}
	in := needed[r.inputs[0]]
	use := func(n *expr.Node) {
		expr.Walk(n, func(n *expr.Node) {
			if n.Op == expr.OpColumn {
				in[n.Column] = true
			}
		})
	}
	switch r.kind {
	case relCalc:
		if !slices.Contains(mine, true) {
			mine[0] = true // a row has at least one column
		}
		use(r.filter)
		for i, n := range r.project {
			if mine[i] {
				use(n)
			}
		}
	case relFlatMap:
		for _, n := range r.args {
			use(n)
		}
		for i, k := range r.keep {
			in[k] = in[k] || mine[i]
		}
	case relWatermark:
		use(r.watermark)
		for i := range mine {
			in[i] = in[i] || mine[i]
		}
	case relUnion:
		for _, input := range r.inputs {
			for i, n := range mine {
				needed[input][i] = needed[input][i] || n
			}
		}
	case relAggregate:
		a := r.aggregate
		if a.keys == 0 && !slices.Contains(mine, true) {
			mine[0] = true
		}
		for i := range a.keys {
			in[i] = true
		}
		for i, k := range a.calls {
			if mine[a.keys+i] && k.Arg >= 0 {
				in[k.Arg] = true
			}
			if mine[a.keys+i] && k.Filter >= 0 {
				in[k.Filter] = true
			}
		}
	default: // relProcess, relSink: everything
		for i := range in {
			in[i] = true
		}
	}
}

func pruneOne(r *rel, needed []bool, done map[*rel]pruned) pruned {
	all := make([]int, len(r.columns))
	for i := range all {
		all[i] = i
	}
	c := *r
	if r.kind != relScan && r.kind != relUnion {
		c.inputs = []*rel{done[r.inputs[0]].rel}
	}
	switch r.kind {
	case relScan:
		return pruned{r, all}
	case relCalc:
		in := done[r.inputs[0]]
		at, kept := selectColumns(&c, needed)
		c.filter, c.project = in.remap(r.filter), nil
		for _, i := range kept {
			c.project = append(c.project, in.remap(r.project[i]))
		}
		return pruned{&c, at}
	case relFlatMap:
		in := done[r.inputs[0]]
		for i := len(r.keep); i < len(needed); i++ {
			needed[i] = true // what the function gives comes whole
		}
		at, kept := selectColumns(&c, needed)
		c.args, c.keep = in.remapAll(r.args), nil
		for _, i := range kept {
			if i < len(r.keep) {
				c.keep = append(c.keep, in.at[r.keep[i]])
			}
		}
		return pruned{&c, at}
	case relWatermark:
		in := done[r.inputs[0]]
		c.watermark = in.remap(r.watermark)
		present := make([]bool, len(in.at))
		for i, k := range in.at {
			present[i] = k >= 0
		}
		at, _ := selectColumns(&c, present)
		return pruned{&c, at}
	case relUnion:
		at, kept := selectColumns(&c, needed)
		c.inputs = make([]*rel, len(r.inputs))
		for i, input := range r.inputs {
			c.inputs[i] = aligned(done[input], kept)
		}
		return pruned{&c, at}
	case relAggregate:
		return pruneAggregate(r, &c, needed, done[r.inputs[0]])
	}
	return pruned{&c, all}
}

// selectColumns keeps the needed columns of c and its key.
func selectColumns(c *rel, needed []bool) (at, kept []int) {
	at = make([]int, len(c.columns))
	var columns []column
	for i, col := range c.columns {
		at[i] = -1
		if needed[i] {
			at[i] = len(columns)
			columns = append(columns, col)
			kept = append(kept, i)
		}
	}
	c.columns = columns
	c.key = mapKey(c.key, func(i int) int { return at[i] })
	return at, kept
}

// aligned is the input of a union with exactly the columns kept.
func aligned(in pruned, kept []int) *rel {
	same := len(in.rel.columns) == len(kept)
	for i, k := range kept {
		same = same && in.at[k] == i
	}
	if same {
		return in.rel
	}
	project, names := make([]*expr.Node, len(kept)), make([]string, len(kept))
	for i, k := range kept {
		project[i] = in.rel.columnNode(in.at[k], ast.Pos{})
		names[i] = in.rel.columns[in.at[k]].name
	}
	return newCalc(in.rel, nil, project, names)
}

// pruneAggregate drops calls that nobody needs. Keys stay, and stay first.
func pruneAggregate(r, c *rel, needed []bool, in pruned) pruned {
	a := *r.aggregate
	c.aggregate, a.calls = &a, nil
	keep := slices.Clone(needed)
	for i := range a.keys {
		keep[i] = true
	}
	for i, k := range r.aggregate.calls {
		if !keep[a.keys+i] {
			continue
		}
		if k.Arg >= 0 {
			k.Arg = in.at[k.Arg]
		}
		if k.Filter >= 0 {
			k.Filter = in.at[k.Filter]
		}
		a.calls = append(a.calls, k)
	}
	at, _ := selectColumns(c, keep)
	return pruned{c, at}
}
