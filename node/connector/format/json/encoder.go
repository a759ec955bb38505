package json

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format/cell"
)

// Encoder writes records. It is used by one goroutine.
type Encoder struct {
	schema    *batch.Schema // the table's: rows come with columns in its order, whatever their own names
	iso       bool
	dropNulls bool
	nullKeys  string
	nullKey   string
	text      []byte
}

// NewEncoder makes the encoder of a table.
func NewEncoder(c connector.Config) (*Encoder, error) {
	if err := checkSchema(c); err != nil {
		return nil, err
	}
	dropNulls, err := c.Bool(definition, "json.encode.ignore-null-fields")
	if err != nil {
		return nil, err
	}
	return &Encoder{
		schema:    c.Schema,
		iso:       c.Get(definition, "json.timestamp-format.standard") == "ISO-8601",
		dropNulls: dropNulls,
		nullKeys:  c.Get(definition, "json.map-null-key.mode"),
		nullKey:   c.Get(definition, "json.map-null-key.literal"),
	}, nil
}

// Append appends row i of b as an object without a line end. It fails on a map with a null key, unless the options say what to write.
func (e *Encoder) Append(dst []byte, b *batch.Batch, i int) ([]byte, error) {
	return e.AppendFields(append(dst, '{'), b, i, true)
}

// AppendFields appends the fields of row i of b and the closing brace of the object that the caller began; first says that it holds none yet.
func (e *Encoder) AppendFields(dst []byte, b *batch.Batch, i int, first bool) (_ []byte, err error) {
	for k := range b.Cols {
		if e.dropNulls && b.Cols[k].IsNull(i) {
			continue
		}
		if dst, err = e.member(dst, e.schema.Fields[k].Name, &b.Cols[k], i, first); err != nil {
			return dst, fmt.Errorf("column %s: %w", e.schema.Fields[k].Name, err)
		}
		first = false
	}
	return append(dst, '}'), nil
}

func (e *Encoder) member(dst []byte, name string, c *batch.Column, i int, first bool) ([]byte, error) {
	if !first {
		dst = append(dst, ',')
	}
	dst = AppendString(dst, name)
	return e.value(append(dst, ':'), c, i)
}

func (e *Encoder) value(dst []byte, c *batch.Column, i int) ([]byte, error) {
	if c.IsNull(i) {
		return append(dst, "null"...), nil
	}
	switch c.Type.ID {
	case batch.Boolean:
		if c.Bools[i] {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case batch.Char, batch.Varchar:
		return AppendString(dst, c.Bytes(i)), nil
	case batch.Float, batch.Double:
		if v := c.Float64s[i]; math.IsNaN(v) || math.IsInf(v, 0) {
			return e.quoted(dst, c, i), nil
		}
		return cell.Text(dst, c, i, nil), nil
	case batch.TinyInt, batch.SmallInt, batch.Int, batch.BigInt, batch.Decimal:
		return cell.Text(dst, c, i, nil), nil
	case batch.Timestamp, batch.TimestampLTZ:
		return e.timestamp(dst, c, i), nil
	case batch.Array:
		return e.array(dst, c, i)
	case batch.Map:
		return e.mapping(dst, c, i)
	case batch.RowType:
		return e.row(dst, c, i)
	}
	return e.quoted(dst, c, i), nil
}

// quoted appends a value whose text holds nothing to escape.
func (e *Encoder) quoted(dst []byte, c *batch.Column, i int) []byte {
	dst = cell.Text(append(dst, '"'), c, i, nil)
	return append(dst, '"')
}

func (e *Encoder) timestamp(dst []byte, c *batch.Column, i int) []byte {
	at := len(dst)
	dst = cell.Text(append(dst, '"'), c, i, time.UTC)
	for k := at; e.iso && k < len(dst); k++ {
		if dst[k] == ' ' {
			dst[k] = 'T'
		}
	}
	if c.Type.ID == batch.TimestampLTZ {
		dst = append(dst, 'Z')
	}
	return append(dst, '"')
}

func (e *Encoder) array(dst []byte, c *batch.Column, i int) (_ []byte, err error) {
	dst = append(dst, '[')
	from, to := c.Range(i)
	for k := from; k < to; k++ {
		if k > from {
			dst = append(dst, ',')
		}
		if dst, err = e.value(dst, c.Children[0], k); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func (e *Encoder) mapping(dst []byte, c *batch.Column, i int) (_ []byte, err error) {
	dst = append(dst, '{')
	from, to := c.Range(i)
	first := true
	for k := from; k < to; k++ {
		name := c.Children[0].Bytes(k)
		if c.Children[0].IsNull(k) {
			switch e.nullKeys {
			case "DROP":
				continue
			case "LITERAL":
				name = append(e.text[:0], e.nullKey...)
			default:
				return dst, errors.New("a map has a null key; 'json.map-null-key.mode' can drop or name it")
			}
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(AppendString(dst, name), ':')
		if dst, err = e.value(dst, c.Children[1], k); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func (e *Encoder) row(dst []byte, c *batch.Column, i int) (_ []byte, err error) {
	dst = append(dst, '{')
	first := true
	for k, child := range c.Children {
		if e.dropNulls && child.IsNull(i) {
			continue
		}
		if dst, err = e.member(dst, c.Type.Fields[k].Name, child, i, first); err != nil {
			return dst, err
		}
		first = false
	}
	return append(dst, '}'), nil
}

const hex = "0123456789abcdef"

// AppendString appends s as a JSON string; what is not UTF-8 becomes U+FFFD.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b >= 0x20 && b != '"' && b != '\\' && b < utf8.RuneSelf {
			i++
			continue
		}
		if b >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[from:i]...)
		switch {
		case b >= utf8.RuneSelf:
			dst = append(dst, "\uFFFD"...)
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b == '\n':
			dst = append(dst, '\\', 'n')
		case b == '\r':
			dst = append(dst, '\\', 'r')
		case b == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		}
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}
