package expr

import (
	"slices"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

// The operations of a Node.
const (
	OpColumn   = "column"   // input column number Column
	OpLiteral  = "literal"  // the constant Literal
	OpCall     = "call"     // function or operator Func of Args; operators have their sign as name: "+", "=", "NOT", "IS NULL"
	OpCast     = "cast"     // Args[0] as Type; a value that has no such form fails its row
	OpTryCast  = "try_cast" // Args[0] as Type, NULL where it has no such form
	OpCase     = "case"     // Args: condition, value, condition, value, ..., else value
	OpAnd      = "and"      // all of Args
	OpOr       = "or"       // any of Args
	OpCoalesce = "coalesce" // the first of Args that is not null
	OpField    = "field"    // field number Column of the ROW Args[0]
)

// Node is a typed expression: plain data, JSON-serializable, part of the compiled plan. Nodes are immutable once built and
// may share parts.
type Node struct {
	Op      string     `json:"op"`
	Type    batch.Type `json:"type"`
	Column  int        `json:"column,omitempty"`  // OpColumn, OpField
	Name    string     `json:"name,omitempty"`    // OpColumn, OpField: the name it had in the text, for printing only
	Func    string     `json:"func,omitempty"`    // OpCall: canonical upper-case name
	Args    []*Node    `json:"args,omitempty"`    //
	Literal *Value     `json:"literal,omitempty"` // OpLiteral: a constant of Type, NULL included
	Site    int        `json:"site,omitempty"`    // call site of a random function; the planner numbers them
	Pos     ast.Pos    `json:"pos"`
}

// ColumnNode is a reference to input column index.
func ColumnNode(index int, name string, t batch.Type, pos ast.Pos) *Node {
	return &Node{Op: OpColumn, Type: t, Column: index, Name: name, Pos: pos}
}

// LiteralNode is a constant of type t.
func LiteralNode(v *Value, t batch.Type, pos ast.Pos) *Node {
	t.NotNull = !v.Null
	return &Node{Op: OpLiteral, Type: t, Literal: v, Pos: pos}
}

// IsRandom says whether n itself is a function that gives another value at each call site: the planner numbers these by Site.
func (n *Node) IsRandom() bool {
	def, ok := lookup(n.Func)
	return n.Op == OpCall && ok && def.random
}

// Walk calls f for n and all below it, parents first.
func Walk(n *Node, f func(*Node)) {
	if n == nil {
		return
	}
	f(n)
	for _, a := range n.Args {
		Walk(a, f)
	}
}

// Remap returns n with every column number c replaced by f(c). n is unchanged.
func (n *Node) Remap(f func(int) int) *Node {
	c := *n
	if n.Op == OpColumn {
		c.Column = f(n.Column)
	}
	c.Args = make([]*Node, len(n.Args))
	for i, a := range n.Args {
		c.Args[i] = a.Remap(f)
	}
	if len(n.Args) == 0 {
		c.Args = nil
	}
	return &c
}

// Equal says whether a and b compute the same: positions and names of columns aside.
func Equal(a, b *Node) bool {
	return a.Op == b.Op && a.Type.Equal(b.Type) && a.Column == b.Column && a.Func == b.Func && a.Site == b.Site &&
		a.Literal.Equal(b.Literal) && slices.EqualFunc(a.Args, b.Args, Equal)
}

// key is text that two nodes share exactly when they are Equal.
func (n *Node) key(dst []byte) []byte {
	dst = append(append(dst, n.Op...), ' ')
	dst = append(dst, n.Type.Nullable().String()...)
	dst = append(append(strconv.AppendInt(append(dst, ' '), int64(n.Column), 10), n.Func...), '#')
	dst = strconv.AppendInt(dst, int64(n.Site), 10)
	if n.Literal != nil {
		dst = append(dst, n.Literal.text(n.Type)...)
		if n.Type.Kind() == batch.KindList || n.Type.Kind() == batch.KindRow {
			dst = append(dst, n.Literal.listKey()...)
		}
	}
	for _, a := range n.Args {
		dst = append(a.key(append(dst, '(')), ')')
	}
	return dst
}

func (v *Value) listKey() string {
	var b strings.Builder
	for i := range v.List {
		e := &v.List[i]
		b.WriteString(strconv.Quote(string(e.Bytes)))
		b.WriteString(strconv.FormatBool(e.Null))
		b.WriteString("[" + e.listKey() + "]")
	}
	return b.String()
}

// String is n as SQL-like text: the same for equal nodes with the same names.
func (n *Node) String() string { return string(n.text(nil, 0)) }

// Binding strengths, weakest first.
const (
	bindOr = iota + 1
	bindAnd
	bindNot
	bindCompare
	bindAdd
	bindMultiply
	bindUnary
)

var infixBinding = map[string]int{"=": bindCompare, "<>": bindCompare, "<": bindCompare, "<=": bindCompare, ">": bindCompare,
	">=": bindCompare, "LIKE": bindCompare, "SIMILAR TO": bindCompare, "IS DISTINCT FROM": bindCompare,
	"IS NOT DISTINCT FROM": bindCompare, "+": bindAdd, "-": bindAdd, "||": bindAdd, "*": bindMultiply, "/": bindMultiply, "%": bindMultiply}

func (n *Node) text(dst []byte, outer int) []byte {
	switch n.Op {
	case OpColumn:
		if n.Name == "" {
			return strconv.AppendInt(append(dst, '$'), int64(n.Column), 10)
		}
		return append(dst, n.Name...)
	case OpLiteral:
		return append(dst, n.Literal.text(n.Type)...)
	case OpCast:
		return append(append(append(n.Args[0].text(append(dst, "CAST("...), 0), " AS "...), n.Type.Nullable().String()...), ')')
	case OpTryCast:
		return append(append(append(n.Args[0].text(append(dst, "TRY_CAST("...), 0), " AS "...), n.Type.Nullable().String()...), ')')
	case OpCase:
		return n.caseText(dst)
	case OpAnd:
		return n.joined(dst, " AND ", bindAnd, outer)
	case OpOr:
		return n.joined(dst, " OR ", bindOr, outer)
	case OpCoalesce:
		return n.argList(append(dst, "COALESCE"...), n.Args)
	case OpField:
		return append(append(n.Args[0].text(dst, bindUnary+1), '.'), n.Name...)
	}
	return n.callText(dst, outer)
}

func (n *Node) callText(dst []byte, outer int) []byte {
	if b, ok := infixBinding[n.Func]; ok && len(n.Args) == 2 {
		return n.joined(dst, " "+n.Func+" ", b, outer)
	}
	if n.Func == "PLUS INTERVAL" {
		return n.joined(dst, " + ", bindAdd, outer)
	}
	switch n.Func {
	case "NOT":
		return parenthesize(dst, outer > bindNot, func(d []byte) []byte { return n.Args[0].text(append(d, "NOT "...), bindNot) })
	case "NEGATE":
		return parenthesize(dst, outer > bindUnary, func(d []byte) []byte { return n.Args[0].text(append(d, '-'), bindUnary+1) })
	case "IS NULL", "IS NOT NULL", "IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE":
		return parenthesize(dst, outer >= bindCompare, func(d []byte) []byte {
			return append(append(n.Args[0].text(d, bindCompare+1), ' '), n.Func...)
		})
	case "INDEX":
		return append(n.Args[1].text(append(n.Args[0].text(dst, bindUnary+1), '['), 0), ']')
	case "IN":
		return parenthesize(dst, outer >= bindCompare, func(d []byte) []byte {
			return n.argList(append(n.Args[0].text(d, bindCompare+1), " IN "...), n.Args[1:])
		})
	}
	if strings.HasSuffix(n.Func, " TO") && len(n.Args) == 2 && n.Args[1].Op == OpLiteral {
		dst = n.Args[0].text(append(append(dst, strings.TrimSuffix(n.Func, " TO")...), '('), 0)
		return append(append(append(dst, " TO "...), n.Args[1].Literal.Bytes...), ')')
	}
	if n.Func == "ARRAY" || n.Func == "MAP" {
		dst = n.argList(append(dst, n.Func...), n.Args)
		dst[len(dst)-1] = ']'
		return dst
	}
	return n.argList(append(dst, strings.TrimSuffix(n.Func, " OF")...), n.Args)
}

func (n *Node) caseText(dst []byte) []byte {
	dst = append(dst, "CASE"...)
	last := len(n.Args) - 1
	for i := 0; i < last; i += 2 {
		dst = n.Args[i].text(append(dst, " WHEN "...), 0)
		dst = n.Args[i+1].text(append(dst, " THEN "...), 0)
	}
	return append(n.Args[last].text(append(dst, " ELSE "...), 0), " END"...)
}

func (n *Node) argList(dst []byte, args []*Node) []byte {
	open := byte('(')
	if n.Func == "ARRAY" || n.Func == "MAP" {
		open = '['
	}
	dst = append(dst, open)
	for i, a := range args {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = a.text(dst, 0)
	}
	return append(dst, ')')
}

func (n *Node) joined(dst []byte, sign string, bind, outer int) []byte {
	return parenthesize(dst, outer >= bind, func(d []byte) []byte {
		for i, a := range n.Args {
			inner := bind
			if i == 0 && bind != bindCompare {
				inner = bind - 1 // left-associative
			} else if i > 0 {
				d = append(d, sign...)
			}
			d = a.text(d, inner)
		}
		return d
	})
}

func parenthesize(dst []byte, yes bool, f func([]byte) []byte) []byte {
	if !yes {
		return f(dst)
	}
	return append(f(append(dst, '(')), ')')
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
