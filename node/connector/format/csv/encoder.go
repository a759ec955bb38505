package csv

import (
	"bytes"
	"fmt"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format/cell"
)

// Encoder writes records. It is used by one goroutine.
type Encoder struct {
	dialect
	zone *time.Location
	text []byte
}

// NewEncoder makes the encoder of a table.
func NewEncoder(c connector.Config) (*Encoder, error) {
	d, err := newDialect(c)
	if err == nil {
		err = checkSchema(c)
	}
	if err != nil {
		return nil, err
	}
	return &Encoder{dialect: d, zone: c.Zone}, nil
}

// Header appends the names of the columns as a record when the format's option asks for it, and says whether it did.
func (e *Encoder) Header(dst []byte, s *batch.Schema) ([]byte, bool, error) {
	if !e.header {
		return dst, false, nil
	}
	var err error
	for i, f := range s.Fields {
		if i > 0 {
			dst = append(dst, e.delimiter)
		}
		if dst, err = e.field(dst, []byte(f.Name), true, len(s.Fields) == 1); err != nil {
			return dst, false, fmt.Errorf("name of column %s: %w", f.Name, err)
		}
	}
	return dst, true, nil
}

// Append appends row i of b as a record without its line end. It fails on a value that the options leave no form for.
func (e *Encoder) Append(dst []byte, b *batch.Batch, i int) ([]byte, error) {
	for k := range b.Cols {
		if k > 0 {
			dst = append(dst, e.delimiter)
		}
		c := &b.Cols[k]
		if c.IsNull(i) {
			dst = append(dst, e.null...)
			continue
		}
		var err error
		if e.text, err = e.value(e.text[:0], c, i); err == nil {
			dst, err = e.field(dst, e.text, c.Kind() == batch.KindBytes, len(b.Cols) == 1 || c.Kind() == batch.KindList)
		}
		if err != nil {
			return dst, fmt.Errorf("column %s: %w", b.Schema.Fields[k].Name, err)
		}
	}
	return dst, nil
}

func (e *Encoder) value(dst []byte, c *batch.Column, i int) ([]byte, error) {
	switch c.Kind() {
	case batch.KindList:
		from, to := c.Range(i)
		var err error
		for k := from; k < to && err == nil; k++ {
			if k > from {
				dst = append(dst, e.element...)
			}
			dst, err = e.part(dst, c.Children[0], k)
		}
		return dst, err
	case batch.KindRow:
		var err error
		for k, child := range c.Children {
			if k > 0 {
				dst = append(dst, e.element...)
			}
			if dst, err = e.part(dst, child, i); err != nil {
				return dst, fmt.Errorf("field %s: %w", c.Type.Fields[k].Name, err)
			}
		}
		return dst, nil
	}
	return cell.Text(dst, c, i, e.zone), nil
}

// part appends an element of an array or a field of a row, which nothing can quote.
func (e *Encoder) part(dst []byte, c *batch.Column, i int) ([]byte, error) {
	if c.IsNull(i) {
		return append(dst, e.null...), nil
	}
	at := len(dst)
	dst = cell.Text(dst, c, i, e.zone)
	if bytes.Contains(dst[at:], []byte(e.element)) {
		return dst, fmt.Errorf("%q holds the delimiter %q of format 'csv': set another 'csv.array-element-delimiter'", cell.Shown(dst[at:]), e.element)
	}
	return dst, nil
}

// field appends text, quoted where it must be. always quotes an empty text, which by itself would be no record or no value.
func (e *Encoder) field(dst, text []byte, isText, emptyQuoted bool) ([]byte, error) {
	special := false
	for _, b := range text {
		if b == e.delimiter || b == '\n' || b == '\r' || e.quote != 0 && b == e.quote || e.escape != 0 && b == e.escape {
			special = true
			break
		}
	}
	needs := special || e.hasNull && string(text) == e.null || len(text) == 0 && emptyQuoted ||
		isText && len(text) > 0 && text[0] == '#'
	if !needs {
		return append(dst, text...), nil
	}
	if e.quote == 0 {
		if special && e.escape == 0 || bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
			return dst, fmt.Errorf("%q holds a delimiter or a line end, and format 'csv' has no quote character to write it with", cell.Shown(text))
		}
		return e.escaped(dst, text), nil
	}
	if !e.multiline && (bytes.IndexByte(text, '\n') >= 0) {
		return dst, fmt.Errorf("%q holds a line end, and 'csv.multiline' is 'false'", cell.Shown(text))
	}
	dst = append(dst, e.quote)
	dst = e.escaped(dst, text)
	return append(dst, e.quote), nil
}

func (e *Encoder) escaped(dst, text []byte) []byte {
	for _, b := range text {
		switch {
		case e.escape != 0 && (b == e.escape || e.quote != 0 && b == e.quote || e.quote == 0 && b == e.delimiter):
			dst = append(dst, e.escape)
		case e.quote != 0 && b == e.quote:
			dst = append(dst, e.quote)
		}
		dst = append(dst, b)
	}
	return dst
}
