package expr

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// Kernel computes n rows of a call into out.
//
// A fixed-width out has n rows of undefined contents, which the kernel overwrites; any other is empty, and the kernel appends
// n rows. Unless the function is CallsOnNull, rows with a null argument are already marked null in out: whatever the kernel
// writes there is made zero if out is of fixed width; otherwise it must append an empty row (Rows does).
type Kernel func(x *Call, out *batch.Column, n int)

// FunctionDef is a scalar function: how it is called, what it returns and how it is computed.
type FunctionDef struct {
	// Name in upper case.
	Name string
	// Takes is the parameter list in the form "STRING, INT[, INT]" or "STRING, ANY..." (the last repeats, at least once). Types are
	// BOOLEAN INT NUMERIC DOUBLE DECIMAL STRING BYTES DATE TIME TIMESTAMP TIMESTAMP_LTZ DATETIME INTERVAL ARRAY MAP ROW ANY, several
	// joined by "|". INT is any integer type, NUMERIC any number; for DOUBLE any number is converted; DATETIME is DATE, TIMESTAMP
	// or TIMESTAMP_LTZ.
	Takes string
	// Check, if set, sees the arguments after Takes was checked; it may replace them by converted ones.
	Check func(args []*Node) error
	// Result is the type returned, unless Returns is set.
	Result  batch.Type
	Returns func(args []*Node) (batch.Type, error)
	// Kernel computes the function, unless Build is set, which makes the kernel for one call of one program: patterns and units
	// given as constants are prepared there.
	Kernel Kernel
	Build  func(n *Node) (Kernel, error)
	// CallsOnNull says that the kernel handles null arguments itself; otherwise the result is null where any argument is.
	CallsOnNull bool
	// MayBeNull says that the result may be null where no argument is.
	MayBeNull bool
	// MayFail says that the kernel may call Fail.
	MayFail bool
	// NonDeterministic says that equal arguments may give another result next time. The planner refuses such functions.
	NonDeterministic bool

	params []param
	// fromEnv: the value depends on Env, never constant. perRow: it also depends on the row's place.
	fromEnv, perRow, random bool
	hidden                  bool // an operator, not to be called by name
	cheap                   bool // an operator of a nanosecond or so a row
}

type param struct {
	classes  []string
	optional bool
	variadic bool
}

var registry = struct {
	sync.RWMutex
	byName map[string]*FunctionDef
}{byName: map[string]*FunctionDef{}}

// Register adds a scalar function. It is an error when the name is taken or the definition is not complete.
func Register(def FunctionDef) error {
	def.Name = strings.ToUpper(def.Name)
	if def.Name == "" || def.Kernel == nil && def.Build == nil {
		return fmt.Errorf("function %q: a name and a kernel are needed", def.Name)
	}
	if def.Returns == nil && def.Result.ID == batch.Invalid {
		return fmt.Errorf("function %s: its result type is not given", def.Name)
	}
	params, err := parseTakes(def.Takes)
	if err != nil {
		return fmt.Errorf("function %s: %w", def.Name, err)
	}
	def.params = params
	registry.Lock()
	defer registry.Unlock()
	if registry.byName[def.Name] != nil || specialForms[def.Name] != nil {
		return fmt.Errorf("function %s is already there", def.Name)
	}
	registry.byName[def.Name] = &def
	return nil
}

// builtin registers the functions of one family; a mistake in the table is a mistake of the program.
func builtin(defs ...FunctionDef) bool {
	for _, d := range defs {
		if err := Register(d); err != nil {
			panic(err)
		}
	}
	return true
}

func lookup(name string) (*FunctionDef, bool) {
	registry.RLock()
	defer registry.RUnlock()
	d, ok := registry.byName[name]
	return d, ok
}

// IsDeterministic says whether the named scalar function gives the same result for the same arguments; false for functions
// that are not there.
func IsDeterministic(name string) bool {
	d, ok := lookup(strings.ToUpper(name))
	return ok && !d.NonDeterministic
}

// Functions lists the names of all scalar functions, sorted.
func Functions() []string {
	registry.RLock()
	defer registry.RUnlock()
	names := make([]string, 0, len(registry.byName)+len(specialForms))
	for n, d := range registry.byName {
		if !d.hidden && n[0] != '$' { // $ starts what the planner alone calls
			names = append(names, n)
		}
	}
	for n := range specialForms {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func parseTakes(s string) ([]param, error) {
	var out []param
	optional := false
	for _, p := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' }) {
		p = strings.TrimRight(p, "]")
		if strings.HasPrefix(p, "[") || strings.HasSuffix(p, "[") {
			optional = true
		}
		class := strings.Trim(p, "[")
		if class != "" {
			q := param{optional: len(out) > 0 && out[len(out)-1].optional}
			q.optional = q.optional || strings.HasPrefix(p, "[") || optional && !strings.HasSuffix(p, "[")
			class, q.variadic = strings.CutSuffix(class, "...")
			q.classes = strings.Split(class, "|")
			for _, c := range q.classes {
				if !slices.Contains(classNames, c) {
					return nil, fmt.Errorf("parameter type %q is not known", c)
				}
			}
			out = append(out, q)
		}
	}
	return out, nil
}

var classNames = []string{"BOOLEAN", "INT", "NUMERIC", "DOUBLE", "DECIMAL", "STRING", "BYTES", "DATE", "TIME", "TIMESTAMP",
	"TIMESTAMP_LTZ", "DATETIME", "INTERVAL", "ARRAY", "MAP", "ROW", "ANY"}

// inClass says whether a value of type t may stand for a parameter of the class, and what it has to be converted to.
func inClass(t batch.Type, class string) (to batch.Type, ok bool) {
	to = t
	switch class {
	case "BOOLEAN":
		return to, t.ID == batch.Boolean
	case "INT":
		return to, t.IsInteger()
	case "NUMERIC":
		return to, t.IsNumeric()
	case "DOUBLE":
		return batch.TypeDouble, t.IsNumeric()
	case "DECIMAL":
		return to, t.ID == batch.Decimal
	case "STRING":
		return to, t.IsString()
	case "BYTES":
		return to, t.ID == batch.Bytes
	case "DATE":
		return to, t.ID == batch.Date
	case "TIME":
		return to, t.ID == batch.Time
	case "TIMESTAMP":
		return to, t.ID == batch.Timestamp
	case "TIMESTAMP_LTZ":
		return to, t.ID == batch.TimestampLTZ
	case "DATETIME":
		return to, t.ID == batch.Date || t.IsTime()
	case "INTERVAL":
		return to, t.ID == batch.Interval || t.ID == batch.IntervalYM
	case "ARRAY":
		return to, t.ID == batch.Array
	case "MAP":
		return to, t.ID == batch.Map
	case "ROW":
		return to, t.ID == batch.RowType
	}
	return to, true
}

// defaultOf is the type that a bare NULL takes as an argument of the class.
func defaultOf(class string) batch.Type {
	switch class {
	case "BOOLEAN":
		return batch.TypeBoolean
	case "INT":
		return batch.TypeInt
	case "NUMERIC", "DOUBLE":
		return batch.TypeDouble
	case "DECIMAL":
		return batch.DecimalOf(10, 0)
	case "BYTES":
		return batch.TypeBytes
	case "DATE":
		return batch.TypeDate
	case "TIME":
		return batch.TypeTime
	case "TIMESTAMP", "DATETIME":
		return batch.TypeTimestamp
	case "TIMESTAMP_LTZ":
		return batch.TypeTimestampLTZ
	case "INTERVAL":
		return batch.TypeInterval
	case "ARRAY":
		return batch.ArrayOf(batch.TypeNull)
	case "MAP":
		return batch.MapOf(batch.TypeNull, batch.TypeNull)
	}
	return batch.TypeString
}

// bind checks args against the parameters of d and converts them; the error is for a person.
func (d *FunctionDef) bind(args []*Node) error {
	least, most := 0, len(d.params)
	for _, p := range d.params {
		if !p.optional {
			least++
		}
		if p.variadic {
			most = 1 << 16
		}
	}
	if len(args) < least || len(args) > most {
		return fmt.Errorf("%s takes (%s); it was given %s", d.Name, d.Takes, countOf(len(args)))
	}
	for i, a := range args {
		p := d.params[min(i, len(d.params)-1)]
		if !bindArg(args, i, p) {
			return fmt.Errorf("%s takes (%s); the %s argument is %s", d.Name, d.Takes, ordinal(i), a.Type.Nullable())
		}
	}
	if d.Check != nil {
		return d.Check(args)
	}
	return nil
}

func bindArg(args []*Node, i int, p param) bool {
	a := args[i]
	if a.Type.ID == batch.Null {
		if p.classes[0] != "ANY" {
			args[i] = castTo(a, defaultOf(p.classes[0]))
		}
		return true
	}
	for _, c := range p.classes {
		if to, ok := inClass(a.Type, c); ok {
			if to.ID != a.Type.ID {
				args[i] = castTo(a, to)
			}
			return true
		}
	}
	return false
}

func countOf(n int) string {
	switch n {
	case 0:
		return "none"
	case 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

func ordinal(i int) string {
	names := []string{"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"}
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%d.", i+1)
}
