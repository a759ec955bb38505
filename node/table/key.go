package table

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector/format/cell"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// ParseKeys reads primary keys, each with one text per column of primary: their canonical key bytes, ascending, each once. Errors are
// *RequestError.
func ParseKeys(schema *batch.Schema, primary []int, keys [][]string) ([][]byte, error) {
	if len(keys) > KeysMax {
		return nil, &RequestError{fmt.Sprintf("%d keys are asked for, at most %d can be at once", len(keys), KeysMax)}
	}
	parsed := make([][]byte, 0, len(keys))
	b := batch.New(schema)
	for _, texts := range keys {
		if err := parseKey(b, primary, texts); err != nil {
			return nil, err
		}
		parsed = append(parsed, batch.AppendKey(nil, b, primary, 0))
	}
	slices.SortFunc(parsed, bytes.Compare)
	return slices.CompactFunc(parsed, bytes.Equal), nil
}

// parseKey makes the key row 0 of the primary columns of b.
func parseKey(b *batch.Batch, primary []int, texts []string) error {
	if len(texts) != len(primary) {
		names := make([]string, len(primary))
		for i, k := range primary {
			names[i] = b.Schema.Fields[k].Name
		}
		return &RequestError{fmt.Sprintf("a key has %d values, the primary key is (%s)", len(texts), strings.Join(names, ", "))}
	}
	for i, k := range primary {
		f := b.Schema.Fields[k]
		switch f.Type.ID {
		case batch.Array, batch.Map, batch.RowType:
			return &RequestError{fmt.Sprintf("reading by a key with column %s of type %s is not supported; scan with a condition", f.Name, f.Type.Nullable())}
		}
		c := &b.Cols[k]
		c.Reset()
		if err := cell.Append(c, []byte(texts[i]), nil); err != nil {
			return &RequestError{fmt.Sprintf("key column %s: %v", f.Name, err)}
		}
		if c.IsNull(0) {
			return &RequestError{fmt.Sprintf("key column %s: %q is not a value of %s", f.Name, cell.Shown([]byte(texts[i])), f.Type.Nullable())}
		}
	}
	return nil
}

// NewRoute says in which key group a primary key is, when the stage that makes the table's rows distributes them by the columns by (in
// the stage's order, all of them in primary) over that many key groups. nil when by does not allow it.
func NewRoute(schema *batch.Schema, primary, by []int, groups int) func(key []string) (topology.KeyGroup, bool) {
	if len(by) == 0 || groups < 1 || slices.ContainsFunc(by, func(i int) bool { return !slices.Contains(primary, i) }) {
		return nil
	}
	return func(key []string) (topology.KeyGroup, bool) {
		b := batch.New(schema)
		if err := parseKey(b, primary, key); err != nil {
			return 0, false
		}
		return topology.GroupOf(batch.HashKey(batch.AppendKey(nil, b, by, 0)), groups), true
	}
}
