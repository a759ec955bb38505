package expr

import (
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// AppendText appends the value of row i of c as CAST(value AS STRING) gives it: numbers as in Java, timestamps with the
// digits of their type, TIMESTAMP_LTZ in zone (nil is UTC), BYTES as they are, ARRAY [a, b], MAP {k=v}, ROW (a, b).
// A null is the text NULL; callers that write nulls otherwise ask c.IsNull first.
func AppendText(dst []byte, c *batch.Column, i int, zone *time.Location) []byte {
	if c.IsNull(i) {
		return append(dst, "NULL"...)
	}
	switch c.Type.ID {
	case batch.Boolean:
		if c.Bools[i] {
			return append(dst, "TRUE"...)
		}
		return append(dst, "FALSE"...)
	case batch.TinyInt, batch.SmallInt, batch.Int, batch.BigInt:
		return strconv.AppendInt(dst, c.Int64s[i], 10)
	case batch.Float:
		return appendFloat(dst, c.Float64s[i], 32)
	case batch.Double:
		return appendFloat(dst, c.Float64s[i], 64)
	case batch.Decimal:
		return AppendDecimal(dst, c.Decs[i], c.Type.Scale)
	case batch.Char, batch.Varchar, batch.Bytes:
		return append(dst, c.Bytes(i)...)
	case batch.Date:
		return appendDate(dst, c.Int64s[i])
	case batch.Time:
		return appendTime(dst, c.Int64s[i], c.Type.Precision)
	case batch.Timestamp:
		return appendTimestamp(dst, c.Int64s[i], c.Type.Precision)
	case batch.TimestampLTZ:
		return appendTimestamp(dst, toLocal(c.Int64s[i], zone), c.Type.Precision)
	case batch.Interval:
		return appendInterval(dst, c.Int64s[i])
	case batch.IntervalYM:
		return appendIntervalYM(dst, c.Int64s[i])
	case batch.Array, batch.Map:
		return appendListText(dst, c, i, zone)
	case batch.RowType:
		dst = append(dst, '(')
		for k, ch := range c.Children {
			if k > 0 {
				dst = append(dst, ", "...)
			}
			dst = AppendText(dst, ch, i, zone)
		}
		return append(dst, ')')
	}
	return append(dst, "NULL"...)
}

func appendListText(dst []byte, c *batch.Column, i int, zone *time.Location) []byte {
	isMap := c.Type.ID == batch.Map
	if isMap {
		dst = append(dst, '{')
	} else {
		dst = append(dst, '[')
	}
	from, to := c.Range(i)
	for k := from; k < to; k++ {
		if k > from {
			dst = append(dst, ", "...)
		}
		dst = AppendText(dst, c.Children[0], k, zone)
		if isMap {
			dst = append(dst, '=')
			dst = AppendText(dst, c.Children[1], k, zone)
		}
	}
	if isMap {
		return append(dst, '}')
	}
	return append(dst, ']')
}

func appendInterval(dst []byte, ms int64) []byte {
	sign := byte('+')
	u := uint64(ms)
	if ms < 0 {
		sign, u = '-', -u
	}
	dst = strconv.AppendUint(append(dst, sign), u/msPerDay, 10)
	return appendTime(append(dst, ' '), int64(u%msPerDay), 3)
}

func appendIntervalYM(dst []byte, months int64) []byte {
	sign := byte('+')
	u := uint64(months)
	if months < 0 {
		sign, u = '-', -u
	}
	dst = strconv.AppendUint(append(dst, sign), u/12, 10)
	return append2(append(dst, '-'), int(u%12))
}

// ParseText appends one value of c's type, read from text as CAST(text AS type) reads it, with TIMESTAMP_LTZ texts without
// zone taken as UTC. On error c is unchanged and the error says what text is not. Text kinds are cut or padded to the
// type's length; a number with more digits than the type's DECIMAL becomes null, as in Flink.
// ARRAY, MAP, ROW and intervals are not supported: their text has no standard form.
func ParseText(c *batch.Column, text []byte) error { return ParseTextIn(c, text, nil) }

// ParseTextIn is ParseText with TIMESTAMP_LTZ texts without zone taken as times of zone (nil is UTC).
func ParseTextIn(c *batch.Column, text []byte, zone *time.Location) error {
	switch c.Type.ID {
	case batch.Char, batch.Varchar:
		c.Data = appendFitted(c.Data, text, c.Type)
		c.CloseBytes()
		return nil
	case batch.Bytes:
		c.AppendBytes(cutBytes(text, c.Type))
		return nil
	case batch.Boolean:
		if v, ok := parseBool(text); ok {
			c.AppendBool(v)
			return nil
		}
	case batch.Decimal:
		d, ok, fit := parseDecimal(text, c.Type.Precision, c.Type.Scale)
		if ok && fit {
			c.AppendDec(d)
			return nil
		}
		if ok {
			c.AppendNull()
			return nil
		}
	case batch.Float, batch.Double:
		bits := 64
		if c.Type.ID == batch.Float {
			bits = 32
		}
		if v, ok := parseFloat(text, bits); ok {
			c.AppendFloat64(v)
			return nil
		}
	case batch.Null:
		c.AppendNull()
		return nil
	case batch.Array, batch.Map, batch.RowType, batch.Interval, batch.IntervalYM:
		return fmt.Errorf("reading %s from text is not supported", c.Type.Nullable())
	default:
		if v, ok := parseIntegral(text, c.Type, zone); ok {
			c.AppendInt64(v)
			return nil
		}
	}
	return notA(text, c.Type)
}

// parseIntegral reads the kinds that are stored as int64.
func parseIntegral(text []byte, t batch.Type, zone *time.Location) (int64, bool) {
	switch t.ID {
	case batch.TinyInt, batch.SmallInt, batch.Int, batch.BigInt:
		lo, hi := intRange(t.ID)
		return parseInt(text, lo, hi, true)
	case batch.Date:
		return parseDate(text)
	case batch.Time:
		return parseTime(text)
	case batch.Timestamp:
		ms, zoned, ok := parseTimestamp(text)
		return ms, ok && !zoned
	case batch.TimestampLTZ:
		ms, zoned, ok := parseTimestamp(text)
		if !zoned {
			ms = toInstant(ms, zone)
		}
		return ms, ok
	}
	return 0, false
}

func intRange(id batch.TypeID) (lo, hi int64) {
	switch id {
	case batch.TinyInt:
		return math.MinInt8, math.MaxInt8
	case batch.SmallInt:
		return math.MinInt16, math.MaxInt16
	case batch.Int:
		return math.MinInt32, math.MaxInt32
	}
	return math.MinInt64, math.MaxInt64
}

func parseBool(text []byte) (v, ok bool) {
	t := trimSpace(text)
	switch {
	case len(t) > 5:
		return false, false
	case equalFold(t, "true"), equalFold(t, "t"), equalFold(t, "yes"), equalFold(t, "y"), equalFold(t, "1"):
		return true, true
	case equalFold(t, "false"), equalFold(t, "f"), equalFold(t, "no"), equalFold(t, "n"), equalFold(t, "0"):
		return false, true
	}
	return false, false
}

// equalFold compares text with lower-case ASCII letters or digits.
func equalFold(t []byte, lower string) bool {
	if len(t) != len(lower) {
		return false
	}
	for i, c := range t {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// appendFitted appends text cut to the length of t in characters, a CHAR also padded with blanks.
func appendFitted(dst, text []byte, t batch.Type) []byte {
	if t.Precision == batch.MaxLength || t.ID == batch.Varchar && len(text) <= t.Precision {
		return append(dst, text...)
	}
	n, at := 0, 0
	for at < len(text) && n < t.Precision {
		_, w := utf8.DecodeRune(text[at:])
		at += w
		n++
	}
	dst = append(dst, text[:at]...)
	if t.ID == batch.Char {
		for ; n < t.Precision; n++ {
			dst = append(dst, ' ')
		}
	}
	return dst
}

func cutBytes(b []byte, t batch.Type) []byte {
	if t.Precision > 0 && len(b) > t.Precision {
		return b[:t.Precision]
	}
	return b
}

// notA says that text is no value of t, quoting not more of it than a line holds.
func notA(text []byte, t batch.Type) error {
	const most = 60
	shown := text
	more := ""
	if len(shown) > most {
		shown, more = shown[:most], "..."
	}
	return fmt.Errorf("%q%s is not a %s", shown, more, t.Nullable())
}
