package datagen

import (
	"errors"
	"fmt"
	"math"

	"github.com/seepnode/seepnode/node/connector"
)

const (
	// splitsMax bounds the option 'splits'.
	splitsMax = 4096
	// rowsMax bounds the table's rows, so that a row's time in milliseconds stays exact.
	rowsMax = math.MaxInt64 / 1000
	// lengthMax bounds the length of a generated string in bytes and of a generated collection in elements.
	lengthMax = 1 << 20
	// rateAtFullSpeed is the number of rows that one second of generated timestamps holds when 'rows-per-second' is 0.
	rateAtFullSpeed = 10000
)

var definition = &connector.Definition{
	Name: "datagen",
	Doc:  "Makes rows up: random or in sequence, seeded, so that the same table gives the same rows every time.",
	Options: []connector.Option{
		{Name: "rows-per-second", Kind: connector.Int, Default: "10000", Doc: "Rows per second over all splits; 0 means full speed."},
		{Name: "rows-per-second.schedule", Doc: "A rate that changes, instead of 'rows-per-second': times since the query's start and rates there, like '0 s: 1000, 30 s: 10000, 60 s: 0'. In between it changes steadily, two points at one time are a step, behind the last one it stays as it is."},
		{Name: "number-of-rows", Kind: connector.Int, Doc: "Rows over all splits; the table is unbounded without it, unless a column is a sequence."},
		{Name: "splits", Kind: connector.Int, Default: "8", Doc: "Number of splits, which can be read in parallel. The rows are the same set for any number."},
		{Name: "seed", Kind: connector.Int, Default: "0", Doc: "Another seed gives other random values."},
		{Name: "fields.#.kind", Kind: connector.Enum, Default: "random", Values: []string{"random", "sequence"}, Doc: "How the column's values are made."},
		{Name: "fields.#.min", Doc: "Least random value of a numeric column, itself included; the type's least without it."},
		{Name: "fields.#.max", Doc: "Greatest random value of a numeric column, itself included; the type's greatest without it."},
		{Name: "fields.#.max-past", Kind: connector.Duration, Default: "0", Doc: "How far random dates, times and timestamps may lie before their row's time."},
		{Name: "fields.#.length", Kind: connector.Int, Doc: "Length of a random string (100 without it, or the length the type states), of bytes (20), of a collection (3)."},
		{Name: "fields.#.var-len", Kind: connector.Bool, Default: "false", Doc: "Random strings and bytes of variable type have lengths between 1 and the length."},
		{Name: "fields.#.start", Kind: connector.Int, Doc: "First value of a sequence."},
		{Name: "fields.#.end", Kind: connector.Int, Doc: "Last value of a sequence; the table ends with it."},
		{Name: "fields.#.null-rate", Default: "0", Doc: "Share of nulls, from 0 to 1."},
	},
}

// The functions read their options' defaults from the definition, so it cannot name them in its initializer.
func init() {
	definition.NewSource = newSource
	definition.Check = func(c connector.Config) error {
		_, err := newTable(c)
		return err
	}
	definition.Bounded = func(c connector.Config) bool {
		t, err := newTable(c)
		return err == nil && t.bounded
	}
}

// Definition declares the connector.
func Definition() *connector.Definition { return definition }

// table is a checked declaration: what every split needs to make its rows.
type table struct {
	columns  []*generator
	splits   uint64
	pace     pace
	limited  bool   // rows come at that pace; else at full speed
	rows     uint64 // of the whole table, when bounded
	bounded  bool
	rowBytes int // of memory, roughly
}

func newTable(c connector.Config) (*table, error) {
	c.Table = nameOf(c)
	splits, err := c.Int(definition, "splits")
	if err != nil {
		return nil, err
	}
	seed, err := c.Int(definition, "seed")
	if err != nil {
		return nil, err
	}
	if splits < 1 || splits > splitsMax {
		return nil, fmt.Errorf("table %s: option 'splits' is %d; it must lie between 1 and %d", c.Table, splits, splitsMax)
	}
	t := &table{splits: uint64(splits), rows: rowsMax}
	if t.pace, t.limited, err = paceOf(c); err != nil {
		return nil, fmt.Errorf("table %s: %w", c.Table, err)
	}
	if _, set := c.Options["number-of-rows"]; set {
		n, err := c.Int(definition, "number-of-rows")
		if err != nil {
			return nil, err
		}
		if n < 0 || n > rowsMax {
			return nil, fmt.Errorf("table %s: option 'number-of-rows' is %d; it must lie between 0 and %d", c.Table, n, int64(rowsMax))
		}
		t.rows, t.bounded = uint64(n), true
	}
	shape := builder{config: c, seed: uint64(seed), pace: t.pace}
	for i, f := range c.Schema.Fields {
		g, err := shape.build(f.Name, f.Type, mix(shape.seed)+uint64(i+1)*golden, true)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", c.Table, err)
		}
		t.columns = append(t.columns, g)
		t.rowBytes += g.memBytes()
	}
	if shape.sequence {
		t.rows, t.bounded = min(t.rows, shape.sequenceRows), true
	}
	t.rowBytes = max(t.rowBytes, 1)
	return t, nil
}

// paceOf is the pace of a table's rows, and whether they are held back to it.
func paceOf(c connector.Config) (p pace, limited bool, err error) {
	_, rated := c.Options["rows-per-second"]
	schedule, scheduled := c.Options["rows-per-second.schedule"]
	if scheduled {
		if rated {
			return nil, false, errors.New("options 'rows-per-second' and 'rows-per-second.schedule' exclude each other")
		}
		if p, err = parseSchedule(schedule); err != nil {
			return nil, false, fmt.Errorf("option 'rows-per-second.schedule': %w", err)
		}
		return p, true, nil
	}
	rate, err := c.Int(definition, "rows-per-second")
	switch {
	case err != nil:
		return nil, false, err
	case rate < 0:
		return nil, false, fmt.Errorf("option 'rows-per-second' is %d; it must not be negative, 0 means full speed", rate)
	case rate == 0:
		return steady(rateAtFullSpeed), false, nil
	}
	return steady(uint64(rate)), true, nil
}

func nameOf(c connector.Config) string {
	if c.Table == "" {
		return "(unnamed)"
	}
	return c.Table
}
