package expr

import (
	"fmt"
	"strings"
	"time"
)

// timePattern is a date pattern of Java (yyyy-MM-dd HH:mm:ss.SSS): runs of one letter, and text between them.
type timePattern []timeField

type timeField struct {
	letter byte // 0 for literal text
	width  int
	text   string
}

const defaultTimePattern = "yyyy-MM-dd HH:mm:ss"

func compileTimePattern(text string) (timePattern, error) {
	var p timePattern
	literal := func(s string) {
		if n := len(p); n > 0 && p[n-1].letter == 0 {
			p[n-1].text += s
		} else {
			p = append(p, timeField{text: s})
		}
	}
	for i := 0; i < len(text); {
		c := text[i]
		if c == '\'' {
			if strings.HasPrefix(text[i:], "''") {
				literal("'")
				i += 2
				continue
			}
			end := strings.IndexByte(text[i+1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("the date pattern %q has an open quote", text)
			}
			literal(text[i+1 : i+1+end])
			i += end + 2
			continue
		}
		n := 1
		for i+n < len(text) && text[i+n] == c {
			n++
		}
		switch {
		case strings.IndexByte("yuMdDHhkKmsSaEQzZXe", c) >= 0:
			p = append(p, timeField{letter: c, width: n})
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			return nil, fmt.Errorf("the letter %c of the date pattern %q is not supported", c, text)
		default:
			literal(text[i : i+n])
		}
		i += n
	}
	return p, nil
}

// format appends a wall-clock time of zone.
func (p timePattern) format(dst []byte, ms int64, zone *time.Location) []byte {
	days, clock := floorDiv(ms, msPerDay), floorMod(ms, msPerDay)
	c := civilOf(days)
	hour := clock / msPerHour
	for _, f := range p {
		switch f.letter {
		case 0:
			dst = append(dst, f.text...)
		case 'y', 'u':
			if f.width == 2 {
				dst = append2(dst, int(floorMod(c.year, 100)))
			} else {
				dst = appendPadded(dst, c.year, f.width)
			}
		case 'M':
			dst = appendName(dst, int64(c.month), f.width, time.Month(c.month).String())
		case 'd':
			dst = appendPadded(dst, int64(c.day), f.width)
		case 'D':
			dst = appendPadded(dst, part("DOY", ms), f.width)
		case 'Q':
			dst = appendPadded(dst, part("QUARTER", ms), f.width)
		case 'E':
			dst = appendName(dst, 0, max(f.width, 3), time.Weekday(floorMod(days+4, 7)).String())
		case 'e':
			dst = appendPadded(dst, part("DOW", ms), f.width)
		case 'H':
			dst = appendPadded(dst, hour, f.width)
		case 'k':
			dst = appendPadded(dst, (hour+23)%24+1, f.width)
		case 'K':
			dst = appendPadded(dst, hour%12, f.width)
		case 'h':
			dst = appendPadded(dst, (hour+11)%12+1, f.width)
		case 'm':
			dst = appendPadded(dst, clock/msPerMinute%60, f.width)
		case 's':
			dst = appendPadded(dst, clock/msPerSecond%60, f.width)
		case 'S':
			dst = appendFraction(dst, clock%1000, f.width)
		case 'a':
			dst = append(dst, [2]string{"AM", "PM"}[hour/12]...)
		default:
			dst = appendZone(dst, f, ms, zone)
		}
	}
	return dst
}

func appendFraction(dst []byte, ms int64, width int) []byte {
	from := len(dst)
	dst = appendPadded(dst, ms, 3)
	for len(dst)-from < width {
		dst = append(dst, '0')
	}
	return dst[:from+width]
}

func appendName(dst []byte, n int64, width int, name string) []byte {
	switch {
	case width < 3:
		return appendPadded(dst, n, width)
	case width == 3:
		return append(dst, name[:3]...)
	}
	return append(dst, name...)
}

func appendZone(dst []byte, f timeField, ms int64, zone *time.Location) []byte {
	at := time.UnixMilli(toInstant(ms, zone)).In(zone)
	name, offset := at.Zone()
	if f.letter == 'z' {
		return append(dst, name...)
	}
	if f.letter == 'X' && offset == 0 {
		return append(dst, 'Z')
	}
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = append2(append(dst, sign), offset/3600)
	if f.letter == 'X' && f.width == 1 && offset%3600 == 0 {
		return dst
	}
	if f.letter == 'X' && f.width == 3 {
		dst = append(dst, ':')
	}
	return append2(dst, offset/60%60)
}

// parsedTime is what a pattern found; fields that it does not have are those of 1970-01-01 00:00:00.
type parsedTime struct {
	year, month, day, dayOfYear, hour, minute, second, ms int64

	twelve, pm, zoned bool
	offset            int64
}

// parse reads a whole text; false when it does not follow the pattern or names no time. zoned says that the text gave an offset, which is
// then taken off.
func (p timePattern) parse(text []byte) (ms int64, zoned, ok bool) {
	s := timeScanner{trimSpace(text)}
	v := parsedTime{year: 1970, month: 1, day: 1}
	for i, f := range p {
		if f.letter == 0 {
			if len(s.t) < len(f.text) || string(s.t[:len(f.text)]) != f.text {
				return 0, false, false
			}
			s.t = s.t[len(f.text):]
			continue
		}
		// A field before another without a separator has exactly its width; any other takes what digits there are.
		most := 9
		if i+1 < len(p) && p[i+1].letter != 0 {
			most = f.width
		}
		if !v.field(&s, f, most) {
			return 0, false, false
		}
	}
	if len(s.t) > 0 {
		return 0, false, false
	}
	return v.value()
}

func (v *parsedTime) field(s *timeScanner, f timeField, most int) bool {
	var ok bool
	switch f.letter {
	case 'M':
		if f.width >= 3 {
			v.month, ok = monthNamed(s, f.width > 3)
			return ok
		}
		v.month, ok = s.number(1, min(most, 2))
		return ok
	case 'S':
		n := digitRun(s.t)
		if n == 0 {
			return false
		}
		if most == f.width {
			n = min(n, f.width)
		}
		scale := int64(100)
		for _, c := range s.t[:n] {
			v.ms += int64(c-'0') * scale
			scale /= 10
		}
		s.t = s.t[n:]
		return true
	case 'a':
		if len(s.t) < 2 || s.t[1]|0x20 != 'm' {
			return false
		}
		v.pm = s.t[0]|0x20 == 'p'
		ok = v.pm || s.t[0]|0x20 == 'a'
		s.t = s.t[2:]
		return ok
	case 'X', 'Z', 'z':
		return v.zone(s)
	}
	into := v.number(f.letter)
	if into == nil {
		return false
	}
	if f.letter != 'y' && f.letter != 'u' && f.letter != 'D' {
		most = min(most, 2)
	}
	neg := f.letter == 'y' && s.skip('-')
	*into, ok = s.number(1, most)
	if neg {
		*into = -*into
	}
	if f.letter == 'y' && f.width == 2 && *into < 100 {
		*into += 2000
	}
	return ok
}

// number is the field that a letter stands for as digits; nil for letters that only format.
func (v *parsedTime) number(letter byte) *int64 {
	switch letter {
	case 'y', 'u':
		return &v.year
	case 'd':
		return &v.day
	case 'D':
		return &v.dayOfYear
	case 'h', 'K':
		v.twelve = true
		return &v.hour
	case 'H', 'k':
		return &v.hour
	case 'm':
		return &v.minute
	case 's':
		return &v.second
	}
	return nil
}

func monthNamed(s *timeScanner, full bool) (int64, bool) {
	for m := time.January; m <= time.December; m++ {
		name := m.String()
		if !full {
			name = name[:3]
		}
		if len(s.t) >= len(name) && equalFold(s.t[:len(name)], strings.ToLower(name)) {
			s.t = s.t[len(name):]
			return int64(m), true
		}
	}
	return 0, false
}

// zone reads Z, UTC, GMT or an offset.
func (v *parsedTime) zone(s *timeScanner) bool {
	v.zoned = true
	for _, utc := range []string{"utc", "gmt", "z"} {
		if len(s.t) >= len(utc) && equalFold(s.t[:len(utc)], utc) {
			s.t = s.t[len(utc):]
			return true
		}
	}
	neg := s.skip('-')
	if !neg && !s.skip('+') {
		return false
	}
	h, ok := s.number(2, 2)
	if !ok || h > 18 {
		return false
	}
	s.skip(':')
	m, ok := s.number(2, 2)
	v.offset = h*msPerHour + m*msPerMinute
	if neg {
		v.offset = -v.offset
	}
	return m < 60 && (ok || m == 0)
}

func (v *parsedTime) value() (ms int64, zoned, ok bool) {
	if v.twelve {
		v.hour %= 12
		if v.pm {
			v.hour += 12
		}
	}
	if v.hour == 24 {
		v.hour = 0
	}
	if v.month < 1 || v.month > 12 || v.day < 1 || v.day > int64(daysIn(v.year, int(v.month))) || v.hour > 23 || v.minute > 59 || v.second > 59 {
		return 0, false, false
	}
	days := civil{v.year, int(v.month), int(v.day)}.days()
	if v.dayOfYear > 0 {
		if v.dayOfYear > 366 || v.dayOfYear == 366 && !isLeap(v.year) {
			return 0, false, false
		}
		days = civil{v.year, 1, 1}.days() + v.dayOfYear - 1
	}
	ms = days*msPerDay + v.hour*msPerHour + v.minute*msPerMinute + v.second*msPerSecond + v.ms
	return ms - v.offset, v.zoned, true
}
