package expr

import (
	"errors"
	"math"
	"strconv"
	"unsafe"
)

// trimSpace cuts white space and control characters off both ends, as Java's String.trim does.
func trimSpace(t []byte) []byte {
	for len(t) > 0 && t[0] <= ' ' {
		t = t[1:]
	}
	for len(t) > 0 && t[len(t)-1] <= ' ' {
		t = t[:len(t)-1]
	}
	return t
}

// parseInt reads "[+-]digits"; with fraction also ".digits", which it drops. False when text is something else or outside
// [lo, hi].
func parseInt(text []byte, lo, hi int64, fraction bool) (int64, bool) {
	t := trimSpace(text)
	neg := false
	if len(t) > 0 && (t[0] == '-' || t[0] == '+') {
		neg = t[0] == '-'
		t = t[1:]
	}
	n := digitRun(t)
	rest := t[n:]
	if len(rest) > 0 && !(fraction && rest[0] == '.' && digitRun(rest[1:]) == len(rest)-1) || n+len(rest) == 0 || n == 0 && len(rest) < 2 {
		return 0, false
	}
	var v uint64
	for _, c := range t[:n] {
		d := uint64(c - '0')
		if v > (math.MaxUint64-d)/10 {
			return 0, false
		}
		v = v*10 + d
	}
	if neg {
		if v > 1<<63 {
			return 0, false
		}
		s := -int64(v)
		return s, s >= lo
	}
	return int64(v), v <= uint64(hi)
}

// parseFloat reads a decimal number, NaN or [+-]Infinity; a number too large gives an infinity, as in Java.
func parseFloat(text []byte, bits int) (float64, bool) {
	t := trimSpace(text)
	if len(t) == 0 {
		return 0, false
	}
	for _, c := range t {
		if c == '_' || c|0x20 == 'x' || c|0x20 == 'p' {
			return 0, false // Go's own syntax, not SQL's
		}
	}
	// ParseFloat keeps its argument only inside the error, which is dropped.
	f, err := strconv.ParseFloat(unsafe.String(&t[0], len(t)), bits)
	return f, err == nil || errors.Is(err, strconv.ErrRange)
}

// appendFloat appends f as Java's Double.toString (Float.toString for bits 32): shortest digits, at least one after the point,
// scientific outside [1e-3, 1e7).
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case f != f:
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	if a := math.Abs(f); a == 0 || a >= 1e-3 && a < 1e7 {
		from := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, bits)
		for _, c := range dst[from:] {
			if c == '.' {
				return dst
			}
		}
		return append(dst, ".0"...)
	}
	var buf [32]byte
	e := strconv.AppendFloat(buf[:0], f, 'e', -1, bits) // d[.ddd]e+xx
	i := 0
	for e[i] != 'e' {
		i++
	}
	dst = append(dst, e[:i]...)
	if digits := i; digits == 1 || digits == 2 && e[0] == '-' {
		dst = append(dst, ".0"...)
	}
	dst = append(dst, 'E')
	exp := e[i+1:]
	if exp[0] == '-' {
		dst = append(dst, '-')
	}
	exp = exp[1:]
	for len(exp) > 1 && exp[0] == '0' {
		exp = exp[1:]
	}
	return append(dst, exp...)
}
