package expr

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

func (c *checker) arrayValue(e *ast.ArrayValue) (*Node, error) {
	args, err := c.checkAll(e.Items)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return nil, &ast.Error{Pos: e.Pos, Msg: "ARRAY[] has no element type", Hint: "write CAST(NULL AS ARRAY<type>) or give it an element"}
	}
	t, err := unify(args, "ARRAY")
	if err != nil {
		return nil, err
	}
	return &Node{Op: OpCall, Func: "ARRAY", Type: batch.ArrayOf(t).AsNotNull(), Args: args, Pos: e.Pos}, nil
}

func (c *checker) mapValue(e *ast.MapValue) (*Node, error) {
	args, err := c.checkAll(e.Items)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 || len(args)%2 != 0 {
		return nil, &ast.Error{Pos: e.Pos, Msg: "MAP[...] takes keys and values in turn, at least one pair"}
	}
	var parts [2][]*Node
	for i, a := range args {
		parts[i%2] = append(parts[i%2], a)
	}
	kt, err := unify(parts[0], "the keys of MAP")
	if err != nil {
		return nil, err
	}
	vt, err := unify(parts[1], "the values of MAP")
	if err != nil {
		return nil, err
	}
	for i := range args {
		args[i] = parts[i%2][i/2]
	}
	return &Node{Op: OpCall, Func: "MAP", Type: batch.MapOf(kt, vt).AsNotNull(), Args: args, Pos: e.Pos}, nil
}

func (c *checker) rowValue(e *ast.RowValue) (*Node, error) {
	args, err := c.checkAll(e.Items)
	if err != nil {
		return nil, err
	}
	fields := make([]batch.Field, len(args))
	for i, a := range args {
		fields[i] = batch.Field{Name: fmt.Sprintf("EXPR$%d", i), Type: a.Type}
	}
	return &Node{Op: OpCall, Func: "ROW", Type: batch.RowOf(fields...).AsNotNull(), Args: args, Pos: e.Pos}, nil
}

func (c *checker) index(e *ast.Index) (*Node, error) {
	args, err := c.checkAll([]ast.Expr{e.X, e.I})
	if err != nil {
		return nil, err
	}
	x, i := args[0], args[1]
	switch {
	case x.Type.ID == batch.Array && (i.Type.IsInteger() || i.Type.ID == batch.Null):
		i = retypeNull(i, batch.TypeInt)
	case x.Type.ID == batch.Map:
		var ok bool
		key := x.Type.Fields[0].Type
		if t, common := CommonType(key, i.Type); common && (t.ID == key.ID || key.IsString()) {
			i, ok = castTo(i, key), true
			if key.IsString() && i.Op == OpCast {
				i = i.Args[0]
			}
		}
		if !ok {
			return nil, &ast.Error{Pos: i.Pos, Msg: fmt.Sprintf("the keys of %s are %s; %s is %s", x, key.Nullable(), i, i.Type.Nullable())}
		}
	case x.Type.ID == batch.Array:
		return nil, &ast.Error{Pos: i.Pos, Msg: fmt.Sprintf("an array is indexed by a whole number from 1; %s is %s", i, i.Type.Nullable())}
	default:
		return nil, &ast.Error{Pos: e.Pos, Msg: fmt.Sprintf("only ARRAY and MAP are indexed; %s is %s", x, x.Type.Nullable())}
	}
	elem := x.Type.Fields[len(x.Type.Fields)-1].Type.Nullable()
	return &Node{Op: OpCall, Func: "INDEX", Type: elem, Args: []*Node{x, i}, Pos: e.Pos}, nil
}
