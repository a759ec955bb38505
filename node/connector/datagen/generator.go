package datagen

import (
	"bytes"
	"math/bits"
	"slices"
	"strconv"

	"github.com/seepnode/seepnode/dataplane/batch"
)

const (
	golden = 0x9E3779B97F4A7C15
	// Salts keep what is drawn for one value apart.
	saltNull   = 0xD1B54A32D192ED03
	saltLength = 0x8CB92BA72F3D8DD7
	saltLow    = 0xABC98388FB8FAC03
)

// mix is the finalizer of splitmix64: a bijection whose output bits depend on all input bits.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// counter is the arithmetic sequence at, at+step, ...
type counter struct{ at, step uint64 }

func (c counter) skip(i int) counter { return counter{c.at + uint64(i)*c.step, c.step} }

type form uint8

const (
	randomInt     form = 1
	randomFloat   form = 2
	randomBool    form = 3
	randomDecimal form = 4
	randomText    form = 5
	randomBytes   form = 6
	randomTime    form = 7 // milliseconds: TIMESTAMP
	randomDate    form = 8
	randomDayTime form = 9
	randomList    form = 10
	randomRow     form = 11
	sequenceInt   form = 12
	sequenceFloat form = 13
	sequenceText  form = 14
	sequenceDec   form = 15
)

const (
	millisOfDay = 24 * 60 * 60 * 1000
	hexDigits   = "0123456789abcdef"
)

// generator makes the values of one column or of a part of one.
type generator struct {
	form     form
	key      uint64 // of this column's hash
	nulls    uint64 // null when the upper 32 bits of the null hash are below it
	min      int64
	span     uint64 // number of values from min on; 0 means 2^64
	fmin     float64
	fmax     float64
	single   bool // FLOAT
	decMin   batch.Dec
	decSpan  batch.Dec // number of values from decMin on, unsigned
	decScale batch.Dec // 10^scale, for sequences
	length   int
	variable bool
	pace     pace   // of the table's rows, which gives their times
	maxPast  uint64 // in milliseconds
	children []*generator
	// What comparing a map's keys needs, a reader's own: see clone.
	scratch     *batch.Column
	want, other []byte
}

// clone gives a reader a generator that shares nothing that changes.
func (g *generator) clone() *generator {
	c := *g
	c.children, c.want, c.other = nil, nil, nil
	for _, child := range g.children {
		c.children = append(c.children, child.clone())
	}
	if g.scratch != nil {
		c.scratch = batch.NewColumn(g.scratch.Type)
	}
	return &c
}

// memBytes is roughly the memory a value takes.
func (g *generator) memBytes() int {
	inner := 0
	for _, c := range g.children {
		inner += c.memBytes()
	}
	switch g.form {
	case randomBool:
		return 1
	case randomDecimal, sequenceDec:
		return 16
	case randomText, randomBytes:
		return 4 + g.length
	case sequenceText:
		return 4 + 8
	case randomList:
		return 4 + g.length*inner
	case randomRow:
		return inner
	}
	return 8
}

// fill appends n values to c: one for each of the next n counts of hash, of which all that is random is drawn, and of row,
// the number of the table's row, of which sequences and times are made.
func (g *generator) fill(c *batch.Column, n int, hash, row counter) {
	if g.nulls > 0 && (c.Kind() == batch.KindBytes || c.Kind() == batch.KindList || c.Kind() == batch.KindRow) {
		g.fillNullable(c, n, hash, row)
		return
	}
	base := c.Len()
	switch g.form {
	case randomInt:
		c.Int64s = slices.Grow(c.Int64s, n)[:base+n]
		g.fillInts(c.Int64s[base:], hash)
	case sequenceInt:
		c.Int64s = slices.Grow(c.Int64s, n)[:base+n]
		for i := range c.Int64s[base:] {
			c.Int64s[base+i] = g.min + int64(row.at+uint64(i)*row.step)
		}
	case randomFloat, sequenceFloat:
		c.Float64s = slices.Grow(c.Float64s, n)[:base+n]
		g.fillFloats(c.Float64s[base:], hash, row)
	case randomBool:
		c.Bools = slices.Grow(c.Bools, n)[:base+n]
		for i := range c.Bools[base:] {
			c.Bools[base+i] = g.draw(hash, i)>>63 != 0
		}
	case randomDecimal, sequenceDec:
		c.Decs = slices.Grow(c.Decs, n)[:base+n]
		g.fillDecimals(c.Decs[base:], hash, row)
	case randomText, randomBytes, sequenceText:
		for i := range n {
			g.appendBytes(c, hash, row, i)
		}
	case randomTime, randomDate, randomDayTime:
		c.Int64s = slices.Grow(c.Int64s, n)[:base+n]
		g.fillTimes(c.Int64s[base:], hash, row)
	case randomList:
		g.fillLists(c, n, hash, row)
	case randomRow:
		for k, child := range g.children {
			child.fill(c.Children[k], n, hash, row)
		}
		for range n {
			c.CloseRow()
		}
	}
	if g.nulls > 0 {
		g.clearNulls(c, base, n, hash)
	}
}

// isNull decides by a hash of its own, so that 'null-rate' changes no other value.
func (g *generator) isNull(hash counter, i int) bool {
	return mix(g.draw(hash, i)^saltNull)>>32 < g.nulls
}

// fillNullable is fill for kinds whose null rows are shorter than others and cannot be made null afterwards.
func (g *generator) fillNullable(c *batch.Column, n int, hash, row counter) {
	values := *g
	values.nulls = 0
	for i := range n {
		if g.isNull(hash, i) {
			c.AppendNull()
			continue
		}
		values.fill(c, 1, hash.skip(i), row.skip(i))
	}
}

// clearNulls makes null rows of a fixed-width column.
func (g *generator) clearNulls(c *batch.Column, base, n int, hash counter) {
	for i := range n {
		if !g.isNull(hash, i) {
			continue
		}
		switch c.Kind() {
		case batch.KindInt64:
			c.Int64s[base+i] = 0
		case batch.KindFloat64:
			c.Float64s[base+i] = 0
		case batch.KindBool:
			c.Bools[base+i] = false
		case batch.KindDecimal:
			c.Decs[base+i] = batch.Dec{}
		}
		c.SetNull(base + i)
	}
}

// draw is the hash of the i-th count.
func (g *generator) draw(hash counter, i int) uint64 {
	return mix(g.key + (hash.at+uint64(i)*hash.step)*golden)
}

func (g *generator) fillInts(out []int64, hash counter) {
	x, step := g.key+hash.at*golden, hash.step*golden
	if g.span == 0 {
		for i := range out {
			out[i] = int64(mix(x))
			x += step
		}
		return
	}
	low, span := g.min, g.span
	for i := range out {
		hi, _ := bits.Mul64(mix(x), span)
		out[i] = low + int64(hi)
		x += step
	}
}

func (g *generator) fillFloats(out []float64, hash, row counter) {
	for i := range out {
		if g.form == sequenceFloat {
			out[i] = float64(g.min + int64(row.at+uint64(i)*row.step))
			continue
		}
		u := float64(g.draw(hash, i)>>11) / (1 << 53)
		// A weighted mean cannot overflow as max-min would.
		v := float64(g.fmin*(1-u)) + float64(g.fmax*u)
		if g.single {
			v = float64(float32(v))
		}
		out[i] = min(max(v, g.fmin), g.fmax)
	}
}

func (g *generator) fillDecimals(out []batch.Dec, hash, row counter) {
	for i := range out {
		if g.form == sequenceDec {
			v := g.min + int64(row.at+uint64(i)*row.step)
			out[i] = mulDec(batch.Dec{Hi: v >> 63, Lo: uint64(v)}, g.decScale)
			continue
		}
		h := g.draw(hash, i)
		out[i] = addDec(g.decMin, reduce(h, mix(h^saltLow), g.decSpan))
	}
}

func (g *generator) appendBytes(c *batch.Column, hash, row counter, i int) {
	if g.form == sequenceText {
		c.Data = strconv.AppendInt(c.Data, g.min+int64(row.at+uint64(i)*row.step), 10)
		c.CloseBytes()
		return
	}
	h := g.draw(hash, i)
	n := g.length
	if g.variable && n > 1 {
		hi, _ := bits.Mul64(mix(h^saltLength), uint64(n))
		n = int(hi) + 1
	}
	at := len(c.Data)
	c.Data = slices.Grow(c.Data, n)[:at+n]
	out := c.Data[at:]
	perHash, width, mask := 8, uint(8), uint64(255)
	if g.form == randomText {
		perHash, width, mask = 16, 4, 15
	}
	for k := 0; k < n; k += perHash {
		h = mix(h + golden)
		x := h
		for j := k; j < min(k+perHash, n); j++ {
			if g.form == randomText {
				out[j] = hexDigits[x&mask]
			} else {
				out[j] = byte(x & mask)
			}
			x >>= width
		}
	}
	c.CloseBytes()
}

func (g *generator) fillTimes(out []int64, hash, row counter) {
	for i := range out {
		v := int64(g.pace.time(row.at + uint64(i)*row.step))
		if g.maxPast > 0 {
			past, _ := bits.Mul64(g.draw(hash, i), g.maxPast+1)
			v -= int64(past)
		}
		switch g.form {
		case randomDate:
			v = floorDiv(v, millisOfDay)
		case randomDayTime:
			v -= floorDiv(v, millisOfDay) * millisOfDay
		}
		out[i] = v
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func (g *generator) fillLists(c *batch.Column, n int, hash, row counter) {
	for i := range n {
		inner := counter{g.draw(hash, i), 1}
		at := row.at + uint64(i)*row.step
		if len(g.children) == 1 {
			g.children[0].fill(c.Children[0], g.length, inner, counter{at, 0})
		} else {
			g.fillMap(c, inner, counter{at, 0})
		}
		c.CloseList()
	}
}

// fillMap appends the entries of one map: those of length draws whose keys are not among the map's yet.
func (g *generator) fillMap(c *batch.Column, inner, row counter) {
	keys, values := c.Children[0], c.Children[1]
	from := keys.Len()
	for k := range g.length {
		one := inner.skip(k)
		g.scratch.Reset()
		g.children[0].fill(g.scratch, 1, one, row)
		if g.holds(keys, from) {
			continue
		}
		keys.AppendFrom(g.scratch, 0)
		g.children[1].fill(values, 1, one, row)
	}
}

// holds says whether the rows of keys from from on hold the scratch column's one value.
func (g *generator) holds(keys *batch.Column, from int) bool {
	g.want = batch.AppendKeyColumn(g.want[:0], g.scratch, 0, true)
	for i := from; i < keys.Len(); i++ {
		g.other = batch.AppendKeyColumn(g.other[:0], keys, i, true)
		if bytes.Equal(g.want, g.other) {
			return true
		}
	}
	return false
}
