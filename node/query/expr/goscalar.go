package expr

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// Scalar is what a plain Go function may take and return: STRING, BIGINT, DOUBLE or BOOLEAN.
type Scalar interface {
	string | int64 | float64 | bool
}

// Func1 makes a scalar function of a Go function. It is not called where an argument is null: the result is null there. Its
// error fails the row. It must give the same result for the same arguments (else set NonDeterministic), and may run on
// several goroutines at once.
func Func1[A, R Scalar](name string, f func(a A) (R, error)) FunctionDef {
	a, put := getter[A](), putter[R]()
	return goFunction[R](name, scalarName[A](), func(x *Call, out *batch.Column, i int) {
		r, err := f(a(x.Args[0], i))
		if err != nil {
			x.Fail(i, "%v", err)
		}
		put(out, i, r)
	})
}

// Func2 is Func1 for two arguments.
func Func2[A, B, R Scalar](name string, f func(a A, b B) (R, error)) FunctionDef {
	a, b, put := getter[A](), getter[B](), putter[R]()
	return goFunction[R](name, scalarName[A]()+", "+scalarName[B](), func(x *Call, out *batch.Column, i int) {
		r, err := f(a(x.Args[0], i), b(x.Args[1], i))
		if err != nil {
			x.Fail(i, "%v", err)
		}
		put(out, i, r)
	})
}

// Func3 is Func1 for three arguments.
func Func3[A, B, C, R Scalar](name string, f func(a A, b B, c C) (R, error)) FunctionDef {
	a, b, c, put := getter[A](), getter[B](), getter[C](), putter[R]()
	return goFunction[R](name, scalarName[A]()+", "+scalarName[B]()+", "+scalarName[C](), func(x *Call, out *batch.Column, i int) {
		r, err := f(a(x.Args[0], i), b(x.Args[1], i), c(x.Args[2], i))
		if err != nil {
			x.Fail(i, "%v", err)
		}
		put(out, i, r)
	})
}

func goFunction[R Scalar](name, takes string, row func(x *Call, out *batch.Column, i int)) FunctionDef {
	result := scalarType[R]()
	text := result.IsString()
	return FunctionDef{Name: name, Takes: takes, Result: result, MayFail: true, Kernel: func(x *Call, out *batch.Column, n int) {
		if text {
			x.Rows(out, n, func(i int) { row(x, out, i) })
			return
		}
		for i := range n {
			if !out.IsNull(i) {
				row(x, out, i)
			}
		}
	}}
}

func scalarType[T Scalar]() batch.Type {
	var zero T
	switch any(zero).(type) {
	case string:
		return batch.TypeString
	case int64:
		return batch.TypeBigInt
	case float64:
		return batch.TypeDouble
	}
	return batch.TypeBoolean
}

func scalarName[T Scalar]() string {
	switch t := scalarType[T](); t.ID {
	case batch.BigInt:
		return "INT"
	default:
		return fmt.Sprint(t)
	}
}

func getter[T Scalar]() func(v Vec, i int) T {
	var f any
	switch scalarType[T]().ID {
	case batch.Varchar:
		f = func(v Vec, i int) string { return string(v.Text(i)) }
	case batch.BigInt:
		f = Vec.Int
	case batch.Double:
		f = Vec.Float
	default:
		f = Vec.Bool
	}
	return f.(func(v Vec, i int) T)
}

func putter[T Scalar]() func(out *batch.Column, i int, v T) {
	var f any
	switch scalarType[T]().ID {
	case batch.Varchar:
		f = func(out *batch.Column, i int, v string) { out.Data = append(out.Data, v...) }
	case batch.BigInt:
		f = func(out *batch.Column, i int, v int64) { out.Int64s[i] = v }
	case batch.Double:
		f = func(out *batch.Column, i int, v float64) { out.Float64s[i] = v }
	default:
		f = func(out *batch.Column, i int, v bool) { out.Bools[i] = v }
	}
	return f.(func(out *batch.Column, i int, v T))
}
