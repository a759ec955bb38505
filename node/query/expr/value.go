package expr

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// Value is one constant of any type; which field holds it follows from the kind of the type it is used with. The zero Value
// is the zero, false or empty value of its type.
type Value struct {
	Null  bool      `json:"null,omitempty"`
	Int   int64     `json:"int,omitempty"`
	Float JSONFloat `json:"float,omitempty"`
	Bool  bool      `json:"bool,omitempty"`
	Dec   batch.Dec `json:"dec,omitzero"`
	Bytes []byte    `json:"bytes,omitempty"`
	// List holds the elements of an ARRAY, keys and values of a MAP in turn, or the fields of a ROW.
	List []Value `json:"list,omitempty"`
}

// JSONFloat is a float64 whose text form also covers NaN and infinities, which JSON numbers do not.
type JSONFloat float64

// MarshalText gives the shortest text that reads back as the same bits (NaN as "NaN").
func (f JSONFloat) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(f), 'g', -1, 64), nil
}

// UnmarshalText reads what MarshalText writes.
func (f *JSONFloat) UnmarshalText(text []byte) error {
	v, err := strconv.ParseFloat(string(text), 64)
	*f = JSONFloat(v)
	return err
}

// NullValue is the constant NULL.
func NullValue() *Value { return &Value{Null: true} }

// IntValue is a constant of an integer, date, time or interval type.
func IntValue(v int64) *Value { return &Value{Int: v} }

// StringValue is a constant of CHAR, VARCHAR or BYTES.
func StringValue(s string) *Value { return &Value{Bytes: []byte(s)} }

// Append appends v to c, whose type is that of the constant.
func (v *Value) Append(c *batch.Column) {
	if v.Null {
		c.AppendNull()
		return
	}
	switch c.Kind() {
	case batch.KindInt64:
		c.AppendInt64(v.Int)
	case batch.KindFloat64:
		c.AppendFloat64(float64(v.Float))
	case batch.KindBool:
		c.AppendBool(v.Bool)
	case batch.KindDecimal:
		c.AppendDec(v.Dec)
	case batch.KindBytes:
		c.AppendBytes(v.Bytes)
	case batch.KindList:
		for i := range v.List {
			v.List[i].Append(c.Children[i%len(c.Children)])
		}
		c.CloseList()
	case batch.KindRow:
		for i := range c.Children {
			v.List[i].Append(c.Children[i])
		}
		c.CloseRow()
	}
}

// ValueAt copies the value of row i of c.
func ValueAt(c *batch.Column, i int) *Value {
	v := &Value{}
	if c.IsNull(i) {
		v.Null = true
		return v
	}
	switch c.Kind() {
	case batch.KindInt64:
		v.Int = c.Int64s[i]
	case batch.KindFloat64:
		v.Float = JSONFloat(c.Float64s[i])
	case batch.KindBool:
		v.Bool = c.Bools[i]
	case batch.KindDecimal:
		v.Dec = c.Decs[i]
	case batch.KindBytes:
		v.Bytes = slices.Clone(c.Bytes(i))
	case batch.KindList:
		from, to := c.Range(i)
		for k := from; k < to; k++ {
			for _, ch := range c.Children {
				v.List = append(v.List, *ValueAt(ch, k))
			}
		}
	case batch.KindRow:
		for _, ch := range c.Children {
			v.List = append(v.List, *ValueAt(ch, i))
		}
	}
	return v
}

// Equal says whether v and w are the same constant: floats bit for bit, but all NaN are one.
func (v *Value) Equal(w *Value) bool {
	if v == nil || w == nil {
		return v == w
	}
	return v.Null == w.Null && v.Int == w.Int && v.Bool == w.Bool && v.Dec == w.Dec &&
		(math.Float64bits(float64(v.Float)) == math.Float64bits(float64(w.Float)) || v.Float != v.Float && w.Float != w.Float) && string(v.Bytes) == string(w.Bytes) &&
		slices.EqualFunc(v.List, w.List, func(a, b Value) bool { return a.Equal(&b) })
}

// text is v as SQL writes it.
func (v *Value) text(t batch.Type) string {
	if v.Null {
		return "NULL"
	}
	c := batch.NewColumn(t)
	v.Append(c)
	s := string(AppendText(nil, c, 0, time.UTC))
	switch t.ID {
	case batch.Char, batch.Varchar:
		return quote(s)
	case batch.Bytes:
		return "X'" + hexText(v.Bytes) + "'"
	case batch.Date:
		return "DATE '" + s + "'"
	case batch.Time:
		return "TIME '" + s + "'"
	case batch.Timestamp:
		return "TIMESTAMP '" + s + "'"
	case batch.TimestampLTZ:
		return "TIMESTAMP_LTZ '" + s + "'"
	case batch.Interval, batch.IntervalYM:
		return "INTERVAL '" + s + "'"
	}
	return s
}
