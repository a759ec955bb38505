package autoscale

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Decision is a new layout of some stages of a query.
type Decision struct {
	AtMs    int64
	Policy  string
	Targets []Target // ascending by stage; the others stay as they are
	// Text is a sentence for people; Figures are what it rests on.
	Text    string
	Figures []Figure
}

// Target is how a stage is to be cut.
type Target struct {
	Stage  topology.StageID
	From   int // partitions now
	Ranges []topology.Range
}

// Figure is a named number of a decision, with its unit in the name.
type Figure struct {
	Name  string
	Value string
}

// Hot is a key group that alone is more than one node takes: more nodes do not help it.
type Hot struct {
	Stage topology.StageID
	Group topology.KeyGroup
	Work  float64 // in nodes used wholly
	Key   string  // its most frequent key; "" not known
	Share float64 // the key's share of the group's rows
}

// Text is a sentence for people.
func (h *Hot) Text(q *Query) string {
	key := "its key is not known yet"
	if h.Key != "" {
		key = fmt.Sprintf("%.0f %% of its rows have the key %s", 100*h.Share, h.Key)
	}
	return fmt.Sprintf("key group %d of %s needs %s of a node by itself; %s. More nodes do not help: it has a partition of its own, spread the key in the query", h.Group, q.label(h.Stage), percent(h.Work), key)
}

func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

// count gives a rate in a form that people read: 12, 3,400, 1.2 M.
func count(x float64) string {
	switch {
	case x >= 1e7:
		return fmt.Sprintf("%.0f M", x/1e6)
	case x >= 1e6:
		return fmt.Sprintf("%.1f M", x/1e6)
	case x >= 10:
		text := strconv.FormatInt(int64(x+0.5), 10)
		if n := len(text); n > 3 {
			text = text[:n-3] + "," + text[n-3:]
		}
		return text
	}
	return strconv.FormatFloat(x, 'f', 1, 64)
}

// change says what becomes of a stage and why.
func (q *Query) change(t *Target, f *Figures) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", q.label(t.Stage))
	switch n := len(t.Ranges); {
	case n == t.From:
		fmt.Fprintf(&b, "%d partitions cut anew, the heaviest would use %s of its node", n, percent(f.Hottest))
	case n < t.From && f.Peak == 0:
		fmt.Fprintf(&b, "%d -> %d partitions, no rows come", t.From, n)
	case n < t.From:
		fmt.Fprintf(&b, "%d -> %d partitions, at most %s rows/s had to be taken lately and a node's worth is %s", t.From, n, count(f.Peak), count(f.TrueRate))
	default:
		fmt.Fprintf(&b, "%d -> %d partitions, %s rows/s are to be taken and a node's worth is %s", t.From, n, count(f.Demand), count(f.TrueRate))
	}
	if f.LagS >= 1 && len(t.Ranges) >= t.From {
		fmt.Fprintf(&b, ", it is %.1f s behind", f.LagS)
	}
	if f.Backlog >= 1 && len(t.Ranges) >= t.From {
		fmt.Fprintf(&b, ", %s rows wait", count(f.Backlog))
	}
	return b.String()
}

// figures gives the numbers behind a target.
func (t *Target) figures(f *Figures) []Figure {
	name := func(what string) string { return fmt.Sprintf("stage_%d_%s", t.Stage, what) }
	number := func(what string, x float64, digits int) Figure {
		return Figure{name(what), strconv.FormatFloat(x, 'f', digits, 64)}
	}
	out := []Figure{
		{name("partitions_from"), strconv.Itoa(t.From)}, {name("partitions_to"), strconv.Itoa(len(t.Ranges))},
		number("rows_in_per_s", f.RowsIn, 0), number("demand_rows_per_s", f.Demand, 0), number("true_rate_rows_per_s", f.TrueRate, 0),
		number("fixed_use", f.Fixed, 2), number("work_nodes", f.Work, 2), number("used_nodes", f.Now, 2), number("hottest_use", f.Hottest, 2), number("lag_s", f.LagS, 1),
	}
	if f.Backlog >= 0 {
		out = append(out, number("backlog_rows", f.Backlog, 0))
	}
	return out
}
