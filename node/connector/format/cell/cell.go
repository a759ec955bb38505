package cell

import (
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
)

// shownMax is how much of a wrong text an error shows, in bytes.
const shownMax = 100

// Append appends one value read from text to c, which is of a scalar type: BYTES are base64, everything else is as SQL writes
// it, TIMESTAMP_LTZ without a zone is a time of zone (nil is UTC). On error c is as before.
func Append(c *batch.Column, text []byte, zone *time.Location) error {
	switch c.Type.ID {
	case batch.TinyInt, batch.SmallInt, batch.Int, batch.BigInt:
		if v, ok := shortInt(text); ok && (c.Type.ID == batch.BigInt || inRange(c.Type.ID, v)) {
			c.AppendInt64(v)
			return nil
		}
		// What SQL's CAST makes of a fraction, an input does not mean.
		if slices.ContainsFunc(text, func(b byte) bool { return b == '.' || b|32 == 'e' }) && !zeroFraction(text) {
			return wrong(c.Type, text)
		}
	case batch.Char, batch.Varchar:
		if c.Type.Precision == batch.MaxLength {
			c.AppendBytes(text)
			return nil
		}
	case batch.Bytes:
		return appendBase64(c, text)
	}
	if err := expr.ParseTextIn(c, text, zone); err != nil {
		return wrong(c.Type, text)
	}
	return nil
}

func wrong(t batch.Type, text []byte) error {
	return fmt.Errorf("%q is not a value of %s", Shown(text), t.Nullable())
}

// Shown is the beginning of text, for errors.
func Shown(text []byte) string {
	if len(text) > shownMax {
		return string(text[:shownMax]) + "..."
	}
	return string(text)
}

// shortInt reads [-]digits of at most 18 digits.
func shortInt(text []byte) (int64, bool) {
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	v := int64(0)
	for _, d := range digits {
		if d -= '0'; d > 9 {
			return 0, false
		}
		v = v*10 + int64(d)
	}
	if len(digits) < len(text) {
		v = -v
	}
	return v, true
}

func inRange(id batch.TypeID, v int64) bool {
	switch id {
	case batch.TinyInt:
		return v == int64(int8(v))
	case batch.SmallInt:
		return v == int64(int16(v))
	default:
		return v == int64(int32(v))
	}
}

// zeroFraction says whether text is digits followed by a dot and nothing but zeros.
func zeroFraction(text []byte) bool {
	dot := slices.Index(text, '.')
	if dot < 1 {
		return false
	}
	for _, b := range text[dot+1:] {
		if b != '0' {
			return false
		}
	}
	return true
}

func appendBase64(c *batch.Column, text []byte) error {
	at := len(c.Data)
	n := base64.StdEncoding.DecodedLen(len(text))
	c.Data = slices.Grow(c.Data, n)[:at+n]
	n, err := base64.StdEncoding.Decode(c.Data[at:], text)
	c.Data = c.Data[:at+n]
	if err != nil {
		c.Data = c.Data[:at]
		return fmt.Errorf("%q is not base64, which holds %s", Shown(text), c.Type.Nullable())
	}
	c.CloseBytes()
	return nil
}

// Text appends value i of c, which is of a scalar type and not null, in the form that Append reads.
func Text(dst []byte, c *batch.Column, i int, zone *time.Location) []byte {
	if c.Type.ID == batch.Bytes {
		return base64.StdEncoding.AppendEncode(dst, c.Bytes(i))
	}
	return expr.AppendText(dst, c, i, zone)
}

// EndRow ends the row that was appended one value to each column. When a column that is NOT NULL holds a null it takes the row back and
// says so.
func EndRow(b *batch.Batch) error {
	n := b.Len()
	for i := range b.Cols {
		if b.Schema.Fields[i].Type.NotNull && b.Cols[i].IsNull(n) {
			Rollback(b)
			return fmt.Errorf("column %s is NOT NULL and the row has no value for it", b.Schema.Fields[i].Name)
		}
	}
	b.EndRow(batch.Insert)
	return nil
}

// Rollback takes away what was appended to b's columns since its last EndRow.
func Rollback(b *batch.Batch) {
	for i := range b.Cols {
		Truncate(&b.Cols[i], b.Len())
	}
}

// Truncate cuts a column to its first n rows; a shorter one stays as it is.
func Truncate(c *batch.Column, n int) {
	if c.Len() <= n && c.Kind() != batch.KindRow && c.Kind() != batch.KindList && c.Kind() != batch.KindBytes {
		return
	}
	switch c.Kind() {
	case batch.KindInt64:
		c.Int64s = c.Int64s[:n]
	case batch.KindFloat64:
		c.Float64s = c.Float64s[:n]
	case batch.KindBool:
		c.Bools = c.Bools[:n]
	case batch.KindDecimal:
		c.Decs = c.Decs[:n]
	case batch.KindBytes:
		c.Offsets = c.Offsets[:min(n+1, len(c.Offsets))]
		c.Data = c.Data[:lastOffset(c)]
	case batch.KindList:
		// Elements may be there without the list that was to hold them.
		c.Offsets = c.Offsets[:min(n+1, len(c.Offsets))]
		for _, child := range c.Children {
			Truncate(child, lastOffset(c))
		}
	case batch.KindRow:
		truncateRows(c, n)
	}
	clearNulls(c, n)
}

func lastOffset(c *batch.Column) int {
	if len(c.Offsets) == 0 {
		return 0
	}
	return int(c.Offsets[len(c.Offsets)-1])
}

// truncateRows counts the rows of a ROW column anew, as only Reset takes any away.
func truncateRows(c *batch.Column, n int) {
	n = min(n, c.Len())
	children, nulls := c.Children, c.Nulls
	for _, child := range children {
		Truncate(child, n)
	}
	c.Children = nil
	c.Reset()
	c.Children, c.Nulls = children, nulls
	for range n {
		c.CloseRow()
	}
}

func clearNulls(c *batch.Column, n int) {
	if words := (n + 63) / 64; len(c.Nulls) > words {
		c.Nulls = c.Nulls[:words]
	}
	if n&63 != 0 && len(c.Nulls) > n>>6 {
		c.Nulls[n>>6] &= 1<<(n&63) - 1
	}
}
