package expr

import (
	"errors"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// IsConstant says whether n has one value whatever the row, the epoch and the session.
func IsConstant(n *Node) bool {
	constant := true
	Walk(n, func(m *Node) {
		switch m.Op {
		case OpColumn:
			constant = false
		case OpCall:
			def, ok := lookup(m.Func)
			if !ok || def.fromEnv || def.perRow || def.NonDeterministic {
				constant = false
			}
		case OpCast, OpTryCast:
			if zoned(m.Type) != zoned(m.Args[0].Type) {
				constant = false // needs the session's time zone
			}
		}
	})
	return constant
}

func zoned(t batch.Type) bool {
	if t.ID == batch.TimestampLTZ {
		return true
	}
	for _, f := range t.Fields {
		if zoned(f.Type) {
			return true
		}
	}
	return false
}

// Fold computes the constant parts of n. What fails, such as 1/0, is left as it is: it fails at run time, and only the rows
// that need it. The error is of a constant that can never work, such as a malformed pattern.
func Fold(n *Node) (*Node, error) {
	if n.Op == OpLiteral || n.Op == OpColumn {
		return n, nil
	}
	if IsConstant(n) {
		return foldConstant(n)
	}
	c := *n
	c.Args = make([]*Node, len(n.Args))
	for i, a := range n.Args {
		var err error
		if c.Args[i], err = Fold(a); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// maxFolded is the largest value, in bytes, that a plan holds instead of the expression that makes it.
const maxFolded = 64 << 10

var oneRow = func() *batch.Batch {
	b := batch.New(batch.NewSchema())
	b.SetLen(1)
	return b
}()

func foldConstant(n *Node) (*Node, error) {
	p, err := Compile(n)
	if err != nil {
		return nil, err
	}
	col, err := p.Eval(oneRow, nil)
	var failed *RowError
	if errors.As(err, &failed) || err == nil && col.MemBytes() > maxFolded {
		return n, nil
	}
	if err != nil {
		return nil, err
	}
	lit := LiteralNode(ValueAt(col, 0), n.Type, n.Pos)
	if col.IsNull(0) {
		lit.Type.NotNull = false
	}
	return lit, nil
}
