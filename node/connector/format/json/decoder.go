package json

import (
	"errors"
	"fmt"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format/cell"
)

// Decoder reads records. It is used by one goroutine.
type Decoder struct {
	scanner
	zone    *time.Location
	lenient bool
	strict  bool // a missing field is an error
	names   []byte
	strs    []byte
	order   []uint32 // of a map's entries
}

// NewDecoder makes the decoder of a table.
func NewDecoder(c connector.Config) (*Decoder, error) {
	if err := checkSchema(c); err != nil {
		return nil, err
	}
	lenient, err := c.Bool(definition, "json.ignore-parse-errors")
	if err != nil {
		return nil, err
	}
	strict, err := c.Bool(definition, "json.fail-on-missing-field")
	if err != nil {
		return nil, err
	}
	if lenient && strict {
		return nil, fmt.Errorf("table %s: options 'json.fail-on-missing-field' and 'json.ignore-parse-errors' exclude each other", c.Table)
	}
	return &Decoder{zone: c.Zone, lenient: lenient, strict: strict}, nil
}

// Lenient says that wrong records are skipped.
func (d *Decoder) Lenient() bool { return d.lenient }

// Decode appends record's row, or none for a blank one. On error out is as before.
func (d *Decoder) Decode(record []byte, out *batch.Batch) error {
	d.text, d.at = record, 0
	if d.blank() == 0 && d.at >= len(d.text) {
		return nil
	}
	err := d.record(out)
	if err == nil {
		if d.blank(); d.at < len(d.text) {
			err = d.unexpected("the end of the line")
		}
	}
	if err != nil {
		cell.Rollback(out)
		return err
	}
	return cell.EndRow(out)
}

func (d *Decoder) record(out *batch.Batch) error {
	if err := d.expect('{', "an object"); err != nil {
		return err
	}
	n, hint := out.Len(), 0
	for first := true; ; first = false {
		more, err := d.next('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		name, err := d.key()
		if err != nil {
			return err
		}
		k := find(out.Schema.Fields, name, hint)
		if k < 0 {
			if _, d.strs, err = d.skip(d.strs); err != nil {
				return err
			}
			continue
		}
		hint = k + 1
		if err := d.field(&out.Cols[k], out.Schema.Fields[k].Name, n); err != nil {
			return err
		}
	}
	for k := range out.Cols {
		if out.Cols[k].Len() == n {
			if d.strict {
				return fmt.Errorf("column %s: the object has no such field", out.Schema.Fields[k].Name)
			}
			out.Cols[k].AppendNull()
		}
	}
	return nil
}

// key reads a field's name and the colon after it.
func (d *Decoder) key() (name []byte, err error) {
	if name, d.names, err = d.str(d.names); err != nil {
		return nil, err
	}
	return name, d.expect(':', "':'")
}

// find is the field named name, which likely is the one at hint; -1 without.
func find(fields []batch.Field, name []byte, hint int) int {
	if hint < len(fields) && fields[hint].Name == string(name) {
		return hint
	}
	for i := range fields {
		if fields[i].Name == string(name) {
			return i
		}
	}
	return -1
}

// field appends the next value as row n of c. What was there for the field already goes.
func (d *Decoder) field(c *batch.Column, name string, n int) error {
	if c.Len() > n {
		cell.Truncate(c, n)
	}
	from := d.at
	err := d.value(c)
	if err == nil {
		return nil
	}
	cell.Truncate(c, n)
	if d.lenient {
		// The value may be well-formed and only of another type.
		d.at = from
		if _, scratch, skipErr := d.skip(d.strs); skipErr == nil {
			d.strs = scratch
			c.AppendNull()
			return nil
		}
	}
	return within(name, err)
}

// fieldError is an error with the path to where it is.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string { return "column " + e.path + ": " + e.err.Error() }

func (e *fieldError) Unwrap() error { return e.err }

func within(name string, err error) error {
	var inner *fieldError
	if errors.As(err, &inner) {
		return &fieldError{name + "." + inner.path, inner.err}
	}
	return &fieldError{name, err}
}

// value appends the next value to c. On error what it appended is c's owner's to take back.
func (d *Decoder) value(c *batch.Column) error {
	b := d.blank()
	if b == 'n' {
		if err := d.word("null"); err != nil {
			return err
		}
		c.AppendNull()
		return nil
	}
	switch c.Kind() {
	case batch.KindRow:
		return d.row(c)
	case batch.KindList:
		if c.Type.ID == batch.Map {
			return d.mapping(c)
		}
		return d.array(c)
	}
	var text []byte
	var err error
	switch {
	case b == '"':
		if text, d.strs, err = d.str(d.strs); err == nil {
			return cell.Append(c, text, d.zone)
		}
		return err
	case b == '{' || b == '[' || b == 't' || b == 'f':
		text, d.strs, err = d.skip(d.strs)
	default:
		text, err = d.number()
	}
	if err != nil {
		return err
	}
	return appendBare(c, text, b)
}

// appendBare appends a value that is no string, of which b is the first byte.
func appendBare(c *batch.Column, text []byte, b byte) error {
	isBool, isNested := b == 't' || b == 'f', b == '{' || b == '['
	fits := false
	switch {
	case c.Type.IsString():
		fits = true
	case c.Type.ID == batch.Boolean:
		fits = isBool
	case c.Type.IsNumeric():
		fits = !isBool && !isNested
	}
	if !fits {
		return fmt.Errorf("%q is not a value of %s", cell.Shown(text), c.Type.Nullable())
	}
	return cell.Append(c, text, nil)
}

func (d *Decoder) array(c *batch.Column) error {
	if err := d.expect('[', "an array"); err != nil {
		return err
	}
	for n := 0; ; n++ {
		more, err := d.next(']', n == 0)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := d.value(c.Children[0]); err != nil {
			return err
		}
	}
	c.CloseList()
	return nil
}

func (d *Decoder) mapping(c *batch.Column) error {
	if err := d.expect('{', "an object"); err != nil {
		return err
	}
	keys, values := c.Children[0], c.Children[1]
	from := keys.Len()
	for first := true; ; first = false {
		more, err := d.next('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		name, err := d.key()
		if err != nil {
			return err
		}
		if err := cell.Append(keys, name, d.zone); err != nil {
			return err
		}
		if err := d.value(values); err != nil {
			return err
		}
	}
	d.dropRepeated(keys, values, from)
	c.CloseList()
	return nil
}

func (d *Decoder) row(c *batch.Column) error {
	if err := d.expect('{', "an object"); err != nil {
		return err
	}
	n, hint := c.Len(), 0
	for first := true; ; first = false {
		more, err := d.next('}', first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		name, err := d.key()
		if err != nil {
			return err
		}
		k := find(c.Type.Fields, name, hint)
		if k < 0 {
			if _, d.strs, err = d.skip(d.strs); err != nil {
				return err
			}
			continue
		}
		hint = k + 1
		if err := d.field(c.Children[k], c.Type.Fields[k].Name, n); err != nil {
			return err
		}
	}
	for k, child := range c.Children {
		if child.Len() == n {
			if d.strict {
				return within(c.Type.Fields[k].Name, errors.New("the object has no such field"))
			}
			child.AppendNull()
		}
	}
	c.CloseRow()
	return nil
}
