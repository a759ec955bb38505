package expr

import (
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

func checkConcat(l, r *Node, pos ast.Pos) (*Node, error) {
	if l.Type.ID == batch.Null {
		l = castTo(l, batch.TypeString)
	}
	if r.Type.ID == batch.Null {
		r = castTo(r, batch.TypeString)
	}
	lt, rt := l.Type, r.Type
	if !(lt.IsString() && rt.IsString()) && !(lt.ID == batch.Bytes && rt.ID == batch.Bytes) {
		return nil, operatorError("||", l, r, pos)
	}
	t := batch.Type{ID: batch.Varchar, Precision: batch.MaxLength}
	if n := lt.Precision + rt.Precision; n < batch.MaxLength {
		t.Precision = n
	}
	if lt.ID == batch.Bytes {
		t.ID = batch.Bytes
	} else if lt.ID == batch.Char && rt.ID == batch.Char {
		t.ID = batch.Char
	}
	t.NotNull = lt.NotNull && rt.NotNull
	return &Node{Op: OpCall, Func: "||", Type: t, Args: []*Node{l, r}, Pos: pos}, nil
}
