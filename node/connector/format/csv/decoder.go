package csv

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format/cell"
)

var (
	errQuotes = errors.New("a quote is not closed, or text follows a closed one: quotes within a quoted field are doubled")
	// fieldsMax bounds the fields of a record beyond those that the table has.
	fieldsMax = 1 << 16
)

// Decoder reads records. It is used by one goroutine.
type Decoder struct {
	dialect
	zone   *time.Location
	text   []byte
	fields []field
}

// NewDecoder makes the decoder of a table.
func NewDecoder(c connector.Config) (*Decoder, error) {
	d, err := newDialect(c)
	if err == nil {
		err = checkSchema(c)
	}
	if err != nil {
		return nil, err
	}
	return &Decoder{dialect: d, zone: c.Zone}, nil
}

// Multiline says that a record may go over several lines, so that a file cannot be read from its middle.
func (d *Decoder) Multiline() bool { return d.multiline }

// Header says that a file's first record is none.
func (d *Decoder) Header() bool { return d.header }

// Lenient says that wrong records are skipped.
func (d *Decoder) Lenient() bool { return d.lenient }

// RecordEnd finds the newline that ends the record that buf begins with; -1 when it is not in buf.
func (d *Decoder) RecordEnd(buf []byte) int { return d.recordEnd(buf) }

// Decode appends record's row, or none for a comment or an empty line. On error out is as before.
func (d *Decoder) Decode(record []byte, out *batch.Batch) error {
	if len(record) == 0 && len(out.Cols) > 1 || d.comments && len(record) > 0 && record[0] == '#' {
		return nil
	}
	var ok bool
	d.text, d.fields, ok = d.split(record, d.text[:0], d.fields[:0])
	if !ok {
		return errQuotes
	}
	if len(d.fields) != len(out.Cols) && !d.lenient {
		return fmt.Errorf("the record has %d fields and the table %d columns", len(d.fields), len(out.Cols))
	}
	for i := range out.Cols {
		if i >= len(d.fields) {
			out.Cols[i].AppendNull()
			continue
		}
		f := d.fields[i]
		if err := d.value(&out.Cols[i], d.text[f.from:f.to], f.quoted); err != nil {
			if !d.lenient {
				cell.Rollback(out)
				return fmt.Errorf("column %s: %w", out.Schema.Fields[i].Name, err)
			}
			out.Cols[i].AppendNull()
		}
	}
	return cell.EndRow(out)
}

func (d *Decoder) value(c *batch.Column, text []byte, quoted bool) error {
	if d.isNull(c.Type, text, quoted) {
		c.AppendNull()
		return nil
	}
	switch c.Kind() {
	case batch.KindList:
		return d.array(c, text)
	case batch.KindRow:
		return d.row(c, text)
	}
	return cell.Append(c, text, d.zone)
}

func (d *Decoder) isNull(t batch.Type, text []byte, quoted bool) bool {
	if d.hasNull && !quoted && string(text) == d.null {
		return true
	}
	return len(text) == 0 && t.Kind() != batch.KindBytes && !(quoted && t.ID == batch.Array)
}

func (d *Decoder) array(c *batch.Column, text []byte) error {
	rows, elements := c.Len(), c.Children[0]
	for n := 0; len(text) > 0 || n > 0; n++ {
		part, rest, more := cutElement(text, d.element)
		if err := d.value(elements, part, false); err != nil {
			cell.Truncate(c, rows)
			return fmt.Errorf("element %d: %w", n+1, err)
		}
		if !more {
			break
		}
		text = rest
	}
	c.CloseList()
	return nil
}

func (d *Decoder) row(c *batch.Column, text []byte) error {
	rows := c.Len()
	for i, child := range c.Children {
		part, rest, more := cutElement(text, d.element)
		err := d.value(child, part, false)
		if err == nil && more != (i < len(c.Children)-1) {
			err = fmt.Errorf("%q does not have %d parts", cell.Shown(text), len(c.Children)-i)
		}
		if err != nil {
			for _, child := range c.Children {
				cell.Truncate(child, rows)
			}
			return fmt.Errorf("field %s: %w", c.Type.Fields[i].Name, err)
		}
		text = rest
	}
	c.CloseRow()
	return nil
}

func cutElement(text []byte, delimiter string) (part, rest []byte, more bool) {
	i := bytes.Index(text, []byte(delimiter))
	if i < 0 {
		return text, nil, false
	}
	return text[:i], text[i+len(delimiter):], true
}
