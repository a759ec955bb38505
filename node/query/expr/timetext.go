package expr

import "time"

const (
	msPerSecond = 1000
	msPerMinute = 60 * msPerSecond
	msPerHour   = 60 * msPerMinute
	msPerDay    = 24 * msPerHour
)

// civil is a calendar date of the proleptic Gregorian calendar.
type civil struct {
	year       int64
	month, day int
}

// floorDiv and floorMod round towards minus infinity; b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func floorMod(a, b int64) int64 {
	r := a % b
	if r < 0 {
		r += b
	}
	return r
}

// civilOf turns days since 1970-01-01 into a date.
func civilOf(days int64) civil {
	z := days + 719468
	era := floorDiv(z, 146097)
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	y := yoe + era*400
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	c := civil{y, int(mp + 3), int(doy - (153*mp+2)/5 + 1)}
	if mp >= 10 {
		c.month = int(mp - 9)
	}
	if c.month <= 2 {
		c.year++
	}
	return c
}

// days is the number of days from 1970-01-01 to c; month and day must be in range.
func (c civil) days() int64 {
	y := c.year
	if c.month <= 2 {
		y--
	}
	era := floorDiv(y, 400)
	yoe := y - era*400
	mp := int64(c.month+9) % 12
	doy := (153*mp+2)/5 + int64(c.day) - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

func isLeap(y int64) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

func daysIn(y int64, month int) int {
	switch month {
	case 2:
		if isLeap(y) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// toLocal turns an instant into the milliseconds its wall clock shows in zone.
func toLocal(ms int64, zone *time.Location) int64 {
	if zone == nil || zone == time.UTC {
		return ms
	}
	_, off := time.UnixMilli(ms).In(zone).Zone()
	return ms + int64(off)*1000
}

// toInstant is the instant at which the wall clock in zone shows local; in a gap the time moves on by the gap's length, in an
// overlap it is the earlier instant, as in Java.
func toInstant(local int64, zone *time.Location) int64 {
	if zone == nil || zone == time.UTC {
		return local
	}
	before := toLocal(local-msPerDay, zone) - (local - msPerDay)
	after := toLocal(local+msPerDay, zone) - (local + msPerDay)
	if t := local - before; toLocal(t, zone) == local || before == after {
		return t
	}
	if t := local - after; toLocal(t, zone) == local {
		return t
	}
	return local - before
}

func append2(dst []byte, v int) []byte { return append(dst, byte('0'+v/10%10), byte('0'+v%10)) }

func appendPadded(dst []byte, v int64, width int) []byte {
	if v < 0 {
		dst, v = append(dst, '-'), -v
	}
	var buf [20]byte
	i := len(buf)
	for v > 0 || len(buf)-i < width {
		i--
		buf[i] = byte('0' + v%10)
		v /= 10
	}
	return append(dst, buf[i:]...)
}

// appendDate appends yyyy-MM-dd.
func appendDate(dst []byte, days int64) []byte {
	c := civilOf(days)
	dst = append(appendPadded(dst, c.year, 4), '-')
	dst = append(append2(dst, c.month), '-')
	return append2(dst, c.day)
}

// appendTime appends HH:mm:ss and precision fractional digits (at most 3 are kept; further ones are zeros).
func appendTime(dst []byte, ms int64, precision int) []byte {
	dst = append(append2(dst, int(ms/msPerHour)), ':')
	dst = append(append2(dst, int(ms/msPerMinute%60)), ':')
	dst = append2(dst, int(ms/msPerSecond%60))
	if precision <= 0 {
		return dst
	}
	dst = append(dst, '.')
	f := [9]byte{'0' + byte(ms%1000/100), '0' + byte(ms%100/10), '0' + byte(ms%10), '0', '0', '0', '0', '0', '0'}
	return append(dst, f[:min(precision, 9)]...)
}

// appendTimestamp appends yyyy-MM-dd HH:mm:ss and precision fractional digits.
func appendTimestamp(dst []byte, ms int64, precision int) []byte {
	dst = append(appendDate(dst, floorDiv(ms, msPerDay)), ' ')
	return appendTime(dst, floorMod(ms, msPerDay), precision)
}

// timeScanner reads the fixed forms of dates and times from the front of a text.
type timeScanner struct{ t []byte }

func (s *timeScanner) number(minDigits, maxDigits int) (int64, bool) {
	n := min(digitRun(s.t), maxDigits)
	if n < minDigits {
		return 0, false
	}
	var v int64
	for _, c := range s.t[:n] {
		v = v*10 + int64(c-'0')
	}
	s.t = s.t[n:]
	return v, true
}

func (s *timeScanner) skip(c byte) bool {
	if len(s.t) > 0 && s.t[0] == c {
		s.t = s.t[1:]
		return true
	}
	return false
}

// date reads y[yyy]-M[M]-d[d] (or less of it) into days since 1970-01-01.
func (s *timeScanner) date() (int64, bool) {
	neg := s.skip('-')
	y, ok := s.number(1, 6)
	if !ok {
		return 0, false
	}
	if neg {
		y = -y
	}
	m, d := int64(1), int64(1)
	if s.skip('-') {
		if m, ok = s.number(1, 2); !ok {
			return 0, false
		}
		if s.skip('-') {
			if d, ok = s.number(1, 2); !ok {
				return 0, false
			}
		}
	}
	if m < 1 || m > 12 || d < 1 || d > int64(daysIn(y, int(m))) {
		return 0, false
	}
	return civil{y, int(m), int(d)}.days(), true
}

// time reads H[H][:m[m][:s[s][.fraction]]] into milliseconds of the day; digits below a millisecond are dropped.
func (s *timeScanner) time() (int64, bool) {
	h, ok := s.number(1, 2)
	if !ok || h > 23 {
		return 0, false
	}
	ms := h * msPerHour
	if !s.skip(':') {
		return ms, true
	}
	m, ok := s.number(1, 2)
	if !ok || m > 59 {
		return 0, false
	}
	ms += m * msPerMinute
	if !s.skip(':') {
		return ms, true
	}
	sec, ok := s.number(1, 2)
	if !ok || sec > 59 {
		return 0, false
	}
	ms += sec * msPerSecond
	if s.skip('.') {
		n := digitRun(s.t)
		scale := int64(100)
		for _, c := range s.t[:n] {
			ms += int64(c-'0') * scale
			scale /= 10
		}
		s.t = s.t[n:]
	}
	return ms, true
}

// parseDate reads a date; a time after it is checked and dropped.
func parseDate(text []byte) (int64, bool) {
	s := timeScanner{trimSpace(text)}
	d, ok := s.date()
	if ok && len(s.t) > 0 {
		ok = s.skip(' ') || s.skip('T')
		if ok {
			_, ok = s.time()
		}
	}
	return d, ok && len(s.t) == 0
}

func parseTime(text []byte) (int64, bool) {
	s := timeScanner{trimSpace(text)}
	ms, ok := s.time()
	return ms, ok && len(s.t) == 0
}

// parseTimestamp reads "date[ T]time" or a date alone. zoned says that the text ended in Z or an offset, which is then
// already taken into account.
func parseTimestamp(text []byte) (ms int64, zoned, ok bool) {
	s := timeScanner{trimSpace(text)}
	d, ok := s.date()
	if !ok {
		return 0, false, false
	}
	ms = d * msPerDay
	if len(s.t) == 0 {
		return ms, false, true
	}
	if !s.skip(' ') && !s.skip('T') {
		return 0, false, false
	}
	t, ok := s.time()
	if !ok {
		return 0, false, false
	}
	ms += t
	if len(s.t) == 0 {
		return ms, false, true
	}
	if s.skip('Z') {
		return ms, true, len(s.t) == 0
	}
	neg := s.skip('-')
	if !neg && !s.skip('+') {
		return 0, false, false
	}
	off, ok := s.time()
	if neg {
		off = -off
	}
	return ms - off, true, ok && len(s.t) == 0
}
