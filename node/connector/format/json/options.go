package json

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
)

var definition = &connector.Definition{Options: []connector.Option{
	{Name: "json.fail-on-missing-field", Kind: connector.Bool, Default: "false", Doc: "An object without a field for each column is wrong; otherwise the column is null."},
	{Name: "json.ignore-parse-errors", Kind: connector.Bool, Default: "false", Doc: "A field that cannot be read is null and a line that cannot be read is skipped."},
	{Name: "json.timestamp-format.standard", Kind: connector.Enum, Default: "SQL", Values: []string{"SQL", "ISO-8601"}, Doc: "How timestamps are written: '2026-01-02 03:04:05.678' or '2026-01-02T03:04:05.678'."},
	{Name: "json.map-null-key.mode", Kind: connector.Enum, Default: "FAIL", Values: []string{"FAIL", "DROP", "LITERAL"}, Doc: "What is written for a map's entry whose key is null."},
	{Name: "json.map-null-key.literal", Default: "null", Doc: "The key written for null with 'json.map-null-key.mode' = 'LITERAL'."},
	{Name: "json.encode.ignore-null-fields", Kind: connector.Bool, Default: "false", Doc: "Nulls are left out of written objects."},
}}

// Options declares what the format takes in a WITH clause.
func Options() []connector.Option { return definition.Options }

// checkType says what the format has no form for.
func checkType(table, column string, t batch.Type) error {
	switch t.ID {
	case batch.Interval, batch.IntervalYM, batch.Null, batch.Invalid:
		return fmt.Errorf("table %s: format 'json' does not support column %s of type %s", table, column, t)
	case batch.Map:
		if !t.Fields[0].Type.IsString() {
			return fmt.Errorf("table %s: format 'json' does not support column %s of type %s: keys of a map must be texts", table, column, t)
		}
	}
	for _, f := range t.Fields {
		if err := checkType(table, column+"."+f.Name, f.Type); err != nil {
			return err
		}
	}
	return nil
}

func checkSchema(c connector.Config) error {
	for _, f := range c.Schema.Fields {
		if err := checkType(c.Table, f.Name, f.Type); err != nil {
			return err
		}
	}
	return nil
}
