package expr

import (
	"fmt"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// MaxValueBytes is the longest text, byte string or array that a function may make out of one row; a longer one fails the row.
	MaxValueBytes = 64 << 20
	// maxColumnBytes bounds the values of one expression over one batch: offsets into a column are 32 bits wide.
	maxColumnBytes = 2 << 30

	tooMuch = "the values of one batch exceed 2 GiB; make the values shorter or the source's epochs smaller"
)

// Env is what shapes the functions that are not functions of columns alone. All of it is deterministic. A nil Env is the
// zero one: epoch 0, time 1970-01-01, UTC, one key group.
type Env struct {
	// TimeMs is time(e) of the epoch, in ms since the Unix epoch: NOW(), CURRENT_TIMESTAMP, PROCTIME() and the like.
	TimeMs int64
	Epoch  int64
	Seed   uint64
	// Rows Offsets[i]..Offsets[i+1] of the batch belong to key group Groups[i], and the first of them is row Base[i] of that key
	// group's stream in this epoch. RAND(), RAND_INTEGER() and UUID() are hashes of (Seed, Site, key group, Epoch, row in the stream).
	Groups  []topology.KeyGroup
	Offsets []uint32
	Base    []uint32
	// Zone is the session's time zone, 'table.local-time-zone'; nil is UTC.
	Zone *time.Location
}

func (e *Env) zone() *time.Location {
	if e.Zone == nil {
		return time.UTC
	}
	return e.Zone
}

// RowError is a value that could not be computed: in which row of the batch, and why. Err is an *ast.Error at the place of
// the failing expression.
type RowError struct {
	Row int
	Err error
}

func (e *RowError) Error() string { return fmt.Sprintf("row %d: %v", e.Row, e.Err) }

// Unwrap gives Err.
func (e *RowError) Unwrap() error { return e.Err }

// Vec is an argument of a kernel: a column, or one value that stands for every row. Index its slices by At(i).
type Vec struct {
	*batch.Column
	mask int // -1 for a column, 0 for one value
}

// At is the index of row i in the column's slices.
func (v Vec) At(i int) int { return i & v.mask }

// Const says that the argument has one value for all rows.
func (v Vec) Const() bool { return v.mask == 0 }

// Int is the value of row i of KindInt64.
func (v Vec) Int(i int) int64 { return v.Int64s[i&v.mask] }

// Float is the value of row i of KindFloat64.
func (v Vec) Float(i int) float64 { return v.Float64s[i&v.mask] }

// Bool is the value of row i of KindBool.
func (v Vec) Bool(i int) bool { return v.Bools[i&v.mask] }

// Dec is the unscaled value of row i of KindDecimal.
func (v Vec) Dec(i int) batch.Dec { return v.Decs[i&v.mask] }

// Text is the value of row i of KindBytes, valid during the call.
func (v Vec) Text(i int) []byte { return v.Bytes(i & v.mask) }

// Null says whether row i is null.
func (v Vec) Null(i int) bool { return v.IsNull(i & v.mask) }

// frame is the rows that one branch of an expression is evaluated over: a whole batch, or those rows of it that take the
// branch, with the columns it needs gathered.
type frame struct {
	n    int
	cols []*batch.Column
	rows []uint32 // row i of the frame is row rows[i] of the batch; nil: the same
	prog *Program
	gen  uint64 // tells one evaluation over one frame from the next
}

func (f *frame) row(i int) int {
	if f.rows == nil {
		return i
	}
	return int(f.rows[i])
}

// operator computes one node for all rows of a frame. The result is valid until the operator's next eval.
type operator interface {
	eval(f *frame) Vec
}

// Program is a compiled expression with its working memory. Not safe for concurrent use: one per worker.
type Program struct {
	root  operator
	node  *Node
	env   *Env
	top   frame
	gen   uint64
	fail  *RowError
	whole *batch.Column // the result when root gave one value
}

var emptyEnv Env

// Compile makes a program of n. Errors name constants that cannot work, such as a malformed regular expression.
func Compile(n *Node) (*Program, error) {
	p := &Program{node: n}
	c := compiler{prog: p}
	root, err := c.compile(n, newScope())
	if err != nil {
		return nil, err
	}
	p.root, p.whole = root, batch.NewColumn(n.Type)
	return p, nil
}

// Type is the type of the program's results.
func (p *Program) Type() batch.Type { return p.node.Type }

// Eval computes the expression for every row of in. The result has in.Len() rows, belongs to the program and is valid until
// its next Eval or Filter; it may alias a column of in. The error is a *RowError: the first row, in order, that failed.
func (p *Program) Eval(in *batch.Batch, env *Env) (*batch.Column, error) {
	v, err := p.run(in, env)
	if err != nil {
		return nil, err
	}
	if v.Column != nil && !v.Const() {
		return v.Column, nil
	}
	p.whole.Reset()
	if in.Len() == 0 {
		return p.whole, nil
	}
	if each := v.MemBytes(); each > 64 && each > maxColumnBytes/in.Len() {
		p.top.record(0, p.node, tooMuch, "")
		return nil, p.fail
	}
	spread(p.whole, v, in.Len())
	return p.whole, nil
}

// Filter appends to dst the indices of the rows for which a BOOLEAN program is true. The error is a *RowError.
func (p *Program) Filter(dst []uint32, in *batch.Batch, env *Env) ([]uint32, error) {
	v, err := p.run(in, env)
	n := in.Len()
	if err != nil || n == 0 {
		return dst, err
	}
	if p.node.Type.Kind() != batch.KindBool {
		return dst, fmt.Errorf("filter %s is %s, not BOOLEAN", p.node, p.node.Type)
	}
	from := len(dst)
	if v.Const() && !v.Bools[0] {
		return dst, nil
	}
	dst = growIndex(dst, n)
	if v.Const() {
		for i := range n {
			dst[from+i] = uint32(i)
		}
		return dst, nil
	}
	return dst[:from+appendTrue(dst[from:], v.Bools[:n])], nil
}

// appendTrue writes the indices of the true ones to dst, which has room for all, and says how many. A null row holds false.
func appendTrue(dst []uint32, bools []bool) int {
	k := 0
	for i, b := range bools {
		dst[k] = uint32(i)
		if b {
			k++
		}
	}
	return k
}

func growIndex(s []uint32, n int) []uint32 {
	if need := len(s) + n; cap(s) < need {
		grown := make([]uint32, len(s), need+need/4)
		copy(grown, s)
		s = grown
	}
	return s[:len(s)+n]
}

func (p *Program) run(in *batch.Batch, env *Env) (Vec, error) {
	if in.Len() == 0 {
		return Vec{}, nil
	}
	if env == nil {
		env = &emptyEnv
	}
	p.env, p.fail = env, nil
	f := &p.top
	f.n, f.prog, f.rows = in.Len(), p, nil
	f.cols = f.cols[:0]
	for i := range in.Cols {
		f.cols = append(f.cols, &in.Cols[i])
	}
	p.gen++
	f.gen = p.gen
	v := p.root.eval(f)
	p.env = nil
	if p.fail != nil {
		return Vec{}, p.fail
	}
	return v, nil
}

// record keeps the failure of the lowest row; among those of one row the first that was met.
func (f *frame) record(i int, n *Node, msg, hint string) {
	f.prog.fail = &RowError{Row: f.row(i), Err: &ast.Error{Pos: n.Pos, Msg: n.String() + ": " + msg, Hint: hint}}
}

// firstSoFar says whether a failure of row i would be the one that is reported.
func (f *frame) firstSoFar(i int) bool { return f.prog.fail == nil || f.row(i) < f.prog.fail.Row }

// spread makes n rows of the one value v.
func spread(out *batch.Column, v Vec, n int) {
	out.Reset()
	if v.Null(0) {
		for range n {
			out.AppendNull()
		}
		return
	}
	switch out.Kind() {
	case batch.KindInt64:
		out.Resize(n)
		fill(out.Int64s, v.Int64s[0])
	case batch.KindFloat64:
		out.Resize(n)
		fill(out.Float64s, v.Float64s[0])
	case batch.KindBool:
		out.Resize(n)
		fill(out.Bools, v.Bools[0])
	case batch.KindDecimal:
		out.Resize(n)
		fill(out.Decs, v.Decs[0])
	default:
		for range n {
			out.AppendFrom(v.Column, 0)
		}
	}
}

func fill[T any](s []T, v T) {
	for i := range s {
		s[i] = v
	}
}

// compiler builds operators. Within one scope, that is among what is evaluated over the same frame, equal nodes share one.
type compiler struct{ prog *Program }

type scope struct{ shared map[string]*sharedOp }

func newScope() *scope { return &scope{map[string]*sharedOp{}} }

// sharedOp evaluates once per frame.
type sharedOp struct {
	op  operator
	gen uint64
	v   Vec
}

func (s *sharedOp) eval(f *frame) Vec {
	if s.gen != f.gen {
		s.v, s.gen = s.op.eval(f), f.gen
	}
	return s.v
}

func (c *compiler) compile(n *Node, s *scope) (operator, error) {
	switch n.Op {
	case OpColumn:
		return columnOp(n.Column), nil
	case OpLiteral:
		op := &literalOp{batch.NewColumn(n.Type)}
		n.Literal.Append(op.col)
		return op, nil
	}
	key := string(n.key(nil))
	if op := s.shared[key]; op != nil {
		return op, nil
	}
	op, err := c.compileNode(n, s)
	if err != nil {
		return nil, err
	}
	shared := &sharedOp{op: op}
	s.shared[key] = shared
	return shared, nil
}

func (c *compiler) compileNode(n *Node, s *scope) (operator, error) {
	switch n.Op {
	case OpCast, OpTryCast:
		if sameForm(n.Args[0].Type, n.Type) {
			x, err := c.compile(n.Args[0], s)
			return &retypeOp{x: x, t: n.Type}, err
		}
		return c.compileCall(n, s)
	case OpCall:
		return c.compileCall(n, s)
	case OpAnd, OpOr:
		return c.compileLogic(n, s)
	case OpCase:
		return c.compileCase(n, s)
	case OpCoalesce:
		return c.compileCoalesce(n, s)
	case OpField:
		x, err := c.compile(n.Args[0], s)
		if err != nil {
			return nil, err
		}
		return &fieldOp{x: x, field: n.Column}, nil
	}
	return nil, fmt.Errorf("expression operation %q is not supported", n.Op)
}

type columnOp int

func (o columnOp) eval(f *frame) Vec { return Vec{f.cols[o], -1} }

type literalOp struct{ col *batch.Column }

func (o *literalOp) eval(*frame) Vec { return Vec{o.col, 0} }

// fieldOp is a field of a ROW: the child column, whose rows are null where the ROW is.
type fieldOp struct {
	x     operator
	field int
}

func (o *fieldOp) eval(f *frame) Vec {
	v := o.x.eval(f)
	return Vec{v.Children[o.field], v.mask}
}
