package connector

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/spelling"
)

// CheckOptions holds what a WITH clause gives against what is declared: names, values by kind, required ones, and that a '#'
// names a column of schema or a part of one ("fields.tags.element.min"). The key 'connector' is always allowed. All mistakes are told in one
// error, ordered by name.
func CheckOptions(declared []Option, given map[string]string, schema *batch.Schema) error {
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	sort.Strings(names)
	var wrong []string
	for _, name := range names {
		if name == "connector" {
			continue
		}
		o := findOption(declared, name)
		switch {
		case o == nil:
			wrong = append(wrong, unknownOption(declared, name))
		case !columnOfOption(o.Name, name, schema):
			wrong = append(wrong, fmt.Sprintf("option '%s' names no column of the table", name))
		default:
			if err := o.CheckValue(given[name]); err != nil {
				wrong = append(wrong, fmt.Sprintf("option '%s': %v", name, err))
			}
		}
	}
	for _, o := range declared {
		if _, ok := given[o.Name]; o.Required && !ok {
			wrong = append(wrong, fmt.Sprintf("option '%s' is required: %s", o.Name, o.Doc))
		}
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(wrong, "; "))
}

// CheckValue says whether value is of the option's kind.
func (o *Option) CheckValue(value string) (err error) {
	switch o.Kind {
	case Int:
		_, err = parseInt(value)
	case Bool:
		_, err = parseBool(value)
	case Duration:
		_, err = ParseDuration(value)
	case Memory:
		_, err = ParseMemory(value)
	case Enum:
		if !slices.Contains(o.Values, value) {
			err = fmt.Errorf("%q is none of '%s'", value, strings.Join(o.Values, "', '"))
		}
	}
	return err
}

// Int is the value of an option of kind Int, 0 when it is neither set nor has a default.
func (c Config) Int(def *Definition, name string) (int64, error) {
	return optionValue(c, def, name, parseInt)
}

// Bool is the value of an option of kind Bool, false when it is neither set nor has a default.
func (c Config) Bool(def *Definition, name string) (bool, error) {
	return optionValue(c, def, name, parseBool)
}

// Duration is the value of an option of kind Duration, 0 when it is neither set nor has a default.
func (c Config) Duration(def *Definition, name string) (time.Duration, error) {
	return optionValue(c, def, name, ParseDuration)
}

// Memory is the value of an option of kind Memory in bytes, 0 when it is neither set nor has a default.
func (c Config) Memory(def *Definition, name string) (int64, error) {
	return optionValue(c, def, name, ParseMemory)
}

func optionValue[T any](c Config, def *Definition, name string, parse func(string) (T, error)) (T, error) {
	var zero T
	text := c.Get(def, name)
	if text == "" {
		if _, set := c.Options[name]; !set {
			return zero, nil
		}
	}
	v, err := parse(text)
	if err != nil {
		return zero, fmt.Errorf("table %s: option '%s': %w", c.Table, name, err)
	}
	return v, nil
}

func parseInt(s string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", s)
	}
	return n, nil
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither 'true' nor 'false'", s)
}

func findOption(options []Option, name string) *Option {
	for i := range options {
		if matchOption(options[i].Name, name) {
			return &options[i]
		}
	}
	return nil
}

// columnOfOption says whether what '#' stands for in name is a column of the schema or begins with one and a dot.
func columnOfOption(pattern, name string, schema *batch.Schema) bool {
	before, after, wild := strings.Cut(pattern, "#")
	if !wild || schema == nil {
		return true
	}
	column := name[len(before) : len(name)-len(after)]
	for _, f := range schema.Fields {
		if column == f.Name || len(f.Type.Fields) > 0 && strings.HasPrefix(column, f.Name+".") {
			return true
		}
	}
	return false
}

func unknownOption(declared []Option, name string) string {
	names := make([]string, len(declared))
	for i, o := range declared {
		names[i] = o.Name
	}
	best := spelling.Nearest(name, names)
	if best == "" {
		return fmt.Sprintf("option '%s' is unknown", name)
	}
	return fmt.Sprintf("option '%s' is unknown; did you mean '%s'?", name, best)
}
