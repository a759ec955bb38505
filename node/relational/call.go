package relational

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
)

type function uint8

const (
	count function = iota + 1
	sum
	avg
	least
	most
)

// call is one aggregate function with the place of its accumulator: int64 words numbered from at on, of which every key has
// one set. Words mean, by function and kind of the argument:
//
//	COUNT                    n
//	SUM, AVG of integers     n, sum
//	SUM, AVG of floats       n, bits of the sum
//	SUM, AVG of decimals     n, sum in three words from the top, number of addends that overflowed
//	MIN, MAX                 has, value (see words); of decimals has, high, low; of byte strings has, and a byte store
//	MIN, MAX by multiset     none
type call struct {
	plan.AggregateCall
	number  int
	fn      function
	kind    batch.Kind // of the argument; 0 for COUNT(*)
	at      int
	words   int
	store   int // number among the byte stores, -1 without one
	partial int // first of its partial columns in the input, with FromPartial

	distinct bool // values are counted in a table; the accumulator sees each once
	multiset bool // MIN or MAX over updates: values are counted in a table and nothing else is kept
}

// newCalls checks the calls of an aggregate and gives every one its words.
func newCalls(a *plan.Aggregate) (calls []*call, words, stores int, err error) {
	column := len(a.Keys)
	for i, spec := range a.Calls {
		c := &call{AggregateCall: spec, number: i, at: words, store: -1, partial: column}
		if err := c.check(a); err != nil {
			return nil, 0, 0, fmt.Errorf("aggregate %d, %s: %w", i+1, spec.Func, err)
		}
		if c.store == 0 {
			c.store = stores
			stores++
		}
		words += c.words
		if a.FromPartial {
			fields, _ := spec.PartialFields("", a.Updating)
			column += len(fields)
		}
		calls = append(calls, c)
	}
	return calls, words, stores, nil
}

func (c *call) check(a *plan.Aggregate) error {
	switch c.Func {
	case "COUNT":
		c.fn, c.words = count, 1
	case "SUM":
		c.fn, c.words = sum, 2
	case "AVG":
		c.fn, c.words = avg, 2
	case "MIN":
		c.fn, c.words = least, 2
	case "MAX":
		c.fn, c.words = most, 2
	default:
		return fmt.Errorf("not supported")
	}
	if c.ArgType.ID != batch.Invalid {
		c.kind = c.ArgType.Kind()
	} else if c.fn != count {
		return fmt.Errorf("an argument is needed")
	}
	switch c.fn {
	case sum, avg:
		if !c.ArgType.IsNumeric() {
			return fmt.Errorf("of %v is not supported; it takes numbers", c.ArgType)
		}
		if c.kind == batch.KindDecimal {
			c.words = 5
		}
		if err := c.checkResult(); err != nil {
			return err
		}
	case least, most:
		switch c.kind {
		case batch.KindDecimal:
			c.words = 3
		case batch.KindBytes:
			c.words, c.store = 1, 0
		case batch.KindList, batch.KindRow:
			return fmt.Errorf("of %v is not supported; it takes values that have an order", c.ArgType)
		}
		if c.multiset = a.Updating; c.multiset {
			c.words, c.store = 0, -1
		}
	}
	c.distinct = c.Distinct && c.fn != least && c.fn != most
	if c.distinct && c.kind == 0 {
		return fmt.Errorf("DISTINCT needs an argument")
	}
	if _, ok := c.PartialFields("", a.Updating); a.FromPartial && !ok {
		return fmt.Errorf("cannot be put together from partial aggregates")
	}
	return nil
}

// checkResult says whether a SUM or AVG can give its planned type.
func (c *call) checkResult() error {
	if c.Type.Kind() != c.kind {
		return fmt.Errorf("of %v cannot give %v", c.ArgType, c.Type)
	}
	if c.kind != batch.KindDecimal {
		return nil
	}
	if up := c.Type.Scale - c.ArgType.Scale; up < 0 || up > decimalShiftMax || c.fn == sum && up != 0 {
		return fmt.Errorf("of %v cannot give %v", c.ArgType, c.Type)
	}
	return nil
}

// inputs says whether the call reads the input's columns that it names.
func (c *call) inputs(schema []batch.Field) error {
	n := len(schema)
	if c.Arg >= n || c.Filter >= n || c.Arg < 0 && c.kind != 0 {
		return fmt.Errorf("aggregate %d, %s: reads a column that the input of %d columns does not have", c.number+1, c.Func, n)
	}
	if c.Arg >= 0 && c.kind != 0 && schema[c.Arg].Type.Kind() != c.kind {
		return fmt.Errorf("aggregate %d, %s: argument %s is %v, planned as %v", c.number+1, c.Func, schema[c.Arg].Name, schema[c.Arg].Type, c.ArgType)
	}
	if c.Filter >= 0 && schema[c.Filter].Type.Kind() != batch.KindBool {
		return fmt.Errorf("aggregate %d, %s: FILTER column %s is %v", c.number+1, c.Func, schema[c.Filter].Name, schema[c.Filter].Type)
	}
	return nil
}

// weigh gives the weight of each of rows [from, to) in the call: 0 for a row that FILTER drops or whose argument is null.
// Nil means one each. scratch is grown and used when needed.
func (c *call) weigh(b *batch.Batch, from, to int, scratch *[]int8) []int8 {
	var filter, arg *batch.Column
	if c.Filter >= 0 {
		filter = &b.Cols[c.Filter]
	}
	if c.kind != 0 && c.Arg >= 0 && b.Cols[c.Arg].HasNulls() {
		arg = &b.Cols[c.Arg]
	}
	if filter == nil && arg == nil {
		if b.Weights == nil {
			return nil
		}
		return b.Weights[from:to]
	}
	w := (*scratch)[:0]
	if b.Weights != nil {
		w = append(w, b.Weights[from:to]...)
	} else {
		for range to - from {
			w = append(w, 1)
		}
	}
	if filter != nil {
		for i := range w {
			if !filter.Bools[from+i] || filter.IsNull(from+i) {
				w[i] = 0
			}
		}
	}
	if arg != nil {
		for i := range w {
			if arg.IsNull(from + i) {
				w[i] = 0
			}
		}
	}
	*scratch = w
	return w
}

// accumulators is where the words and byte strings of keys are. Word k of the key in slot s is cols[k][s].
type accumulators struct {
	cols   [][]int64
	stores []byteStore
}

// rawScratch is the working memory of feeding raw rows.
type rawScratch struct {
	weights []int8
	words   []int64
}

// feed adds rows [from, to) of raw input to the accumulators at slots. Not for distinct and multiset calls.
func (c *call) feed(a *accumulators, slots []uint32, b *batch.Batch, from, to int, s *rawScratch) {
	w := c.weigh(b, from, to, &s.weights)
	cols := a.cols[c.at:]
	switch c.fn {
	case count:
		addOnes(cols[0], slots, w)
	case sum, avg:
		arg := &b.Cols[c.Arg]
		if c.kind == batch.KindInt64 && w == nil {
			addIntsCounting(cols[1], cols[0], slots, arg.Int64s[from:to])
			return
		}
		addOnes(cols[0], slots, w)
		c.addValues(cols, slots, arg, from, to, w)
	default:
		c.keep(a, slots, &b.Cols[c.Arg], from, to, w, s)
	}
}

func (c *call) addValues(cols [][]int64, slots []uint32, v *batch.Column, from, to int, w []int8) {
	switch c.kind {
	case batch.KindInt64:
		addInts(cols[1], slots, v.Int64s[from:to], w)
	case batch.KindFloat64:
		addFloats(cols[1], slots, v.Float64s[from:to], w)
	case batch.KindDecimal:
		addDecs(cols[1], cols[2], cols[3], slots, v.Decs[from:to], w)
	}
}

func (c *call) keep(a *accumulators, slots []uint32, v *batch.Column, from, to int, w []int8, s *rawScratch) {
	cols := a.cols[c.at:]
	switch c.kind {
	case batch.KindDecimal:
		keepDecs(cols[0], cols[1], cols[2], slots, v.Decs[from:to], w, c.fn == most)
	case batch.KindBytes:
		keepBytes(cols[0], a.stores[c.store], slots, v, from, w, c.fn == most)
	default:
		var ints []int64
		ints, s.words = words(v, from, to, s.words)
		keepInts(cols[0], cols[1], slots, ints, w, c.fn == most)
	}
}

// feedPartial adds rows [from, to) of partial aggregates to the accumulators at slots.
func (c *call) feedPartial(a *accumulators, slots []uint32, b *batch.Batch, from, to int, s *rawScratch) {
	cols := a.cols[c.at:]
	first := &b.Cols[c.partial]
	switch c.fn {
	case count:
		addInts(cols[0], slots, first.Int64s[from:to], nil)
	case sum, avg:
		addInts(cols[0], slots, b.Cols[c.partial+1].Int64s[from:to], nil)
		c.addValues(cols, slots, first, from, to, nil)
		if c.kind == batch.KindDecimal && len(first.Nulls) > 0 {
			for i, slot := range slots {
				if first.IsNull(from + i) {
					cols[4][slot]++
				}
			}
		}
	default:
		var w []int8
		if first.HasNulls() {
			w = s.weights[:0]
			for i := from; i < to; i++ {
				x := int8(1)
				if first.IsNull(i) {
					x = 0
				}
				w = append(w, x)
			}
			s.weights = w
		}
		c.keep(a, slots, first, from, to, w, s)
	}
}
