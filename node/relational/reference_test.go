package relational_test

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"sort"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// The reference computes aggregates the plain way: it keeps all rows of a key and goes over them each time.

func keyText(values []any, keys []int) string {
	var parts []string
	for _, k := range keys {
		parts = append(parts, valueText(values[k]))
	}
	return strings.Join(parts, "|")
}

func aggregateText(a *plan.Aggregate, rows []row) string {
	var parts []string
	for _, k := range a.Keys {
		parts = append(parts, valueText(rows[0].values[k]))
	}
	return strings.Join(append(parts, callsText(a, rows)...), "|")
}

func callsText(a *plan.Aggregate, rows []row) []string {
	var parts []string
	for _, c := range a.Calls {
		parts = append(parts, valueText(callOf(c, rows)))
	}
	return parts
}

// callOf is one aggregate function over rows that all count.
func callOf(c plan.AggregateCall, rows []row) any {
	var values []any
	seen := map[string]bool{}
	for _, x := range rows {
		if c.Filter >= 0 && x.values[c.Filter] != true {
			continue
		}
		if c.Arg < 0 {
			values = append(values, int64(1))
			continue
		}
		v := x.values[c.Arg]
		if v == nil || c.Distinct && seen[valueText(v)] {
			continue
		}
		seen[valueText(v)] = true
		values = append(values, v)
	}
	if c.Func == "COUNT" {
		return int64(len(values))
	}
	if len(values) == 0 {
		return nil
	}
	if c.Func == "MIN" || c.Func == "MAX" {
		best := values[0]
		for _, v := range values[1:] {
			if d := compareValues(v, best); c.Func == "MIN" && d < 0 || c.Func == "MAX" && d > 0 {
				best = v
			}
		}
		return best
	}
	return sumOf(c, values)
}

func sumOf(c plan.AggregateCall, values []any) any {
	switch values[0].(type) {
	case int64:
		s := int64(0)
		for _, v := range values {
			s += v.(int64)
		}
		if c.Func == "AVG" {
			s /= int64(len(values))
		}
		if c.Type.ID == batch.SmallInt {
			return int64(int16(s))
		}
		return s
	case float64:
		s := 0.0
		for _, v := range values {
			s += v.(float64)
		}
		if c.Func == "AVG" {
			s /= float64(len(values))
		}
		return s
	}
	s := new(big.Int)
	for _, v := range values {
		s.Add(s, v.(*big.Int))
	}
	if c.Func == "AVG" {
		up := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.Type.Scale-c.ArgType.Scale)), nil)
		n := big.NewInt(int64(len(values)))
		neg := s.Sign() < 0
		s.Abs(s.Mul(s, up))
		q, rem := new(big.Int).QuoRem(s, n, new(big.Int))
		if rem.Lsh(rem, 1).Cmp(n) >= 0 {
			q.Add(q, big.NewInt(1))
		}
		if s = q; neg {
			s.Neg(s)
		}
	}
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.Type.Precision)), nil)
	if new(big.Int).Abs(s).Cmp(limit) >= 0 {
		return nil
	}
	return s
}

// compareValues orders values of one type, nulls first.
func compareValues(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	switch x := a.(type) {
	case int64:
		return compareOrdered(x, b.(int64))
	case float64:
		if y := b.(float64); math.IsNaN(x) || math.IsNaN(y) {
			return compareBools(math.IsNaN(x), math.IsNaN(y))
		}
		return compareOrdered(x, b.(float64))
	case bool:
		return compareBools(x, b.(bool))
	case string:
		return bytes.Compare([]byte(x), []byte(b.(string)))
	}
	return a.(*big.Int).Cmp(b.(*big.Int))
}

func compareOrdered[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// withoutRow takes the first row that equals x out of rows.
func withoutRow(rows []row, x row) []row {
	want := fmt.Sprint(keyText(x.values, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}))
	for i, y := range rows {
		if keyText(y.values, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}) == want {
			return append(rows[:i:i], rows[i+1:]...)
		}
	}
	panic("a row is taken back that is not there")
}

func referenceRunning(a *plan.Aggregate, epochs []map[topology.KeyGroup][]row) [][]string {
	live := map[string][]row{}
	var out [][]string
	for _, byGroup := range epochs {
		var lines []string
		for g := topology.KeyGroup(0); g < 3; g++ {
			var touched []string
			old := map[string]string{}
			keys := map[string][]any{}
			for _, x := range byGroup[g] {
				key := fmt.Sprint(g, keyText(x.values, a.Keys))
				if _, ok := old[key]; !ok {
					touched = append(touched, key)
					old[key] = ""
					if len(live[key]) > 0 {
						old[key] = aggregateText(a, live[key])
					}
				}
				keys[key] = x.values
				if x.weight == batch.Insert {
					live[key] = append(live[key], x)
				} else {
					live[key] = withoutRow(live[key], x)
				}
			}
			for _, key := range touched {
				now := ""
				if len(live[key]) > 0 {
					now = aggregateText(a, live[key])
				}
				if old[key] != "" && old[key] != now {
					lines = append(lines, "-1|"+old[key])
				}
				if now != "" && old[key] != now {
					lines = append(lines, "+1|"+now)
				}
			}
		}
		out = append(out, lines)
	}
	return out
}

// referenceFinal is the result per key group in key order; keys are compared in the order that order gives.
func referenceFinal(a *plan.Aggregate, rows []row, order []int) []string {
	byKey := map[string][]row{}
	var keys []string
	for _, x := range rows {
		key := keyText(x.values, a.Keys)
		if x.weight == batch.Retract {
			byKey[key] = withoutRow(byKey[key], x)
			continue
		}
		if _, ok := byKey[key]; !ok {
			keys = append(keys, key)
		}
		byKey[key] = append(byKey[key], x)
	}
	live := keys[:0]
	for _, key := range keys {
		if len(byKey[key]) > 0 {
			live = append(live, key)
		}
	}
	sort.Slice(live, func(i, j int) bool {
		x, y := byKey[live[i]][0].values, byKey[live[j]][0].values
		for _, c := range order {
			if d := compareValues(x[c], y[c]); d != 0 {
				return d < 0
			}
		}
		return false
	})
	var lines []string
	for _, key := range live {
		lines = append(lines, "+1|"+aggregateText(a, byKey[key]))
	}
	return lines
}
