package batch

import (
	"fmt"
	"strings"
)

// TypeID names a logical SQL type. The numbers are part of the wire and state formats: never renumber.
type TypeID uint8

const (
	Invalid      TypeID = 0
	Null         TypeID = 1 // the type of a bare NULL literal; coerces to every other type
	Boolean      TypeID = 2
	TinyInt      TypeID = 3
	SmallInt     TypeID = 4
	Int          TypeID = 5
	BigInt       TypeID = 6
	Float        TypeID = 7
	Double       TypeID = 8
	Decimal      TypeID = 9
	Char         TypeID = 10
	Varchar      TypeID = 11 // STRING is VARCHAR(2147483647)
	Bytes        TypeID = 12 // BYTES, BINARY, VARBINARY
	Date         TypeID = 13 // days since 1970-01-01
	Time         TypeID = 14 // milliseconds of the day
	Timestamp    TypeID = 15 // milliseconds since 1970-01-01T00:00 without zone
	TimestampLTZ TypeID = 16 // milliseconds since the Unix epoch
	Array        TypeID = 17
	Map          TypeID = 18
	RowType      TypeID = 19
	Interval     TypeID = 20 // INTERVAL literals of day-time kind, milliseconds; never a column of a table
	IntervalYM   TypeID = 21 // INTERVAL literals of year-month kind, months; never a column of a table
)

// Kind is the physical form of a column.
type Kind uint8

const (
	KindInt64   Kind = 1 // all integers, dates, times, timestamps, intervals
	KindFloat64 Kind = 2
	KindBool    Kind = 3
	KindBytes   Kind = 4 // CHAR, VARCHAR, STRING, BYTES
	KindDecimal Kind = 5
	KindList    Kind = 6 // ARRAY (one child) and MAP (two children: keys, values)
	KindRow     Kind = 7
)

// MaxLength is the length of STRING and BYTES.
const MaxLength = 2147483647

// Type is a logical SQL type. Values are immutable once built and may be shared.
type Type struct {
	ID        TypeID  `json:"id"`
	Precision int     `json:"precision,omitempty"` // DECIMAL digits, CHAR/VARCHAR/BYTES length, fractional digits of TIME and TIMESTAMP
	Scale     int     `json:"scale,omitempty"`     // DECIMAL
	NotNull   bool    `json:"not_null,omitempty"`
	Fields    []Field `json:"fields,omitempty"` // ROW: its fields; ARRAY: one named "element"; MAP: "key", "value"
}

// Field is a named column or a part of a nested type.
type Field struct {
	Name string `json:"name"`
	Type Type   `json:"type"`
}

// Common types, all nullable.
var (
	TypeNull         = Type{ID: Null}
	TypeBoolean      = Type{ID: Boolean}
	TypeTinyInt      = Type{ID: TinyInt}
	TypeSmallInt     = Type{ID: SmallInt}
	TypeInt          = Type{ID: Int}
	TypeBigInt       = Type{ID: BigInt}
	TypeFloat        = Type{ID: Float}
	TypeDouble       = Type{ID: Double}
	TypeString       = Type{ID: Varchar, Precision: MaxLength}
	TypeBytes        = Type{ID: Bytes, Precision: MaxLength}
	TypeDate         = Type{ID: Date}
	TypeTime         = Type{ID: Time}
	TypeTimestamp    = Type{ID: Timestamp, Precision: 3}
	TypeTimestampLTZ = Type{ID: TimestampLTZ, Precision: 3}
	TypeInterval     = Type{ID: Interval}
	TypeIntervalYM   = Type{ID: IntervalYM}
)

// DecimalOf is DECIMAL(precision, scale).
func DecimalOf(precision, scale int) Type {
	return Type{ID: Decimal, Precision: precision, Scale: scale}
}

// ArrayOf is ARRAY<elem>.
func ArrayOf(elem Type) Type {
	return Type{ID: Array, Fields: []Field{{Name: "element", Type: elem}}}
}

// MapOf is MAP<key, value>.
func MapOf(key, value Type) Type {
	return Type{ID: Map, Fields: []Field{{Name: "key", Type: key}, {Name: "value", Type: value}}}
}

// RowOf is ROW<fields...>.
func RowOf(fields ...Field) Type { return Type{ID: RowType, Fields: fields} }

// Kind is the physical form of values of t. It panics on Invalid, which no planned query holds.
func (t Type) Kind() Kind {
	switch t.ID {
	case Null, Boolean:
		return KindBool
	case TinyInt, SmallInt, Int, BigInt, Date, Time, Timestamp, TimestampLTZ, Interval, IntervalYM:
		return KindInt64
	case Float, Double:
		return KindFloat64
	case Decimal:
		return KindDecimal
	case Char, Varchar, Bytes:
		return KindBytes
	case Array, Map:
		return KindList
	case RowType:
		return KindRow
	}
	panic(fmt.Sprintf("batch: type id %d has no physical kind", t.ID))
}

// Equal says whether t and u hold the same values, nullability of the outermost level aside.
func (t Type) Equal(u Type) bool {
	if t.ID != u.ID || t.Precision != u.Precision || t.Scale != u.Scale || len(t.Fields) != len(u.Fields) {
		return false
	}
	for i := range t.Fields {
		if t.Fields[i].Name != u.Fields[i].Name || !t.Fields[i].Type.Equal(u.Fields[i].Type) {
			return false
		}
	}
	return true
}

// Nullable returns t without NOT NULL.
func (t Type) Nullable() Type { t.NotNull = false; return t }

// AsNotNull returns t with NOT NULL.
func (t Type) AsNotNull() Type { t.NotNull = true; return t }

// IsInteger says whether t is TINYINT, SMALLINT, INT or BIGINT.
func (t Type) IsInteger() bool { return t.ID >= TinyInt && t.ID <= BigInt }

// IsNumeric says whether t is an integer, FLOAT, DOUBLE or DECIMAL.
func (t Type) IsNumeric() bool { return t.ID >= TinyInt && t.ID <= Decimal }

// IsString says whether t is CHAR, VARCHAR or STRING.
func (t Type) IsString() bool { return t.ID == Char || t.ID == Varchar }

// IsTime says whether t is TIMESTAMP or TIMESTAMP_LTZ, the types a watermark can stand on.
func (t Type) IsTime() bool { return t.ID == Timestamp || t.ID == TimestampLTZ }

// String is the type as SQL writes it.
func (t Type) String() string {
	s := t.name()
	if t.NotNull {
		s += " NOT NULL"
	}
	return s
}

func (t Type) name() string {
	switch t.ID {
	case Null:
		return "NULL"
	case Boolean:
		return "BOOLEAN"
	case TinyInt:
		return "TINYINT"
	case SmallInt:
		return "SMALLINT"
	case Int:
		return "INT"
	case BigInt:
		return "BIGINT"
	case Float:
		return "FLOAT"
	case Double:
		return "DOUBLE"
	case Decimal:
		return fmt.Sprintf("DECIMAL(%d, %d)", t.Precision, t.Scale)
	case Char:
		return fmt.Sprintf("CHAR(%d)", t.Precision)
	case Varchar:
		if t.Precision == MaxLength {
			return "STRING"
		}
		return fmt.Sprintf("VARCHAR(%d)", t.Precision)
	case Bytes:
		if t.Precision == MaxLength || t.Precision == 0 {
			return "BYTES"
		}
		return fmt.Sprintf("VARBINARY(%d)", t.Precision)
	case Date:
		return "DATE"
	case Time:
		return "TIME"
	case Timestamp:
		return fmt.Sprintf("TIMESTAMP(%d)", t.Precision)
	case TimestampLTZ:
		return fmt.Sprintf("TIMESTAMP_LTZ(%d)", t.Precision)
	case Array:
		return "ARRAY<" + t.Fields[0].Type.String() + ">"
	case Map:
		return "MAP<" + t.Fields[0].Type.String() + ", " + t.Fields[1].Type.String() + ">"
	case RowType:
		parts := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			parts[i] = "`" + f.Name + "` " + f.Type.String()
		}
		return "ROW<" + strings.Join(parts, ", ") + ">"
	case Interval:
		return "INTERVAL DAY TO SECOND"
	case IntervalYM:
		return "INTERVAL YEAR TO MONTH"
	}
	return "INVALID"
}

// Schema is the ordered list of a batch's columns. Immutable once built; shared by batches.
type Schema struct {
	Fields []Field `json:"fields"`
}

// NewSchema builds a schema of the given fields.
func NewSchema(fields ...Field) *Schema { return &Schema{Fields: fields} }

// Index is the position of the column with that exact name, or -1.
func (s *Schema) Index(name string) int {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// String lists the columns as a CREATE TABLE would.
func (s *Schema) String() string {
	parts := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		parts[i] = f.Name + " " + f.Type.String()
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
