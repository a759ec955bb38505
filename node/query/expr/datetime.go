package expr

import (
	"fmt"
	"strings"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/spelling"
)

func isTemporal(t batch.Type) bool {
	return t.ID == batch.Date || t.ID == batch.Time || t.IsTime() || isInterval(t)
}

func isInterval(t batch.Type) bool { return t.ID == batch.Interval || t.ID == batch.IntervalYM }

// checkTemporal types date and time arithmetic: point +- interval, interval +- interval, interval * number.
func checkTemporal(op string, l, r *Node, pos ast.Pos) (*Node, error) {
	lt, rt := l.Type, r.Type
	if op == "+" && isInterval(lt) && !isInterval(rt) {
		l, r, lt, rt = r, l, rt, lt
	}
	if op == "*" && lt.IsInteger() {
		l, r, lt, rt = r, l, rt, lt
	}
	t := lt
	t.NotNull = lt.NotNull && rt.NotNull
	switch {
	case (op == "+" || op == "-") && isInterval(lt) && lt.ID == rt.ID, op == "*" && isInterval(lt) && rt.IsInteger():
		return &Node{Op: OpCall, Func: op, Type: t, Args: []*Node{l, r}, Pos: pos}, nil
	case (op == "+" || op == "-") && isInterval(rt) && isTemporal(lt) && !isInterval(lt):
		if lt.ID == batch.Time && rt.ID == batch.IntervalYM {
			break
		}
		if op == "-" {
			r = &Node{Op: OpCall, Func: "NEGATE", Type: rt, Args: []*Node{r}, Pos: r.Pos}
		}
		return &Node{Op: OpCall, Func: "PLUS INTERVAL", Type: t, Args: []*Node{l, r}, Pos: pos}, nil
	case op == "-" && isTemporal(lt) && isTemporal(rt):
		return nil, &ast.Error{Pos: pos, Msg: fmt.Sprintf("%s - %s is not supported on %s and %s", l, r, lt.Nullable(), rt.Nullable()),
			Hint: fmt.Sprintf("write TIMESTAMPDIFF(SECOND, %s, %s)", r, l)}
	}
	return nil, operatorError(op, l, r, pos)
}

var _ = builtin(
	FunctionDef{Name: "PLUS INTERVAL", hidden: true, Takes: "ANY, INTERVAL", Returns: firstType, Build: plusInterval},
	FunctionDef{Name: "EXTRACT", Takes: "STRING, DATETIME|TIME|INTERVAL", Result: batch.TypeBigInt, Build: extractKernel, fromEnv: true},
	datePart("YEAR"), datePart("QUARTER"), datePart("MONTH"), datePart("WEEK"), partNamed("DAYOFYEAR", "DOY"),
	partNamed("DAYOFMONTH", "DAY"), partNamed("DAYOFWEEK", "DOW"), datePart("HOUR"), datePart("MINUTE"), datePart("SECOND"),
	FunctionDef{Name: "TIMESTAMPADD", Takes: "STRING, INT, DATETIME|TIME", Build: timestampAdd, fromEnv: true,
		Returns: func(args []*Node) (batch.Type, error) {
			t := args[2].Type.Nullable()
			if unit, _ := unitOf(args[0]); t.ID == batch.Date && unitMs[unit] > 0 && unitMs[unit] < msPerDay {
				t = batch.TypeTimestamp
			}
			return t, nil
		}},
	FunctionDef{Name: "TIMESTAMPDIFF", Takes: "STRING, DATETIME|TIME, DATETIME|TIME", Result: batch.TypeInt, Build: timestampDiff, fromEnv: true},
	FunctionDef{Name: "FLOOR TO", hidden: true, Takes: "DATETIME|TIME, STRING", Returns: firstType, Build: roundToUnit(false), fromEnv: true},
	FunctionDef{Name: "CEIL TO", hidden: true, Takes: "DATETIME|TIME, STRING", Returns: firstType, Build: roundToUnit(true), fromEnv: true},
)

func datePart(name string) FunctionDef { return partNamed(name, name) }

func partNamed(name, unit string) FunctionDef {
	return FunctionDef{Name: name, Takes: "DATETIME|TIME", Result: batch.TypeBigInt, fromEnv: true,
		Build: func(n *Node) (Kernel, error) { return partKernel(unit, n.Args[0].Type, 0) }}
}

// unitOf is the time unit that a constant argument names.
func unitOf(n *Node) (string, error) {
	if n.Op != OpLiteral || n.Literal.Null || !n.Type.IsString() {
		return "", fmt.Errorf("a time unit such as DAY is needed, not %s", n)
	}
	u := strings.ToUpper(string(n.Literal.Bytes))
	u = strings.TrimPrefix(u, "SQL_TSI_")
	if strings.HasSuffix(u, "S") && u != "S" && len(u) > 3 && unitKnown(u[:len(u)-1]) {
		u = u[:len(u)-1]
	}
	if !unitKnown(u) {
		hint := ""
		if near := spelling.Nearest(u, units); near != "" {
			hint = "; did you mean " + near + "?"
		}
		return "", fmt.Errorf("%s is not a time unit%s", n, hint)
	}
	return u, nil
}

var units = []string{"MILLENNIUM", "CENTURY", "DECADE", "YEAR", "ISOYEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOY", "DOW", "ISODOW",
	"HOUR", "MINUTE", "SECOND", "MILLISECOND", "MICROSECOND", "NANOSECOND", "EPOCH"}

func unitKnown(u string) bool {
	for _, k := range units {
		if k == u {
			return true
		}
	}
	return false
}

// wallClock is the value of row i as milliseconds that calendar and clock show; a TIME is one of 1970-01-01.
func wallClock(v Vec, i int, zone *time.Location) int64 {
	ms := v.Int(i)
	switch v.Type.ID {
	case batch.Date:
		return ms * msPerDay
	case batch.TimestampLTZ:
		return toLocal(ms, zone)
	}
	return ms
}

// addMonths moves a date by months, to the last day of the month where that one is shorter.
func addMonths(ms, months int64) int64 {
	c := civilOf(floorDiv(ms, msPerDay))
	m := c.year*12 + int64(c.month-1) + months
	c.year, c.month = floorDiv(m, 12), int(floorMod(m, 12))+1
	c.day = min(c.day, daysIn(c.year, c.month))
	return c.days()*msPerDay + floorMod(ms, msPerDay)
}

func plusInterval(n *Node) (Kernel, error) {
	months := n.Args[1].Type.ID == batch.IntervalYM
	return shiftKernel(n, 0, 1, func(by int64) (int64, bool) { return by, months }), nil
}

// shiftKernel moves the points of argument at by what argument by says, which amount turns into ms or months.
func shiftKernel(n *Node, at, by int, amount func(int64) (v int64, months bool)) Kernel {
	from, to := n.Args[at].Type.ID, n.Type.ID
	return func(x *Call, out *batch.Column, rows int) {
		a, b := x.Args[at], x.Args[by]
		zone := x.Env.zone()
		for i := range rows {
			v, months := amount(b.Int(i))
			ms := a.Int(i)
			switch {
			case months:
				ms = addMonths(wallClock(a, i, zone), v)
				if from == batch.TimestampLTZ {
					ms = toInstant(ms, zone)
				}
			case from == batch.Date:
				ms = ms*msPerDay + v
			default:
				ms += v
			}
			switch to {
			case batch.Date:
				ms = floorDiv(ms, msPerDay)
			case batch.Time:
				ms = floorMod(ms, msPerDay)
			}
			out.Int64s[i] = ms
		}
	}
}

func timestampAdd(n *Node) (Kernel, error) {
	unit, err := unitOf(n.Args[0])
	if err != nil {
		return nil, err
	}
	if m := unitMonths[unit]; m > 0 {
		return shiftKernel(n, 2, 1, func(by int64) (int64, bool) { return by * m, true }), nil
	}
	if ms := unitMs[unit]; ms > 0 {
		return shiftKernel(n, 2, 1, func(by int64) (int64, bool) { return by * ms, false }), nil
	}
	return nil, fmt.Errorf("the unit %s is not supported here", unit)
}

func timestampDiff(n *Node) (Kernel, error) {
	unit, err := unitOf(n.Args[0])
	if err != nil {
		return nil, err
	}
	months, ms := unitMonths[unit], unitMs[unit]
	if months+ms == 0 {
		return nil, fmt.Errorf("the unit %s is not supported here", unit)
	}
	return func(x *Call, out *batch.Column, rows int) {
		a, b := x.Args[1], x.Args[2]
		zone := x.Env.zone()
		for i := range rows {
			from, to := wallClock(a, i, zone), wallClock(b, i, zone)
			if months > 0 {
				out.Int64s[i] = int64(int32(wholeMonths(from, to) / months))
			} else {
				out.Int64s[i] = int64(int32((to - from) / ms))
			}
		}
	}, nil
}

// wholeMonths is the number of full months from a to b, towards zero.
func wholeMonths(a, b int64) int64 {
	if b < a {
		return -wholeMonths(b, a)
	}
	x, y := civilOf(floorDiv(a, msPerDay)), civilOf(floorDiv(b, msPerDay))
	m := (y.year-x.year)*12 + int64(y.month-x.month)
	if y.day < x.day || y.day == x.day && floorMod(b, msPerDay) < floorMod(a, msPerDay) {
		m--
	}
	return m
}

func extractKernel(n *Node) (Kernel, error) {
	unit, err := unitOf(n.Args[0])
	if err != nil {
		return nil, err
	}
	return partKernel(unit, n.Args[1].Type, 1)
}

// partKernel computes one field of argument arg.
func partKernel(unit string, t batch.Type, arg int) (Kernel, error) {
	if t.ID == batch.IntervalYM {
		if m := unitMonths[unit]; m == 0 || unit == "QUARTER" {
			return nil, fmt.Errorf("%s has no %s", t, unit)
		}
		return func(x *Call, out *batch.Column, rows int) {
			for i := range rows {
				v := x.Args[arg].Int(i)
				if unit == "YEAR" {
					out.Int64s[i] = v / 12
				} else {
					out.Int64s[i] = v % 12
				}
			}
		}, nil
	}
	clock := unitMs[unit] > 0 && unitMs[unit] < msPerDay
	if (t.ID == batch.Time || t.ID == batch.Interval) && !clock && !(unit == "DAY" && t.ID == batch.Interval) {
		return nil, fmt.Errorf("%s has no %s", t.Nullable(), unit)
	}
	return func(x *Call, out *batch.Column, rows int) {
		zone := x.Env.zone()
		for i := range rows {
			if unit == "EPOCH" {
				v := x.Args[arg].Int(i)
				if t.ID == batch.Date {
					v *= msPerDay
				}
				out.Int64s[i] = floorDiv(v, 1000)
				continue
			}
			ms := wallClock(x.Args[arg], i, zone)
			if t.ID == batch.Interval {
				out.Int64s[i] = intervalPart(unit, ms)
			} else {
				out.Int64s[i] = part(unit, ms)
			}
		}
	}, nil
}

func intervalPart(unit string, ms int64) int64 {
	switch unit {
	case "DAY":
		return ms / msPerDay
	case "HOUR":
		return ms % msPerDay / msPerHour
	case "MINUTE":
		return ms % msPerHour / msPerMinute
	case "SECOND":
		return ms % msPerMinute / msPerSecond
	}
	return ms % msPerMinute
}

// part is one field of a wall-clock time.
func part(unit string, ms int64) int64 {
	switch unit {
	case "HOUR":
		return floorMod(ms, msPerDay) / msPerHour
	case "MINUTE":
		return floorMod(ms, msPerHour) / msPerMinute
	case "SECOND":
		return floorMod(ms, msPerMinute) / msPerSecond
	case "MILLISECOND":
		return floorMod(ms, msPerMinute)
	case "MICROSECOND":
		return floorMod(ms, msPerMinute) * 1000
	case "NANOSECOND":
		return floorMod(ms, msPerMinute) * 1_000_000
	}
	days := floorDiv(ms, msPerDay)
	c := civilOf(days)
	switch unit {
	case "MILLENNIUM":
		return (c.year + 999) / 1000
	case "CENTURY":
		return (c.year + 99) / 100
	case "DECADE":
		return floorDiv(c.year, 10)
	case "YEAR":
		return c.year
	case "QUARTER":
		return int64(c.month-1)/3 + 1
	case "MONTH":
		return int64(c.month)
	case "DAY":
		return int64(c.day)
	case "DOY":
		return days - civil{c.year, 1, 1}.days() + 1
	case "DOW": // 1 is Sunday
		return floorMod(days+4, 7) + 1
	case "ISODOW": // 1 is Monday
		return floorMod(days+3, 7) + 1
	}
	year, week := isoWeek(days)
	if unit == "ISOYEAR" {
		return year
	}
	return week
}

// isoWeek is the ISO 8601 week and the year that it belongs to.
func isoWeek(days int64) (year, week int64) {
	thursday := days - floorMod(days+3, 7) + 3
	year = civilOf(thursday).year
	return year, (thursday-civil{year, 1, 1}.days())/7 + 1
}

// checkRound is FLOOR and CEIL of a date or time TO a unit.
func checkRound(name string, args []*Node, pos ast.Pos) (*Node, error) {
	def, _ := lookup(name + " TO")
	if _, err := unitOf(args[1]); err != nil {
		return nil, &ast.Error{Pos: args[1].Pos, Msg: name + ": " + err.Error()}
	}
	return callOf(def, args, pos)
}

func roundToUnit(up bool) func(n *Node) (Kernel, error) {
	return func(n *Node) (Kernel, error) {
		unit, err := unitOf(n.Args[1])
		if err != nil {
			return nil, err
		}
		if _, ok := floorTo(unit, 0); !ok {
			return nil, fmt.Errorf("the unit %s is not supported here", unit)
		}
		id := n.Type.ID
		return func(x *Call, out *batch.Column, rows int) {
			zone := x.Env.zone()
			for i := range rows {
				ms := wallClock(x.Args[0], i, zone)
				v, _ := floorTo(unit, ms)
				if up && v != ms {
					v = nextUnit(unit, v)
				}
				switch id {
				case batch.Date:
					v = floorDiv(v, msPerDay)
				case batch.Time:
					v = floorMod(v, msPerDay)
				case batch.TimestampLTZ:
					v = toInstant(v, zone)
				}
				out.Int64s[i] = v
			}
		}, nil
	}
}

// floorTo is the start of the unit that ms is in; false for units that have no start.
func floorTo(unit string, ms int64) (int64, bool) {
	if u := unitMs[unit]; u > 0 && unit != "WEEK" {
		return ms - floorMod(ms, u), true
	}
	days := floorDiv(ms, msPerDay)
	c := civilOf(days)
	year := func(y int64) (int64, bool) { return civil{y, 1, 1}.days() * msPerDay, true }
	switch unit {
	case "WEEK": // weeks start on Sunday, as in Flink
		return (days - floorMod(days+4, 7)) * msPerDay, true
	case "MONTH":
		return civil{c.year, c.month, 1}.days() * msPerDay, true
	case "QUARTER":
		return civil{c.year, (c.month-1)/3*3 + 1, 1}.days() * msPerDay, true
	case "YEAR":
		return year(c.year)
	case "DECADE":
		return year(floorDiv(c.year, 10) * 10)
	case "CENTURY":
		return year(floorDiv(c.year-1, 100)*100 + 1)
	case "MILLENNIUM":
		return year(floorDiv(c.year-1, 1000)*1000 + 1)
	}
	return 0, false
}

// nextUnit is the start of the unit after the one that starts at ms.
func nextUnit(unit string, ms int64) int64 {
	if u := unitMs[unit]; u > 0 {
		return ms + u
	}
	months := map[string]int64{"MONTH": 1, "QUARTER": 3, "YEAR": 12, "DECADE": 120, "CENTURY": 1200, "MILLENNIUM": 12000}
	return addMonths(ms, months[unit])
}
