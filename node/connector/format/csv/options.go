package csv

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
)

var definition = &connector.Definition{Options: []connector.Option{
	{Name: "csv.field-delimiter", Default: ",", Doc: "One ASCII character between fields; '\\t' is a tab."},
	{Name: "csv.disable-quote-character", Kind: connector.Bool, Default: "false", Doc: "No character quotes; excludes 'csv.quote-character'."},
	{Name: "csv.quote-character", Default: "\"", Doc: "The ASCII character around fields that hold delimiters, itself doubled within."},
	{Name: "csv.allow-comments", Kind: connector.Bool, Default: "false", Doc: "Lines that begin with '#' are skipped."},
	{Name: "csv.ignore-parse-errors", Kind: connector.Bool, Default: "false", Doc: "A field that cannot be read is null and a record that cannot be read is skipped."},
	{Name: "csv.array-element-delimiter", Default: ";", Doc: "Between the elements of an ARRAY or the fields of a ROW."},
	{Name: "csv.escape-character", Doc: "The ASCII character that takes the meaning from the next one; none without it."},
	{Name: "csv.null-literal", Doc: "The unquoted text that stands for null in any column."},
	{Name: "csv.header", Kind: connector.Bool, Default: "false", Doc: "The first record of each file names the columns: it is skipped on reading and written by sinks."},
	{Name: "csv.multiline", Kind: connector.Bool, Default: "true", Doc: "Quoted fields may hold line ends, as in Flink. With 'false' every line end ends a record, and one big file is read in parallel."},
}}

// Options declares what the format takes in a WITH clause.
func Options() []connector.Option { return definition.Options }

// dialect is the syntax of records. Zero bytes for quote and escape mean that there is none.
type dialect struct {
	delimiter, quote, escape byte
	element                  string
	null                     string
	hasNull                  bool
	comments                 bool
	lenient                  bool
	header                   bool
	multiline                bool
}

func newDialect(c connector.Config) (d dialect, err error) {
	for _, o := range []struct {
		name string
		to   *byte
	}{{"csv.field-delimiter", &d.delimiter}, {"csv.quote-character", &d.quote}, {"csv.escape-character", &d.escape}} {
		if *o.to, err = character(c, o.name); err != nil {
			return d, err
		}
	}
	for _, o := range []struct {
		name string
		to   *bool
	}{{"csv.allow-comments", &d.comments}, {"csv.ignore-parse-errors", &d.lenient}, {"csv.header", &d.header}, {"csv.multiline", &d.multiline}} {
		if *o.to, err = c.Bool(definition, o.name); err != nil {
			return d, err
		}
	}
	noQuotes, err := c.Bool(definition, "csv.disable-quote-character")
	if err != nil {
		return d, err
	}
	if noQuotes {
		if _, set := c.Options["csv.quote-character"]; set {
			return d, fmt.Errorf("table %s: options 'csv.quote-character' and 'csv.disable-quote-character' exclude each other", c.Table)
		}
		d.quote = 0
	}
	if d.delimiter == 0 {
		return d, fmt.Errorf("table %s: option 'csv.field-delimiter' is empty", c.Table)
	}
	if d.delimiter == d.quote || d.delimiter == d.escape || d.quote == d.escape && d.quote != 0 {
		return d, fmt.Errorf("table %s: field delimiter, quote and escape character of format 'csv' must differ", c.Table)
	}
	d.null, d.hasNull = c.Options["csv.null-literal"]
	if d.element = c.Get(definition, "csv.array-element-delimiter"); d.element == "" {
		return d, fmt.Errorf("table %s: option 'csv.array-element-delimiter' is empty", c.Table)
	}
	d.multiline = d.multiline && (d.quote != 0 || d.escape != 0)
	return d, nil
}

func character(c connector.Config, name string) (byte, error) {
	switch v := c.Get(definition, name); {
	case v == "":
		return 0, nil
	case v == `\t`:
		return '\t', nil
	case len(v) == 1 && v[0] < 0x80 && v[0] != '\n' && v[0] != '\r' && v[0] != 0:
		return v[0], nil
	default:
		return 0, fmt.Errorf("table %s: option '%s' is %q; it must be one ASCII character other than a line end", c.Table, name, v)
	}
}

// checkSchema says which column the format has no form for.
func checkSchema(c connector.Config) error {
	if len(c.Schema.Fields) == 0 {
		return fmt.Errorf("table %s: format 'csv' needs at least one column", c.Table)
	}
	scalar := func(t batch.Type) bool { return len(t.Fields) == 0 }
	for _, f := range c.Schema.Fields {
		t := f.Type
		nested := t.ID == batch.Array || t.ID == batch.RowType
		if !scalar(t) && !(nested && !slices.ContainsFunc(t.Fields, func(f batch.Field) bool { return !scalar(f.Type) })) {
			return fmt.Errorf("table %s: format 'csv' does not support column %s of type %s: only scalars, and ARRAY and ROW of them", c.Table, f.Name, t.Nullable())
		}
	}
	return nil
}
