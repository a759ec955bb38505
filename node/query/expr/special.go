package expr

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

// specialForms are the functions that are not kernels over their arguments but other nodes, or whose arguments are converted
// to a common type. They are filled in init because they check calls themselves.
var specialForms map[string]func(name string, args []*Node, pos ast.Pos) (*Node, error)

func init() {
	specialForms = map[string]func(name string, args []*Node, pos ast.Pos) (*Node, error){
		"COALESCE": coalesce,
		"IFNULL":   coalesce,
		"NULLIF":   nullIf,
		"IF":       ifOf,
		"GREATEST": extreme,
		"LEAST":    extreme,
		"TYPEOF":   typeOf,
		"MOD":      modulo,
		"FLOOR":    roundTo,
		"CEIL":     roundTo,
		"CEILING":  roundTo,
		"ISNULL":   func(_ string, a []*Node, pos ast.Pos) (*Node, error) { return isOf("IS NULL", a, pos) },
	}
}

func wrongCount(name, takes string, args []*Node, pos ast.Pos) error {
	return &ast.Error{Pos: pos, Msg: fmt.Sprintf("%s takes (%s); it was given %s", name, takes, countOf(len(args)))}
}

func isOf(what string, args []*Node, pos ast.Pos) (*Node, error) {
	if len(args) != 1 {
		return nil, wrongCount("ISNULL", "ANY", args, pos)
	}
	return &Node{Op: OpCall, Func: what, Type: batch.TypeBoolean.AsNotNull(), Args: args, Pos: pos}, nil
}

func coalesce(name string, args []*Node, pos ast.Pos) (*Node, error) {
	if len(args) == 0 || name == "IFNULL" && len(args) != 2 {
		takes := "ANY..."
		if name == "IFNULL" {
			takes = "ANY, ANY"
		}
		return nil, wrongCount(name, takes, args, pos)
	}
	t, err := unify(args, name)
	if err != nil {
		return nil, err
	}
	if len(args) == 1 {
		return args[0], nil
	}
	for _, a := range args {
		t.NotNull = t.NotNull || a.Type.NotNull
	}
	return &Node{Op: OpCoalesce, Type: t, Args: args, Pos: pos}, nil
}

// nullIf is CASE WHEN a = b THEN NULL ELSE a END.
func nullIf(name string, args []*Node, pos ast.Pos) (*Node, error) {
	if len(args) != 2 {
		return nil, wrongCount(name, "ANY, ANY", args, pos)
	}
	eq, err := checkCompare("=", args[0], args[1], pos)
	if err != nil {
		return nil, err
	}
	t := args[0].Type.Nullable()
	return &Node{Op: OpCase, Type: t, Args: []*Node{eq, LiteralNode(NullValue(), t, pos), args[0]}, Pos: pos}, nil
}

func ifOf(name string, args []*Node, pos ast.Pos) (*Node, error) {
	if len(args) != 3 {
		return nil, wrongCount(name, "BOOLEAN, ANY, ANY", args, pos)
	}
	cond, err := boolean(args[0], "IF")
	if err != nil {
		return nil, err
	}
	n := &Node{Op: OpCase, Args: []*Node{cond, args[1], args[2]}, Pos: pos}
	return n, unifyCase(n, "IF")
}

func extreme(name string, args []*Node, pos ast.Pos) (*Node, error) {
	if len(args) == 0 {
		return nil, wrongCount(name, "ANY...", args, pos)
	}
	t, err := unify(args, name)
	if err != nil {
		return nil, err
	}
	if t.Kind() == batch.KindList || t.Kind() == batch.KindRow {
		return nil, &ast.Error{Pos: pos, Msg: name + " is not supported on " + t.Nullable().String()}
	}
	return &Node{Op: OpCall, Func: name + " OF", Type: t, Args: args, Pos: pos}, nil
}

var _ = builtin(
	FunctionDef{Name: "GREATEST OF", hidden: true, Takes: "ANY...", Returns: firstType, Build: extremeKernel(1)},
	FunctionDef{Name: "LEAST OF", hidden: true, Takes: "ANY...", Returns: firstType, Build: extremeKernel(-1)},
)

// extremeKernel picks the largest (want 1) or smallest (-1) argument; null when one is.
func extremeKernel(want int) func(n *Node) (Kernel, error) {
	return func(n *Node) (Kernel, error) {
		compare := comparer(n.Type.Kind())
		return func(x *Call, out *batch.Column, rows int) {
			truncate(out)
			for i := range rows {
				if out.IsNull(i) {
					out.AppendNull()
					continue
				}
				best := x.Args[0]
				for _, v := range x.Args[1:] {
					if compare(v.Column, v.At(i), best.Column, best.At(i)) == want {
						best = v
					}
				}
				out.AppendFrom(best.Column, best.At(i))
			}
		}, nil
	}
}

func typeOf(name string, args []*Node, pos ast.Pos) (*Node, error) {
	if len(args) != 1 {
		return nil, wrongCount(name, "ANY", args, pos)
	}
	return castTo(stringLiteral(args[0].Type.String(), pos), batch.TypeString), nil
}
