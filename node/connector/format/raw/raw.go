package raw

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/expr"
)

// Options declares what the format takes in a WITH clause.
func Options() []connector.Option {
	return []connector.Option{
		{Name: "raw.charset", Kind: connector.Enum, Default: "UTF-8", Values: []string{"UTF-8"}, Doc: "Character set of the texts."},
	}
}

// Codec reads and writes records. It keeps nothing from one to the next.
type Codec struct{ plain bool }

// New makes the codec of a table, which has one column of a text type or BYTES.
func New(c connector.Config) (*Codec, error) {
	if len(c.Schema.Fields) != 1 {
		return nil, fmt.Errorf("table %s: format 'raw' needs exactly one column, not %d", c.Table, len(c.Schema.Fields))
	}
	f := c.Schema.Fields[0]
	if f.Type.Kind() != batch.KindBytes {
		return nil, fmt.Errorf("table %s: format 'raw' does not support column %s of type %s: it needs STRING or BYTES", c.Table, f.Name, f.Type.Nullable())
	}
	return &Codec{plain: f.Type.Precision == batch.MaxLength || f.Type.ID == batch.Bytes && f.Type.Precision == 0}, nil
}

// Decode appends record as a row.
func (d *Codec) Decode(record []byte, out *batch.Batch) error {
	if d.plain {
		out.Cols[0].AppendBytes(record)
	} else if err := expr.ParseText(&out.Cols[0], record); err != nil {
		return err
	}
	out.EndRow(batch.Insert)
	return nil
}

// Plain says that rows are records unchanged, so that a caller may append them itself.
func (d *Codec) Plain() bool { return d.plain }

// Append appends row i of b. A null is the empty record.
func (d *Codec) Append(dst []byte, b *batch.Batch, i int) ([]byte, error) {
	return append(dst, b.Cols[0].Bytes(i)...), nil
}
