package expr

import (
	"fmt"
	"math"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/zone"
)

var _ = builtin(
	now("NOW", batch.TypeTimestampLTZ, instantNow), now("CURRENT_TIMESTAMP", batch.TypeTimestampLTZ, instantNow),
	now("CURRENT_ROW_TIMESTAMP", batch.TypeTimestampLTZ, instantNow), now("PROCTIME", batch.TypeTimestampLTZ, instantNow),
	now("LOCALTIMESTAMP", batch.TypeTimestamp, localNow),
	now("CURRENT_DATE", batch.TypeDate, func(e *Env) int64 { return floorDiv(localNow(e), msPerDay) }),
	now("CURRENT_TIME", batch.TypeTime, timeNow), now("LOCALTIME", batch.TypeTime, timeNow),
	FunctionDef{Name: "UNIX_TIMESTAMP", Takes: "[STRING, STRING]", Result: batch.TypeBigInt, Build: unixTimestamp, MayFail: true, fromEnv: true},
	FunctionDef{Name: "FROM_UNIXTIME", Takes: "INT[, STRING]", Result: batch.TypeString, Build: fromUnixTime, MayFail: true, fromEnv: true},
	FunctionDef{Name: "DATE_FORMAT", Takes: "TIMESTAMP|TIMESTAMP_LTZ|DATE|STRING, STRING", Result: batch.TypeString, Build: dateFormat,
		MayFail: true, MayBeNull: true, fromEnv: true},
	FunctionDef{Name: "TO_DATE", Takes: "STRING[, STRING]", Result: batch.TypeDate, Build: toDate, MayFail: true, MayBeNull: true},
	FunctionDef{Name: "TO_TIMESTAMP", Takes: "STRING[, STRING]", Result: batch.TypeTimestamp, Build: toTimestamp, MayFail: true, MayBeNull: true},
	FunctionDef{Name: "TO_TIMESTAMP_LTZ", Takes: "STRING|INT[, STRING|INT, STRING]", Result: batch.TypeTimestampLTZ, Build: toTimestampLTZ, MayFail: true,
		MayBeNull: true, fromEnv: true},
	FunctionDef{Name: "CONVERT_TZ", Takes: "STRING, STRING, STRING", Result: batch.TypeString, Build: convertTZ, MayFail: true, MayBeNull: true},
)

func instantNow(e *Env) int64 { return e.TimeMs }
func localNow(e *Env) int64   { return toLocal(e.TimeMs, e.zone()) }
func timeNow(e *Env) int64 {
	ms := floorMod(localNow(e), msPerDay)
	return ms - ms%1000
}

// now is a function of the epoch's time alone.
func now(name string, t batch.Type, f func(e *Env) int64) FunctionDef {
	return FunctionDef{Name: name, Result: t, fromEnv: true, Kernel: func(x *Call, out *batch.Column, n int) { fill(out.Int64s, f(x.Env)) }}
}

// timePatterns gives the date pattern of a row: a constant one compiled once, others when they change.
type timePatterns struct {
	arg   int
	fixed timePattern
	last  timePattern
	text  string
}

func timePatternsOf(n *Node, arg int, def string) (*timePatterns, error) {
	p := &timePatterns{arg: arg}
	var err error
	if arg >= len(n.Args) {
		p.fixed, err = compileTimePattern(def)
	} else if a := n.Args[arg]; a.Op == OpLiteral && !a.Literal.Null {
		p.fixed, err = compileTimePattern(string(a.Literal.Bytes))
		if p.fixed == nil {
			p.fixed = timePattern{}
		}
	}
	return p, err
}

func (p *timePatterns) at(x *Call, i int) (timePattern, bool) {
	if p.fixed != nil {
		return p.fixed, true
	}
	text := x.Args[p.arg].Text(i)
	if p.last == nil || p.text != string(text) {
		c, err := compileTimePattern(string(text))
		if err != nil {
			x.Fail(i, "%v", err)
			return nil, false
		}
		p.last, p.text = append(c, timeField{}), string(text) // never nil; an empty text at the end changes nothing
	}
	return p.last, true
}

// timeText parses argument 0 of row i: by the pattern, or in the standard form when the call has none.
func timeText(x *Call, p *timePatterns, i int) (ms int64, zoned, ok bool) {
	if p.arg >= len(x.Args) {
		return parseTimestamp(x.Args[0].Text(i))
	}
	pattern, ok := p.at(x, i)
	if !ok {
		return 0, false, false
	}
	return pattern.parse(x.Args[0].Text(i))
}

func unixTimestamp(n *Node) (Kernel, error) {
	if len(n.Args) == 0 {
		return func(x *Call, out *batch.Column, rows int) { fill(out.Int64s, floorDiv(x.Env.TimeMs, 1000)) }, nil
	}
	p, err := timePatternsOf(n, 1, defaultTimePattern)
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			if out.IsNull(i) {
				continue
			}
			ms, zoned, ok := timeText(x, p, i)
			if !zoned {
				ms = toInstant(ms, x.Env.zone())
			}
			out.Int64s[i] = floorDiv(ms, 1000)
			if !ok {
				out.Int64s[i] = math.MinInt64 // as in Flink
			}
		}
	}, err
}

func fromUnixTime(n *Node) (Kernel, error) {
	p, err := timePatternsOf(n, 1, defaultTimePattern)
	return func(x *Call, out *batch.Column, rows int) {
		x.Rows(out, rows, func(i int) {
			v := x.Args[0].Int(i)
			if !representable(v) {
				x.Fail(i, "%d seconds is no time within 200,000 years of 1970", v)
				return
			}
			if pattern, ok := p.at(x, i); ok {
				zone := x.Env.zone()
				out.Data = pattern.format(out.Data, toLocal(v*1000, zone), zone)
			}
		})
	}, err
}

// representable bounds seconds, so that milliseconds and calendar fields of them do not overflow.
func representable(seconds int64) bool {
	const most = 200_000 * 366 * 86400
	return seconds >= -most && seconds <= most
}

func dateFormat(n *Node) (Kernel, error) {
	p, err := timePatternsOf(n, 1, "")
	fromText := n.Args[0].Type.IsString()
	return func(x *Call, out *batch.Column, rows int) {
		x.Rows(out, rows, func(i int) {
			pattern, ok := p.at(x, i)
			if !ok {
				return
			}
			var ms int64
			if fromText {
				if ms, _, ok = parseTimestamp(x.Args[0].Text(i)); !ok {
					out.SetNull(i)
					return
				}
			} else {
				ms = wallClock(x.Args[0], i, x.Env.zone())
			}
			out.Data = pattern.format(out.Data, ms, x.Env.zone())
		})
	}, err
}

func toDate(n *Node) (Kernel, error) {
	p, err := timePatternsOf(n, 1, "yyyy-MM-dd")
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			out.Int64s[i] = 0
			if out.IsNull(i) {
				continue
			}
			ms, _, ok := timeText(x, p, i)
			out.Int64s[i] = floorDiv(ms, msPerDay)
			if !ok {
				out.SetNull(i)
			}
		}
	}, err
}

func toTimestamp(n *Node) (Kernel, error) {
	p, err := timePatternsOf(n, 1, defaultTimePattern)
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			if out.IsNull(i) {
				continue
			}
			var ok bool
			if out.Int64s[i], _, ok = timeText(x, p, i); !ok {
				out.SetNull(i)
			}
		}
	}, err
}

// toTimestampLTZ takes seconds (precision 0) or milliseconds (3, the default) since 1970, or a text with pattern and zone.
func toTimestampLTZ(n *Node) (Kernel, error) {
	if n.Args[0].Type.IsString() {
		return textToLTZ(n)
	}
	if len(n.Args) > 2 || len(n.Args) == 2 && !n.Args[1].Type.IsInteger() {
		return nil, fmt.Errorf("a number is taken as (BIGINT[, precision])")
	}
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			v, unit := x.Args[0].Int(i), int64(1)
			if len(x.Args) > 1 && x.Args[1].Int(i) == 0 {
				unit = 1000
			}
			out.Int64s[i] = v * unit
			if !representable(v*unit/1000) || unit > 1 && !representable(v) {
				out.SetNull(i)
			}
		}
	}, nil
}

func textToLTZ(n *Node) (Kernel, error) {
	for _, a := range n.Args[1:] {
		if !a.Type.IsString() {
			return nil, fmt.Errorf("a text is taken as (STRING[, pattern[, zone]])")
		}
	}
	p, err := timePatternsOf(n, 1, defaultTimePattern)
	zones := zoneCache{}
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			if out.IsNull(i) {
				continue
			}
			zone := x.Env.zone()
			if len(x.Args) < 3 {
				zone = time.UTC
			} else {
				zone = zones.find(x, x.Args[2].Text(i), i)
			}
			ms, zoned, ok := timeText(x, p, i)
			if !zoned {
				ms = toInstant(ms, zone)
			}
			out.Int64s[i] = ms
			if !ok {
				out.SetNull(i)
			}
		}
	}, err
}

// zoneCache keeps the zones that a program has met.
type zoneCache map[string]*time.Location

func (z zoneCache) find(x *Call, name []byte, i int) *time.Location {
	if l := z[string(name)]; l != nil {
		return l
	}
	l, err := LoadZone(string(name))
	if err != nil {
		x.Fail(i, "%v", err)
		return time.UTC
	}
	z[string(name)] = l
	return l
}

// LoadZone finds a time zone by its IANA name ("Europe/Berlin"), "UTC", or as an offset ("GMT+02:00", "+02:00"). The machine's own
// zone cannot be had: it differs from node to node.
func LoadZone(name string) (*time.Location, error) {
	s := timeScanner{[]byte(name)}
	if len(name) > 3 && (name[:3] == "GMT" || name[:3] == "UTC") {
		s.t = s.t[3:]
	}
	if neg := s.skip('-'); neg || s.skip('+') {
		if ms, ok := s.time(); ok && len(s.t) == 0 && ms <= 18*msPerHour {
			if neg {
				ms = -ms
			}
			return time.FixedZone(name, int(ms/1000)), nil
		}
	}
	if name != "" {
		if l, err := zone.Load(name); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%q is not a time zone; write an IANA name such as 'Europe/Berlin', 'UTC', or an offset such as '+02:00'", name)
}

func convertTZ(n *Node) (Kernel, error) {
	zones := zoneCache{}
	pattern, err := compileTimePattern(defaultTimePattern)
	return func(x *Call, out *batch.Column, rows int) {
		x.Rows(out, rows, func(i int) {
			ms, _, ok := parseTimestamp(x.Args[0].Text(i))
			if !ok {
				out.SetNull(i)
				return
			}
			from, to := zones.find(x, x.Args[1].Text(i), i), zones.find(x, x.Args[2].Text(i), i)
			out.Data = pattern.format(out.Data, toLocal(toInstant(ms, from), to), to)
		})
	}, err
}
