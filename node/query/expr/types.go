package expr

import (
	"github.com/seepnode/seepnode/dataplane/batch"
)

// minAdjustedScale is the number of fractional digits that a DECIMAL result keeps when its whole digits do not leave room.
const minAdjustedScale = 6

// adjustDecimal cuts a computed precision and scale to what a DECIMAL holds, giving up fractional digits first.
func adjustDecimal(precision, scale int) batch.Type {
	if precision <= maxDecimalPrecision {
		return batch.DecimalOf(precision, scale)
	}
	whole := precision - scale
	return batch.DecimalOf(maxDecimalPrecision, max(maxDecimalPrecision-whole, min(scale, minAdjustedScale)))
}

// decimalOf is the DECIMAL that holds every value of an integer type, or t itself.
func decimalOf(t batch.Type) batch.Type {
	switch t.ID {
	case batch.TinyInt:
		return batch.DecimalOf(3, 0)
	case batch.SmallInt:
		return batch.DecimalOf(5, 0)
	case batch.Int:
		return batch.DecimalOf(10, 0)
	case batch.BigInt:
		return batch.DecimalOf(19, 0)
	}
	return t.Nullable()
}

// decimalResult is the type of a op b for two DECIMALs, by the rules of Flink.
func decimalResult(op string, a, b batch.Type) batch.Type {
	p1, s1, p2, s2 := a.Precision, a.Scale, b.Precision, b.Scale
	switch op {
	case "*":
		return adjustDecimal(p1+p2+1, s1+s2)
	case "/":
		scale := max(6, s1+p2+1)
		return adjustDecimal(p1-s1+s2+scale, scale)
	case "%":
		scale := max(s1, s2)
		return adjustDecimal(max(1, min(p1-s1, p2-s2)+scale), scale)
	}
	scale := max(s1, s2)
	return adjustDecimal(max(p1-s1, p2-s2)+scale+1, scale)
}

// CommonType is the type that values of a and b are both brought to where one column holds both (UNION ALL, CASE, COALESCE,
// comparison); false when there is none. It is NOT NULL when both are.
func CommonType(a, b batch.Type) (batch.Type, bool) {
	t, ok := commonType(a, b)
	t.NotNull = a.NotNull && b.NotNull
	return t, ok
}

func commonType(a, b batch.Type) (batch.Type, bool) {
	switch {
	case a.ID == batch.Null:
		return b, true
	case b.ID == batch.Null || a.Equal(b):
		return a, true
	case a.IsNumeric() && b.IsNumeric():
		return commonNumeric(a, b), true
	case a.IsString() && b.IsString():
		return batch.Type{ID: batch.Varchar, Precision: max(a.Precision, b.Precision)}, true
	case a.ID > b.ID && b.ID >= batch.Date && a.ID <= batch.TimestampLTZ:
		return commonType(b, a)
	case a.ID == batch.Date && b.IsTime():
		return b, true
	case a.IsTime() && b.IsTime():
		return batch.Type{ID: b.ID, Precision: max(a.Precision, b.Precision)}, true
	case a.ID != b.ID || len(a.Fields) != len(b.Fields):
		return batch.Type{}, false
	case a.ID == batch.Bytes || a.ID == batch.Time:
		return batch.Type{ID: a.ID, Precision: max(a.Precision, b.Precision)}, true
	}
	t := batch.Type{ID: a.ID, Fields: make([]batch.Field, len(a.Fields))}
	for i := range a.Fields {
		f, ok := CommonType(a.Fields[i].Type, b.Fields[i].Type)
		if !ok {
			return batch.Type{}, false
		}
		t.Fields[i] = batch.Field{Name: a.Fields[i].Name, Type: f}
	}
	return t, len(t.Fields) > 0
}

func commonNumeric(a, b batch.Type) batch.Type {
	switch {
	case a.ID == batch.Double || b.ID == batch.Double:
		return batch.TypeDouble
	case a.ID == batch.Float || b.ID == batch.Float:
		if a.ID == batch.Decimal || b.ID == batch.Decimal {
			return batch.TypeDouble
		}
		return batch.TypeFloat
	case a.ID == batch.Decimal || b.ID == batch.Decimal:
		a, b = decimalOf(a), decimalOf(b)
		scale := max(a.Scale, b.Scale)
		return adjustDecimal(max(a.Precision-a.Scale, b.Precision-b.Scale)+scale, scale)
	}
	return batch.Type{ID: max(a.ID, b.ID)}
}

// implicitCast says whether Flink casts from one type to another without being asked, as INSERT INTO does.
func implicitCast(from, to batch.Type) bool {
	switch to.ID {
	case batch.Char:
		return from.ID == batch.Char || from.ID == batch.Null
	case batch.Varchar:
		return from.IsString() || from.ID == batch.Null
	case batch.SmallInt, batch.Int, batch.BigInt:
		return from.IsInteger() && from.ID <= to.ID || from.ID == batch.Null
	case batch.Decimal, batch.Double:
		return from.IsNumeric() || from.ID == batch.Null
	case batch.Float:
		return from.IsNumeric() && from.ID != batch.Double || from.ID == batch.Null
	case batch.Date, batch.Time:
		return from.ID == to.ID || from.ID == batch.Timestamp || from.ID == batch.Null
	case batch.Timestamp, batch.TimestampLTZ:
		return from.IsTime() || from.ID == batch.Null
	case batch.Array, batch.Map, batch.RowType:
		return from.ID == batch.Null || nestedCast(from, to, implicitCast)
	}
	return from.ID == to.ID || from.ID == batch.Null
}

// explicitCast says whether CAST can turn from into to.
func explicitCast(from, to batch.Type) bool {
	if implicitCast(from, to) {
		return true
	}
	exact := to.IsInteger() || to.ID == batch.Decimal
	interval := from.ID == batch.Interval || from.ID == batch.IntervalYM
	switch {
	case to.IsString():
		return true
	case to.ID == batch.Boolean:
		return from.IsString() || from.IsNumeric()
	case to.ID == batch.Bytes:
		return from.IsString()
	case to.IsNumeric():
		return from.IsNumeric() || from.IsString() || from.ID == batch.Boolean || exact && interval
	case to.ID == batch.Date:
		return from.IsTime() || from.IsString()
	case to.ID == batch.Time:
		return from.IsTime() || from.IsString()
	case to.IsTime():
		return from.ID == batch.Date || from.ID == batch.Time || from.IsString()
	case to.ID == batch.Interval || to.ID == batch.IntervalYM:
		return from.IsInteger()
	}
	return nestedCast(from, to, explicitCast)
}

func nestedCast(from, to batch.Type, part func(from, to batch.Type) bool) bool {
	if from.ID != to.ID || len(from.Fields) == 0 || len(from.Fields) != len(to.Fields) {
		return false
	}
	for i := range from.Fields {
		if !part(from.Fields[i].Type, to.Fields[i].Type) {
			return false
		}
	}
	return true
}
