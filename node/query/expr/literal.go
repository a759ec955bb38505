package expr

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

// checkLiteral types a constant: whole numbers are INT, BIGINT or DECIMAL by size, 1.5 is DECIMAL(2, 1), 1e3 DOUBLE, a text
// of n characters CHAR(n).
func checkLiteral(e *ast.Literal) (*Node, error) {
	switch e.Kind {
	case ast.LiteralNull:
		return LiteralNode(NullValue(), batch.TypeNull, e.Pos), nil
	case ast.LiteralBool:
		return LiteralNode(&Value{Bool: e.Bool}, batch.TypeBoolean, e.Pos), nil
	case ast.LiteralNumber:
		return numberLiteral(e)
	case ast.LiteralString:
		return stringLiteral(e.Text, e.Pos), nil
	case ast.LiteralHex:
		b, err := hex.DecodeString(e.Text)
		if err != nil {
			return nil, literalError(e, "pairs of hexadecimal digits are needed")
		}
		return LiteralNode(&Value{Bytes: b}, batch.Type{ID: batch.Bytes, Precision: max(1, len(b))}, e.Pos), nil
	case ast.LiteralDate:
		if d, ok := parseDate([]byte(e.Text)); ok {
			return LiteralNode(IntValue(d), batch.TypeDate, e.Pos), nil
		}
		return nil, literalError(e, "a date is written DATE '2020-12-31'")
	case ast.LiteralTime:
		if t, ok := parseTime([]byte(e.Text)); ok {
			return LiteralNode(IntValue(t), batch.Type{ID: batch.Time, Precision: fractionDigits(e.Text)}, e.Pos), nil
		}
		return nil, literalError(e, "a time is written TIME '23:59:59'")
	case ast.LiteralTimestamp:
		ms, zoned, ok := parseTimestamp([]byte(e.Text))
		if ok && !zoned {
			return LiteralNode(IntValue(ms), batch.Type{ID: batch.Timestamp, Precision: fractionDigits(e.Text)}, e.Pos), nil
		}
		return nil, literalError(e, "a timestamp is written TIMESTAMP '2020-12-31 23:59:59.999', without a zone")
	case ast.LiteralInterval:
		return intervalLiteral(e)
	}
	return nil, literalError(e, "this kind of constant is not supported")
}

func literalError(e *ast.Literal, hint string) error {
	return &ast.Error{Pos: e.Pos, Msg: fmt.Sprintf("%q is not a valid constant", e.Text), Hint: hint}
}

func stringLiteral(s string, pos ast.Pos) *Node {
	return LiteralNode(StringValue(s), batch.Type{ID: batch.Char, Precision: utf8.RuneCountInString(s)}, pos)
}

// fractionDigits is the number of digits after the point, of which 3 are kept.
func fractionDigits(s string) int {
	_, frac, ok := strings.Cut(s, ".")
	if !ok {
		return 0
	}
	return min(len(strings.TrimSpace(frac)), 3)
}

func numberLiteral(e *ast.Literal) (*Node, error) {
	text := strings.TrimSpace(e.Text)
	if strings.ContainsAny(text, "eE") {
		f, ok := parseFloat([]byte(text), 64)
		if !ok {
			return nil, literalError(e, "a number is written 1, 1.5 or 1e3")
		}
		return LiteralNode(&Value{Float: JSONFloat(f)}, batch.TypeDouble, e.Pos), nil
	}
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		if int64(int32(v)) == v {
			return LiteralNode(IntValue(v), batch.TypeInt, e.Pos), nil
		}
		return LiteralNode(IntValue(v), batch.TypeBigInt, e.Pos), nil
	}
	_, mant, _, ok := scanDecimal([]byte(text), nil)
	if !ok {
		return nil, literalError(e, "a number is written 1, 1.5 or 1e3")
	}
	_, frac, _ := strings.Cut(text, ".")
	t := batch.DecimalOf(max(len(mant), len(frac), 1), len(frac))
	if t.Precision > maxDecimalPrecision {
		return nil, literalError(e, "a DECIMAL has at most 38 digits; write it with an exponent for a DOUBLE")
	}
	d, _, fit := parseDecimal([]byte(text), t.Precision, t.Scale)
	if !fit {
		return nil, literalError(e, "a DECIMAL has at most 38 digits")
	}
	return LiteralNode(&Value{Dec: d}, t, e.Pos), nil
}

// unitMs is the length of the units of day-time intervals; unitMonths of year-month intervals.
var (
	unitMs     = map[string]int64{"WEEK": 7 * msPerDay, "DAY": msPerDay, "HOUR": msPerHour, "MINUTE": msPerMinute, "SECOND": msPerSecond, "MILLISECOND": 1}
	unitMonths = map[string]int64{"YEAR": 12, "QUARTER": 3, "MONTH": 1}
)

func intervalLiteral(e *ast.Literal) (*Node, error) {
	unit := strings.ToUpper(strings.TrimSpace(e.Unit))
	text := strings.TrimSpace(e.Text)
	negative := strings.HasPrefix(text, "-")
	text = strings.TrimLeft(text, "+-")
	var v int64
	var ok bool
	t := batch.TypeInterval
	from, to, _ := strings.Cut(unit, " TO ")
	from, _, _ = strings.Cut(from, "(")
	from = strings.TrimSpace(from)
	to, _, _ = strings.Cut(strings.TrimSpace(to), "(")
	if _, month := unitMonths[from]; month {
		t = batch.TypeIntervalYM
		v, ok = yearMonth(text, from, strings.TrimSpace(to))
	} else {
		v, ok = dayTime(text, from, strings.TrimSpace(to))
	}
	if !ok {
		return nil, literalError(e, "an interval is written INTERVAL '10' SECOND, INTERVAL '1 12:30' DAY TO MINUTE, INTERVAL '1-6' YEAR TO MONTH")
	}
	if negative {
		v = -v
	}
	return LiteralNode(IntValue(v), t, e.Pos), nil
}

func yearMonth(text, from, to string) (int64, bool) {
	if to == "" {
		n, ok := parseInt([]byte(text), 0, 1<<30, false)
		return n * unitMonths[from], ok
	}
	y, m, cut := strings.Cut(text, "-")
	years, ok1 := parseInt([]byte(y), 0, 1<<30, false)
	months, ok2 := parseInt([]byte(m), 0, 11, false)
	return years*12 + months, ok1 && ok2 && cut && from == "YEAR" && to == "MONTH"
}

// dayTime reads the parts of text from unit from to unit to: "1 02:03:04.5" for DAY TO SECOND.
func dayTime(text, from, to string) (int64, bool) {
	order := []string{"DAY", "HOUR", "MINUTE", "SECOND"}
	if to == "" {
		to = from
	}
	if from == to && from != "SECOND" {
		n, ok := parseInt([]byte(text), 0, 1<<40, false)
		ms, known := unitMs[from]
		return n * ms, ok && known
	}
	parts := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ':' })
	first, last := -1, -1
	for i, u := range order {
		if u == from {
			first = i
		}
		if u == to {
			last = i
		}
	}
	if first < 0 || last < first || len(parts) != last-first+1 {
		return 0, false
	}
	var sum int64
	for i, p := range parts {
		unit := order[first+i]
		if unit == "SECOND" {
			d, ok, fit := parseDecimal([]byte(p), 18, 3)
			if !ok || !fit {
				return 0, false
			}
			sum += int64(d.Lo)
			continue
		}
		n, ok := parseInt([]byte(p), 0, 1<<40, false)
		if !ok {
			return 0, false
		}
		sum += n * unitMs[unit]
	}
	return sum, true
}

func hexText(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
