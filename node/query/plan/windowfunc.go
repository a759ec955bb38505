package plan

import (
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
)

// tumbleFunction (ts, size, offset, shift) is the start of the tumbling window that ts is in, plus shift, all in milliseconds. No text
// can name it.
const tumbleFunction = "$TUMBLE"

func init() {
	err := expr.Register(expr.FunctionDef{
		Name: tumbleFunction, Takes: "DATETIME, INT, INT, INT", CallsOnNull: true, MayFail: true,
		Returns: func(args []*expr.Node) (batch.Type, error) { return args[0].Type, nil },
		Kernel:  tumbleKernel,
	})
	if err != nil {
		panic(err)
	}
}

func tumbleKernel(x *expr.Call, out *batch.Column, n int) {
	ts, size, offset, shift := x.Args[0], x.Args[1].Int(0), x.Args[2].Int(0), x.Args[3].Int(0)
	for i := range n {
		if ts.Null(i) {
			x.Fail(i, "the time of a row is NULL; leave such rows out with WHERE ... IS NOT NULL before the window")
			out.Int64s[i] = 0
			continue
		}
		v := ts.Int(i)
		into := (v - offset) % size
		if into < 0 {
			into += size
		}
		out.Int64s[i] = v - into + shift
	}
}
