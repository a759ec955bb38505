package expr

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// TableFunction makes rows out of the arguments of one row. One per worker: it may keep working memory, but nothing from one
// call to the next that shapes rows.
type TableFunction interface {
	// Call appends the rows produced for row i of args to out, as inserts, and says how many. out's columns are those that Check gave.
	Call(args []*batch.Column, i int, out *batch.Batch) (int, error)
}

// TableFunctionDef is a function that may stand in FROM: LATERAL TABLE(f(x)) AS t(c), or UNNEST(x).
type TableFunctionDef struct {
	Name string
	// Check gives the columns produced for arguments of these types, or an error for a person.
	Check func(args []batch.Type) (columns []batch.Field, err error)
	// New makes one that is called with arguments of these types.
	New func(args []batch.Type) (TableFunction, error)
}

var tableFunctions = struct {
	sync.RWMutex
	byName map[string]TableFunctionDef
}{byName: map[string]TableFunctionDef{}}

// RegisterTableFunction adds a table function. It is an error when the name is taken or the definition is not complete.
func RegisterTableFunction(def TableFunctionDef) error {
	def.Name = strings.ToUpper(def.Name)
	if def.Name == "" || def.Check == nil || def.New == nil {
		return fmt.Errorf("table function %q: a name, Check and New are needed", def.Name)
	}
	tableFunctions.Lock()
	defer tableFunctions.Unlock()
	if _, taken := tableFunctions.byName[def.Name]; taken {
		return fmt.Errorf("table function %s is already there", def.Name)
	}
	tableFunctions.byName[def.Name] = def
	return nil
}

// LookupTableFunction finds a table function by name, without regard to case.
func LookupTableFunction(name string) (TableFunctionDef, bool) {
	tableFunctions.RLock()
	defer tableFunctions.RUnlock()
	d, ok := tableFunctions.byName[strings.ToUpper(name)]
	return d, ok
}

// TableFunctions lists the names of all table functions, sorted.
func TableFunctions() []string {
	tableFunctions.RLock()
	defer tableFunctions.RUnlock()
	names := make([]string, 0, len(tableFunctions.byName))
	for n := range tableFunctions.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func builtinTable(defs ...TableFunctionDef) bool {
	for _, d := range defs {
		if err := RegisterTableFunction(d); err != nil {
			panic(err)
		}
	}
	return true
}

var _ = builtinTable(
	TableFunctionDef{Name: "UNNEST", Check: unnestColumns(false), New: newUnnest(false)},
	TableFunctionDef{Name: "UNNEST WITH ORDINALITY", Check: unnestColumns(true), New: newUnnest(true)},
	TableFunctionDef{Name: "STRING_SPLIT", Check: stringSplitColumns, New: newStringSplit},
)

// unnestColumns are the columns of UNNEST: the element, the fields of an element that is a ROW, or key and value of a MAP.
func unnestColumns(ordinality bool) func(args []batch.Type) ([]batch.Field, error) {
	return func(args []batch.Type) ([]batch.Field, error) {
		if len(args) != 1 || args[0].ID != batch.Array && args[0].ID != batch.Map {
			what := countOf(len(args))
			if len(args) == 1 {
				what = args[0].Nullable().String()
			}
			return nil, fmt.Errorf("UNNEST takes (ARRAY|MAP); it was given %s", what)
		}
		t := args[0]
		fields := slices.Clone(t.Fields)
		if t.ID == batch.Array {
			fields[0].Name = "f0"
			if e := t.Fields[0].Type; e.ID == batch.RowType {
				fields = slices.Clone(e.Fields)
				for i := range fields {
					fields[i].Type.NotNull = fields[i].Type.NotNull && e.NotNull
				}
			}
		} else {
			fields[0].Name, fields[1].Name = "f0", "f1"
		}
		if ordinality {
			fields = append(fields, batch.Field{Name: "ordinality", Type: batch.TypeInt.AsNotNull()})
		}
		return fields, nil
	}
}

type unnest struct{ spread, ordinality bool }

func newUnnest(ordinality bool) func(args []batch.Type) (TableFunction, error) {
	return func(args []batch.Type) (TableFunction, error) {
		if _, err := unnestColumns(ordinality)(args); err != nil {
			return nil, err
		}
		return &unnest{args[0].ID == batch.Array && args[0].Fields[0].Type.ID == batch.RowType, ordinality}, nil
	}
}

func (u *unnest) Call(args []*batch.Column, i int, out *batch.Batch) (int, error) {
	c := args[0]
	if c.IsNull(i) {
		return 0, nil
	}
	from, to := c.Range(i)
	if from == to {
		return 0, nil
	}
	parts := c.Children
	if u.spread {
		parts = c.Children[0].Children
	}
	for k, p := range parts {
		out.Cols[k].AppendRange(p, from, to)
	}
	if u.ordinality {
		o := &out.Cols[len(parts)]
		for k := from; k < to; k++ {
			o.AppendInt64(int64(k - from + 1))
		}
	}
	endRows(out, to-from)
	return to - from, nil
}

// endRows counts n rows whose values were appended column by column.
func endRows(out *batch.Batch, n int) {
	if out.Weights == nil {
		out.SetLen(out.Len() + n)
		return
	}
	for range n {
		out.EndRow(batch.Insert)
	}
}

func stringSplitColumns(args []batch.Type) ([]batch.Field, error) {
	if len(args) != 2 || !args[0].IsString() || !args[1].IsString() {
		return nil, fmt.Errorf("STRING_SPLIT takes (STRING, STRING)")
	}
	return []batch.Field{{Name: "f0", Type: batch.TypeString.AsNotNull()}}, nil
}

type stringSplit struct{}

func newStringSplit(args []batch.Type) (TableFunction, error) {
	_, err := stringSplitColumns(args)
	return stringSplit{}, err
}

func (stringSplit) Call(args []*batch.Column, i int, out *batch.Batch) (int, error) {
	if args[0].IsNull(i) || args[1].IsNull(i) {
		return 0, nil
	}
	n := 0
	eachPart(args[0].Bytes(i), args[1].Bytes(i), func(p []byte) {
		out.Cols[0].AppendBytes(p)
		n++
	})
	endRows(out, n)
	return n, nil
}
