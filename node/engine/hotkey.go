package engine

import (
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// hotKey finds the most frequent key of a partition's busiest key group, from samples, while that group has a great part of the partition's
// rows. One key cannot be shared out: people have to know it. Nothing of this reaches a result.
type hotKey struct {
	on     bool
	group  topology.KeyGroup
	sketch spaceSaving
	before []int64 // rows of each key group when it was last looked
}

const (
	hotRowsLeast   = 1000 // that a partition takes between two looks
	hotPart        = 4    // one key group has one of so many of them
	hotSamples     = 16   // rows of a piece
	hotKeyBytesMax = 64
)

// look decides now and then whether, and of which key group, keys are sampled, and gives what was found of it so far.
func (h *hotKey) look(loads []int64, first topology.KeyGroup) (key string, share float64) {
	if len(h.before) != len(loads) {
		h.before, h.on = slices.Clone(loads), false
		return "", 0
	}
	total, most, top := int64(0), int64(-1), 0
	for i, n := range loads {
		grown := n - h.before[i]
		h.before[i] = n
		total += grown
		if grown > most {
			most, top = grown, i
		}
	}
	if total < hotRowsLeast || most*hotPart < total {
		h.on = false
		return "", 0
	}
	if g := first + topology.KeyGroup(top); !h.on || h.group != g {
		h.on, h.group, h.sketch = true, g, spaceSaving{}
		return "", 0
	}
	return h.sketch.top()
}

// sample notes keys of some rows of the key group that is looked at. Only the executor whose key group it is gets so far.
func (h *hotKey) sample(x *executor, stream int, r *dataplane.Rows, lo, hi int) {
	i, ok := slices.BinarySearch(r.Groups[lo:hi], h.group)
	in := x.part.spec.Inputs
	if !ok || stream >= len(in) {
		return
	}
	keys := x.part.query.plan.Stages[in[stream].Stage].Outputs[in[stream].Output].Keys
	if len(keys) == 0 {
		return
	}
	from, to := int(r.Offsets[lo+i]), int(r.Offsets[lo+i+1])
	var text []byte
	for row := from; row < to; row += max(1, (to-from)/hotSamples) {
		text = text[:0]
		for n, k := range keys {
			if n > 0 {
				text = append(text, ", "...)
			}
			if c := &r.Batch.Cols[k]; c.IsNull(row) {
				text = append(text, "NULL"...)
			} else {
				text = expr.AppendText(text, c, row, x.part.query.zone)
			}
		}
		h.sketch.add(text[:min(len(text), hotKeyBytesMax)])
	}
}

// spaceSaving counts the most frequent of many texts with few counters (Metwally, Agrawal, El Abbadi, ICDT 2005): a new text takes the
// place of the rarest and goes on from its count, which is then the most that it may be too high.
type spaceSaving struct {
	seen     int64
	counters []textCount
}

type textCount struct {
	text  string
	count int64
	over  int64 // of count, what may not be its own
}

const countersMax = 16

func (s *spaceSaving) add(text []byte) {
	s.seen++
	least := 0
	for i := range s.counters {
		c := &s.counters[i]
		if c.text == string(text) {
			c.count++
			return
		}
		if c.count < s.counters[least].count {
			least = i
		}
	}
	if len(s.counters) < countersMax {
		s.counters = append(s.counters, textCount{string(text), 1, 0})
		return
	}
	c := &s.counters[least]
	*c = textCount{string(text), c.count + 1, c.count}
}

// top is the text that is certainly the most frequent of those that are counted, and its part of all; "" while none stands out.
func (s *spaceSaving) top() (text string, share float64) {
	best := int64(0)
	for i := range s.counters {
		if sure := s.counters[i].count - s.counters[i].over; sure > best {
			text, best = s.counters[i].text, sure
		}
	}
	const outstanding = 0.1
	if share = float64(best) / float64(max(1, s.seen)); share < outstanding {
		return "", 0
	}
	return strings.ToValidUTF8(text, "?"), share
}
