package datagen

import (
	"fmt"
	"math"
	"strconv"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/expr"
)

const (
	stringLength     = 100
	bytesLength      = 20
	collectionLength = 3
	// mapLengthMax bounds a map's entries, each of which is compared with those before it.
	mapLengthMax = 1000
	maxPastMax   = 100 * 366 * millisOfDay
)

// builder makes generators of a table's columns.
type builder struct {
	config       connector.Config
	seed         uint64
	pace         pace
	sequence     bool
	sequenceRows uint64
}

func (b *builder) option(path, name string) string {
	return b.config.Get(definition, "fields."+path+"."+name)
}

func (b *builder) isSet(path, name string) bool {
	_, ok := b.config.Options["fields."+path+"."+name]
	return ok
}

// build makes the generator of the column or part named path. rows says that it has one value per row of the table, so that it may be a sequence.
func (b *builder) build(path string, t batch.Type, key uint64, rows bool) (*generator, error) {
	g := &generator{key: mix(key), pace: b.pace}
	rate, err := strconv.ParseFloat(b.option(path, "null-rate"), 64)
	if err != nil || !(rate >= 0 && rate <= 1) {
		return nil, fmt.Errorf("option 'fields.%s.null-rate': %q is not a number from 0 to 1", path, b.option(path, "null-rate"))
	}
	g.nulls = uint64(math.Round(float64(rate * (1 << 32))))
	if g.nulls > 0 && t.NotNull {
		return nil, fmt.Errorf("option 'fields.%s.null-rate': the column is NOT NULL", path)
	}
	if b.option(path, "kind") == "sequence" {
		if !rows {
			return nil, fmt.Errorf("option 'fields.%s.kind': a sequence within an array or a map is not supported", path)
		}
		return g, b.sequenceOf(g, path, t)
	}
	for _, name := range []string{"start", "end"} {
		if b.isSet(path, name) {
			return nil, fmt.Errorf("option 'fields.%s.%s' needs 'fields.%s.kind' = 'sequence'", path, name, path)
		}
	}
	return g, b.randomOf(g, path, t, rows)
}

func (b *builder) sequenceOf(g *generator, path string, t batch.Type) error {
	var ends [2]int64
	for i, name := range []string{"start", "end"} {
		if !b.isSet(path, name) {
			return fmt.Errorf("option 'fields.%s.%s' is required: the column is a sequence", path, name)
		}
		v, err := strconv.ParseInt(b.option(path, name), 10, 64)
		if err != nil {
			return fmt.Errorf("option 'fields.%s.%s': %q is not a whole number", path, name, b.option(path, name))
		}
		ends[i] = v
	}
	if ends[1] < ends[0] {
		return fmt.Errorf("option 'fields.%s.end': %d is less than the start %d", path, ends[1], ends[0])
	}
	low, high := int64(math.MinInt64), int64(math.MaxInt64)
	switch {
	case t.IsInteger():
		g.form = sequenceInt
		low, high = intRange(t.ID)
	case t.ID == batch.Float || t.ID == batch.Double:
		g.form = sequenceFloat
		low, high = -1<<53, 1<<53
		if t.ID == batch.Float {
			low, high = -1<<24, 1<<24
		}
	case t.ID == batch.Decimal:
		g.form, g.decScale = sequenceDec, pow10Dec(t.Scale)
		if digits := t.Precision - t.Scale; digits < 19 {
			high = int64(pow10Dec(digits).Lo) - 1
			low = -high
		}
	case t.IsString():
		g.form = sequenceText
	default:
		return fmt.Errorf("option 'fields.%s.kind': a sequence of %s is not supported", path, t.Nullable())
	}
	if ends[0] < low || ends[1] > high {
		return fmt.Errorf("option 'fields.%s.end': the sequence from %d to %d does not fit %s", path, ends[0], ends[1], t.Nullable())
	}
	g.min = ends[0]
	rows := uint64(ends[1]) - uint64(ends[0])
	rows = min(rows, rowsMax-1) + 1
	if !b.sequence || rows < b.sequenceRows {
		b.sequence, b.sequenceRows = true, rows
	}
	return nil
}

func (b *builder) randomOf(g *generator, path string, t batch.Type, rows bool) (err error) {
	if (b.isSet(path, "min") || b.isSet(path, "max")) && !t.IsNumeric() {
		return fmt.Errorf("options 'fields.%s.min' and 'max' are for numbers; the column is %s", path, t.Nullable())
	}
	switch t.ID {
	case batch.Boolean:
		g.form = randomBool
	case batch.TinyInt, batch.SmallInt, batch.Int, batch.BigInt:
		return b.integers(g, path, t)
	case batch.Float, batch.Double:
		return b.floats(g, path, t)
	case batch.Decimal:
		return b.decimals(g, path, t)
	case batch.Char, batch.Varchar, batch.Bytes:
		return b.strings(g, path, t)
	case batch.Date, batch.Time, batch.Timestamp, batch.TimestampLTZ:
		past, err := connector.ParseDuration(b.option(path, "max-past"))
		if err != nil || past.Milliseconds() > maxPastMax {
			return fmt.Errorf("option 'fields.%s.max-past': %q is not a duration of at most a hundred years", path, b.option(path, "max-past"))
		}
		g.maxPast = uint64(past.Milliseconds())
		g.form = randomTime
		if t.ID == batch.Date {
			g.form = randomDate
		} else if t.ID == batch.Time {
			g.form = randomDayTime
		}
	case batch.Array, batch.Map:
		g.form = randomList
		top := lengthMax
		if t.ID == batch.Map {
			top = mapLengthMax
			g.scratch = batch.NewColumn(t.Fields[0].Type)
		}
		if g.length, err = b.length(path, collectionLength, top); err != nil {
			return err
		}
		return b.parts(g, path, t, false)
	case batch.RowType:
		g.form = randomRow
		return b.parts(g, path, t, rows)
	default:
		return fmt.Errorf("column %s: random values of %s are not supported", path, t.Nullable())
	}
	return nil
}

func (b *builder) parts(g *generator, path string, t batch.Type, rows bool) error {
	for i, f := range t.Fields {
		child, err := b.build(path+"."+f.Name, f.Type, g.key+uint64(i+1)*golden, rows)
		if err != nil {
			return err
		}
		g.children = append(g.children, child)
	}
	return nil
}

func (b *builder) length(path string, otherwise, top int) (int, error) {
	if !b.isSet(path, "length") {
		return otherwise, nil
	}
	n, err := strconv.Atoi(b.option(path, "length"))
	if err != nil || n < 0 || n > top {
		return 0, fmt.Errorf("option 'fields.%s.length': %q is not a whole number from 0 to %d", path, b.option(path, "length"), top)
	}
	return n, nil
}

func (b *builder) strings(g *generator, path string, t batch.Type) (err error) {
	g.form = randomText
	otherwise := stringLength
	if t.ID == batch.Bytes {
		g.form, otherwise = randomBytes, bytesLength
	}
	stated := t.Precision > 0 && t.Precision < batch.MaxLength
	if stated {
		otherwise = min(t.Precision, lengthMax)
	}
	if g.length, err = b.length(path, otherwise, lengthMax); err != nil {
		return err
	}
	if stated && (g.length > t.Precision || t.ID == batch.Char && g.length != t.Precision) {
		return fmt.Errorf("option 'fields.%s.length': %d does not fit %s", path, g.length, t.Nullable())
	}
	switch b.option(path, "var-len") {
	case "true":
		if t.ID == batch.Char {
			return fmt.Errorf("option 'fields.%s.var-len': %s has one length", path, t.Nullable())
		}
		g.variable = true
	case "false":
	default:
		return fmt.Errorf("option 'fields.%s.var-len': %q is neither 'true' nor 'false'", path, b.option(path, "var-len"))
	}
	return nil
}

func (b *builder) integers(g *generator, path string, t batch.Type) error {
	low, high := intRange(t.ID)
	ends := [2]int64{low, high}
	for i, name := range []string{"min", "max"} {
		if !b.isSet(path, name) {
			continue
		}
		v, err := strconv.ParseInt(b.option(path, name), 10, 64)
		if err != nil || v < low || v > high {
			return fmt.Errorf("option 'fields.%s.%s': %q is not a value of %s", path, name, b.option(path, name), t.Nullable())
		}
		ends[i] = v
	}
	if ends[0] > ends[1] {
		return fmt.Errorf("option 'fields.%s.max': %d is less than the least value %d", path, ends[1], ends[0])
	}
	g.form, g.min, g.span = randomInt, ends[0], uint64(ends[1])-uint64(ends[0])+1
	return nil
}

func (b *builder) floats(g *generator, path string, t batch.Type) error {
	top, bits := math.MaxFloat64, 64
	if t.ID == batch.Float {
		top, bits = math.MaxFloat32, 32
	}
	ends := [2]float64{-top, top}
	for i, name := range []string{"min", "max"} {
		if !b.isSet(path, name) {
			continue
		}
		v, err := strconv.ParseFloat(b.option(path, name), bits)
		if err != nil || !(math.Abs(v) <= top) {
			return fmt.Errorf("option 'fields.%s.%s': %q is not a value of %s", path, name, b.option(path, name), t.Nullable())
		}
		ends[i] = v
	}
	if ends[0] > ends[1] {
		return fmt.Errorf("option 'fields.%s.max': %g is less than the least value %g", path, ends[1], ends[0])
	}
	g.form, g.fmin, g.fmax, g.single = randomFloat, ends[0], ends[1], t.ID == batch.Float
	return nil
}

func (b *builder) decimals(g *generator, path string, t batch.Type) error {
	top := subDec(pow10Dec(t.Precision), batch.Dec{Lo: 1})
	ends := [2]batch.Dec{subDec(batch.Dec{}, top), top}
	for i, name := range []string{"min", "max"} {
		if !b.isSet(path, name) {
			continue
		}
		c := batch.NewColumn(t.Nullable())
		if err := expr.ParseText(c, []byte(b.option(path, name))); err != nil || c.IsNull(0) {
			return fmt.Errorf("option 'fields.%s.%s': %q is not a value of %s", path, name, b.option(path, name), t.Nullable())
		}
		ends[i] = c.Decs[0]
	}
	if lessDec(ends[1], ends[0]) {
		return fmt.Errorf("option 'fields.%s.max': %s is less than the least value", path, b.option(path, "max"))
	}
	g.form, g.decMin = randomDecimal, ends[0]
	g.decSpan = addDec(subDec(ends[1], ends[0]), batch.Dec{Lo: 1})
	return nil
}

func intRange(id batch.TypeID) (low, high int64) {
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
