package print

import (
	"strconv"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
)

// appendValue appends a value as Flink's rows show it: null, true, [a, b], {k=v}, a nested row like a row of its own, BYTES as
// signed numbers; everything else as SQL writes it.
func appendValue(dst []byte, c *batch.Column, i int, zone *time.Location) []byte {
	if c.IsNull(i) {
		return append(dst, "null"...)
	}
	switch c.Type.ID {
	case batch.Boolean:
		return strconv.AppendBool(dst, c.Bools[i])
	case batch.Bytes:
		dst = append(dst, '[')
		for k, b := range c.Bytes(i) {
			if k > 0 {
				dst = append(dst, ", "...)
			}
			dst = strconv.AppendInt(dst, int64(int8(b)), 10)
		}
		return append(dst, ']')
	case batch.Array, batch.Map:
		return appendList(dst, c, i, zone)
	case batch.RowType:
		dst = append(dst, "+I["...)
		for k, child := range c.Children {
			if k > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendValue(dst, child, i, zone)
		}
		return append(dst, ']')
	}
	return expr.AppendText(dst, c, i, zone)
}

func appendList(dst []byte, c *batch.Column, i int, zone *time.Location) []byte {
	opening, closing := byte('['), byte(']')
	if c.Type.ID == batch.Map {
		opening, closing = '{', '}'
	}
	dst = append(dst, opening)
	from, to := c.Range(i)
	for k := from; k < to; k++ {
		if k > from {
			dst = append(dst, ", "...)
		}
		dst = appendValue(dst, c.Children[0], k, zone)
		if c.Type.ID == batch.Map {
			dst = append(dst, '=')
			dst = appendValue(dst, c.Children[1], k, zone)
		}
	}
	return append(dst, closing)
}
