package expr

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
)

var _ = builtin(
	FunctionDef{Name: "ARRAY", hidden: true, Takes: "ANY...", Returns: firstType, CallsOnNull: true, Kernel: arrayKernel},
	FunctionDef{Name: "MAP", hidden: true, Takes: "ANY...", Returns: firstType, CallsOnNull: true, Kernel: mapKernel},
	FunctionDef{Name: "ROW", hidden: true, Takes: "[ANY...]", Returns: firstType, CallsOnNull: true, Kernel: rowKernel},
	FunctionDef{Name: "INDEX", hidden: true, Takes: "ARRAY|MAP, ANY", Returns: firstType, MayBeNull: true, Build: indexKernel},
	FunctionDef{Name: "CARDINALITY", Takes: "ARRAY|MAP", Result: batch.TypeInt, Kernel: func(x *Call, out *batch.Column, n int) {
		for i := range n {
			from, to := x.Args[0].Range(x.Args[0].At(i))
			out.Int64s[i] = int64(to - from)
		}
	}},
	FunctionDef{Name: "ELEMENT", Takes: "ARRAY", Returns: elementType, MayBeNull: true, MayFail: true, Kernel: elementKernel},
	FunctionDef{Name: "ARRAY_CONTAINS", Takes: "ARRAY, ANY", Check: needleOfArray, Result: batch.TypeBoolean, CallsOnNull: true, Build: arrayContains},
	FunctionDef{Name: "ARRAY_POSITION", Takes: "ARRAY, ANY", Check: needleOfArray, Result: batch.TypeInt, Build: arrayPosition},
	FunctionDef{Name: "ARRAY_JOIN", Takes: "ARRAY, STRING[, STRING]", Check: textArray, Result: batch.TypeString, Kernel: textKernel(arrayJoin)},
	FunctionDef{Name: "ARRAY_DISTINCT", Takes: "ARRAY", Returns: firstType, Kernel: arrayDistinct},
	FunctionDef{Name: "ARRAY_REVERSE", Takes: "ARRAY", Returns: firstType, Kernel: arrayReverse},
	FunctionDef{Name: "ARRAY_SLICE", Takes: "ARRAY, INT[, INT]", Returns: firstType, Kernel: arraySlice},
	FunctionDef{Name: "MAP_KEYS", Takes: "MAP", Returns: func(args []*Node) (batch.Type, error) {
		return batch.ArrayOf(args[0].Type.Fields[0].Type), nil
	}, Kernel: mapPart(0)},
	FunctionDef{Name: "MAP_VALUES", Takes: "MAP", Returns: func(args []*Node) (batch.Type, error) {
		return batch.ArrayOf(args[0].Type.Fields[1].Type), nil
	}, Kernel: mapPart(1)},
	FunctionDef{Name: "MAP_ENTRIES", Takes: "MAP", Returns: func(args []*Node) (batch.Type, error) {
		f := args[0].Type.Fields
		return batch.ArrayOf(batch.RowOf(batch.Field{Name: "key", Type: f[0].Type}, batch.Field{Name: "value", Type: f[1].Type})), nil
	}, Kernel: mapEntries},
)

func elementType(args []*Node) (batch.Type, error) {
	return args[0].Type.Fields[0].Type.Nullable(), nil
}

// needleOfArray brings the second argument to the type of the array's elements.
func needleOfArray(args []*Node) error {
	elem := args[0].Type.Fields[0].Type
	t, ok := CommonType(elem, args[1].Type)
	if elem.ID == batch.Null {
		t, ok = args[1].Type, true
		args[0] = castTo(args[0], batch.ArrayOf(t))
	}
	if !ok {
		return fmt.Errorf("the elements of %s are %s; %s is %s", args[0], elem.Nullable(), args[1], args[1].Type.Nullable())
	}
	if !t.Equal(elem) {
		args[0] = castTo(args[0], batch.ArrayOf(t))
	}
	args[1] = castTo(args[1], t)
	return nil
}

func textArray(args []*Node) error {
	e := args[0].Type.Fields[0].Type
	if !e.IsString() && e.ID != batch.Null {
		return fmt.Errorf("ARRAY_JOIN joins texts; %s is %s", args[0], args[0].Type.Nullable())
	}
	return nil
}

func arrayKernel(x *Call, out *batch.Column, n int) {
	elem := out.Children[0]
	x.Rows(out, n, func(i int) {
		for _, a := range x.Args {
			elem.AppendFrom(a.Column, a.At(i))
		}
	})
}

// mapKernel builds a map of keys and values in turn; of equal keys the last value counts, at the first one's place.
func mapKernel(x *Call, out *batch.Column, n int) {
	keys, values := out.Children[0], out.Children[1]
	same := comparer(keys.Kind())
	x.Rows(out, n, func(i int) {
		for k := 0; k < len(x.Args); k += 2 {
			last, earlier := k, false
			for j := 0; j < len(x.Args); j += 2 {
				a, b := x.Args[k], x.Args[j]
				if an, bn := a.Null(i), b.Null(i); an && bn || !an && !bn && same(a.Column, a.At(i), b.Column, b.At(i)) == 0 {
					earlier = earlier || j < k
					last = max(last, j)
				}
			}
			if earlier {
				continue
			}
			keys.AppendFrom(x.Args[k].Column, x.Args[k].At(i))
			values.AppendFrom(x.Args[last+1].Column, x.Args[last+1].At(i))
		}
	})
}

func rowKernel(x *Call, out *batch.Column, n int) {
	x.Rows(out, n, func(i int) {
		for k, a := range x.Args {
			out.Children[k].AppendFrom(a.Column, a.At(i))
		}
	})
}

// appendOrNull appends row i of src to any out whose rows are appended: of fixed width after truncate, or variable.
func appendOrNull(out, src *batch.Column, i int, ok bool) {
	if ok {
		out.AppendFrom(src, i)
	} else {
		out.AppendNull()
	}
}

// indexKernel is a[i], counting from 1, and m[k]; null where there is no such element.
func indexKernel(n *Node) (Kernel, error) {
	isMap := n.Args[0].Type.ID == batch.Map
	same := comparer(n.Args[1].Type.Kind())
	return func(x *Call, out *batch.Column, rows int) {
		a, key := x.Args[0], x.Args[1]
		truncate(out)
		for i := range rows {
			if out.IsNull(i) {
				out.AppendNull()
				continue
			}
			from, to := a.Range(a.At(i))
			at := -1
			if !isMap {
				if k := key.Int(i); k >= 1 && k <= int64(to-from) {
					at = from + int(k) - 1
				}
			} else {
				for k := from; k < to && at < 0; k++ {
					if !a.Children[0].IsNull(k) && same(a.Children[0], k, key.Column, key.At(i)) == 0 {
						at = k
					}
				}
			}
			appendOrNull(out, a.Children[len(a.Children)-1], at, at >= 0)
		}
	}, nil
}

// elementKernel is the only element of an array; null for an empty one.
func elementKernel(x *Call, out *batch.Column, n int) {
	a := x.Args[0]
	truncate(out)
	for i := range n {
		if out.IsNull(i) {
			out.AppendNull()
			continue
		}
		from, to := a.Range(a.At(i))
		if to-from > 1 {
			x.Fail(i, "the array has %d elements, not one", to-from)
		}
		appendOrNull(out, a.Children[0], from, to-from == 1)
	}
}

// positionIn is where the value of needle's row i stands in the array of row i, from 1; 0 when it is not in it.
func positionIn(a, needle Vec, i int, same func(*batch.Column, int, *batch.Column, int) int) int64 {
	from, to := a.Range(a.At(i))
	elem, null := a.Children[0], needle.Null(i)
	for k := from; k < to; k++ {
		if elem.IsNull(k) != null {
			continue
		}
		if null || same(elem, k, needle.Column, needle.At(i)) == 0 {
			return int64(k-from) + 1
		}
	}
	return 0
}

func arrayContains(n *Node) (Kernel, error) {
	same := comparer(n.Args[1].Type.Kind())
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			if x.Args[0].Null(i) {
				out.SetNull(i)
				out.Bools[i] = false
				continue
			}
			out.Bools[i] = positionIn(x.Args[0], x.Args[1], i, same) > 0
		}
	}, nil
}

func arrayPosition(n *Node) (Kernel, error) {
	same := comparer(n.Args[1].Type.Kind())
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			out.Int64s[i] = 0
			if !out.IsNull(i) {
				out.Int64s[i] = positionIn(x.Args[0], x.Args[1], i, same)
			}
		}
	}, nil
}

func arrayJoin(x *Call, dst []byte, i int) []byte {
	from, to := x.Args[0].Range(x.Args[0].At(i))
	elem := x.Args[0].Children[0]
	first := true
	for k := from; k < to; k++ {
		if elem.IsNull(k) && len(x.Args) < 3 {
			continue
		}
		if !first {
			dst = append(dst, x.Args[1].Text(i)...)
		}
		first = false
		if elem.IsNull(k) {
			dst = append(dst, x.Args[2].Text(i)...)
		} else {
			dst = append(dst, elem.Bytes(k)...)
		}
	}
	return dst
}

// arrayDistinct keeps the first of equal elements.
func arrayDistinct(x *Call, out *batch.Column, n int) {
	a, elem := x.Args[0], x.Args[0].Children[0]
	var seen map[string]struct{}
	var key []byte
	x.Rows(out, n, func(i int) {
		seen = map[string]struct{}{}
		from, to := a.Range(a.At(i))
		for k := from; k < to; k++ {
			key = batch.AppendKeyColumn(key[:0], elem, k, true)
			if _, dup := seen[string(key)]; !dup {
				seen[string(key)] = struct{}{}
				out.Children[0].AppendFrom(elem, k)
			}
		}
	})
}

func arrayReverse(x *Call, out *batch.Column, n int) {
	a := x.Args[0]
	x.Rows(out, n, func(i int) {
		from, to := a.Range(a.At(i))
		for k := to - 1; k >= from; k-- {
			out.Children[0].AppendFrom(a.Children[0], k)
		}
	})
}

// arraySlice counts from 1, or from the end when negative; both ends belong to the slice.
func arraySlice(x *Call, out *batch.Column, n int) {
	a := x.Args[0]
	x.Rows(out, n, func(i int) {
		from, to := a.Range(a.At(i))
		size := int64(to - from)
		place := func(v int64) int64 {
			if v < 0 {
				return v + size + 1
			}
			return v
		}
		lo, hi := place(x.Args[1].Int(i)), size
		if len(x.Args) > 2 {
			hi = min(size, place(x.Args[2].Int(i)))
		}
		lo = max(lo, 1)
		if lo <= hi {
			out.Children[0].AppendRange(a.Children[0], from+int(lo)-1, from+int(hi))
		}
	})
}

func mapPart(part int) Kernel {
	return func(x *Call, out *batch.Column, n int) {
		a := x.Args[0]
		x.Rows(out, n, func(i int) {
			from, to := a.Range(a.At(i))
			out.Children[0].AppendRange(a.Children[part], from, to)
		})
	}
}

func mapEntries(x *Call, out *batch.Column, n int) {
	a, row := x.Args[0], out.Children[0]
	x.Rows(out, n, func(i int) {
		from, to := a.Range(a.At(i))
		for k := from; k < to; k++ {
			row.Children[0].AppendFrom(a.Children[0], k)
			row.Children[1].AppendFrom(a.Children[1], k)
			row.CloseRow()
		}
	})
}
