package expr

import (
	"bytes"
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"github.com/seepnode/seepnode/dataplane/batch"
)

var _ = builtin(
	FunctionDef{Name: "||", hidden: true, Takes: "ANY, ANY", Returns: firstType, Kernel: concatKernel},
	FunctionDef{Name: "CHAR_LENGTH", Takes: "STRING", Result: batch.TypeInt, Kernel: charLength},
	FunctionDef{Name: "CHARACTER_LENGTH", Takes: "STRING", Result: batch.TypeInt, Kernel: charLength},
	FunctionDef{Name: "OCTET_LENGTH", Takes: "STRING|BYTES", Result: batch.TypeInt, Kernel: octetLength},
	FunctionDef{Name: "UPPER", Takes: "STRING", Result: batch.TypeString, Kernel: changeCase('a', unicode.ToUpper)},
	FunctionDef{Name: "LOWER", Takes: "STRING", Result: batch.TypeString, Kernel: changeCase('A', unicode.ToLower)},
	FunctionDef{Name: "INITCAP", Takes: "STRING", Result: batch.TypeString, Kernel: initCap},
	FunctionDef{Name: "CONCAT", Takes: "STRING...", Result: batch.TypeString, Kernel: concatKernel},
	FunctionDef{Name: "CONCAT_WS", Takes: "STRING, STRING...", Result: batch.TypeString, CallsOnNull: true, Kernel: concatWS},
	FunctionDef{Name: "SUBSTRING", Takes: "STRING, INT[, INT]", Result: batch.TypeString, Kernel: substring, MayFail: true},
	FunctionDef{Name: "SUBSTR", Takes: "STRING, INT[, INT]", Result: batch.TypeString, Kernel: substring, MayFail: true},
	FunctionDef{Name: "LEFT", Takes: "STRING, INT", Result: batch.TypeString, Kernel: textKernel(func(x *Call, dst []byte, i int) []byte {
		return append(dst, firstChars(x.Args[0].Text(i), x.Args[1].Int(i))...)
	})},
	FunctionDef{Name: "RIGHT", Takes: "STRING, INT", Result: batch.TypeString, Kernel: textKernel(func(x *Call, dst []byte, i int) []byte {
		s := x.Args[0].Text(i)
		n := int64(utf8.RuneCount(s)) - max(0, x.Args[1].Int(i))
		return append(dst, s[len(firstChars(s, n)):]...)
	})},
	FunctionDef{Name: "POSITION", Takes: "STRING, STRING", Result: batch.TypeInt, Kernel: locate(1, 0)},
	FunctionDef{Name: "LOCATE", Takes: "STRING, STRING[, INT]", Result: batch.TypeInt, Kernel: locate(1, 0)},
	FunctionDef{Name: "INSTR", Takes: "STRING, STRING", Result: batch.TypeInt, Kernel: locate(0, 1)},
	FunctionDef{Name: "TRIM", Takes: "STRING[, STRING, STRING]", Result: batch.TypeString, Build: trimKernel},
	FunctionDef{Name: "LTRIM", Takes: "STRING[, STRING]", Result: batch.TypeString, Kernel: trimSides(true, false)},
	FunctionDef{Name: "RTRIM", Takes: "STRING[, STRING]", Result: batch.TypeString, Kernel: trimSides(false, true)},
	FunctionDef{Name: "BTRIM", Takes: "STRING[, STRING]", Result: batch.TypeString, Kernel: trimSides(true, true)},
	FunctionDef{Name: "REPLACE", Takes: "STRING, STRING, STRING", Result: batch.TypeString, MayFail: true, Kernel: textKernel(replaceText)},
	FunctionDef{Name: "LPAD", Takes: "STRING, INT, STRING", Result: batch.TypeString, MayBeNull: true, MayFail: true, Kernel: pad(true)},
	FunctionDef{Name: "RPAD", Takes: "STRING, INT, STRING", Result: batch.TypeString, MayBeNull: true, MayFail: true, Kernel: pad(false)},
	FunctionDef{Name: "REPEAT", Takes: "STRING, INT", Result: batch.TypeString, MayFail: true, Kernel: textKernel(repeatText)},
	FunctionDef{Name: "REVERSE", Takes: "STRING", Result: batch.TypeString, Kernel: textKernel(reverseText)},
	FunctionDef{Name: "OVERLAY", Takes: "STRING, STRING, INT[, INT]", Result: batch.TypeString, Kernel: textKernel(overlayText)},
	FunctionDef{Name: "SPLIT_INDEX", Takes: "STRING, STRING, INT", Result: batch.TypeString, MayBeNull: true, Kernel: splitIndex},
	FunctionDef{Name: "SPLIT", Takes: "STRING, STRING", Result: batch.ArrayOf(batch.TypeString), Kernel: splitKernel},
	FunctionDef{Name: "STR_TO_MAP", Takes: "STRING[, STRING, STRING]", Result: batch.MapOf(batch.TypeString, batch.TypeString), Kernel: strToMap},
	FunctionDef{Name: "STARTSWITH", Takes: "STRING, STRING", Result: batch.TypeBoolean, Kernel: affix(bytes.HasPrefix)},
	FunctionDef{Name: "ENDSWITH", Takes: "STRING, STRING", Result: batch.TypeBoolean, Kernel: affix(bytes.HasSuffix)},
)

// textKernel is a function that makes text of one row at a time.
func textKernel(f func(x *Call, dst []byte, i int) []byte) Kernel {
	return func(x *Call, out *batch.Column, n int) {
		x.Rows(out, n, func(i int) { out.Data = f(x, out.Data, i) })
	}
}

func affix(f func(s, part []byte) bool) Kernel {
	return func(x *Call, out *batch.Column, n int) {
		for i := range n {
			out.Bools[i] = f(x.Args[0].Text(i), x.Args[1].Text(i))
		}
	}
}

func concatKernel(x *Call, out *batch.Column, n int) {
	x.Rows(out, n, func(i int) {
		for _, a := range x.Args {
			out.Data = append(out.Data, a.Text(i)...)
		}
	})
}

// concatWS joins its arguments that are not null; null when the separator is.
func concatWS(x *Call, out *batch.Column, n int) {
	x.Rows(out, n, func(i int) {
		if x.Args[0].Null(i) {
			out.SetNull(i)
			return
		}
		sep := false
		for _, a := range x.Args[1:] {
			if a.Null(i) {
				continue
			}
			if sep {
				out.Data = append(out.Data, x.Args[0].Text(i)...)
			}
			out.Data = append(out.Data, a.Text(i)...)
			sep = true
		}
	})
}

func charLength(x *Call, out *batch.Column, n int) {
	for i := range n {
		out.Int64s[i] = int64(utf8.RuneCount(x.Args[0].Text(i)))
	}
}

func octetLength(x *Call, out *batch.Column, n int) {
	for i := range n {
		out.Int64s[i] = int64(len(x.Args[0].Text(i)))
	}
}

// changeCase moves the letters from first on by the ASCII case bit, and letters beyond ASCII by f; bytes that are no UTF-8 stay.
func changeCase(first byte, f func(rune) rune) Kernel {
	return func(x *Call, out *batch.Column, n int) {
		a := x.Args[0]
		if !a.Const() && n > 0 && caseWhole(out, a.Column, n, first) {
			return
		}
		x.Rows(out, n, func(i int) {
			s := a.Text(i)
			from := len(out.Data)
			out.Data = append(out.Data, s...)
			if !flipASCII(out.Data[from:], first) {
				out.Data = mapRunes(out.Data[:from], s, f)
			}
		})
	}
}

// caseWhole does all rows in one pass when every byte is ASCII; otherwise it leaves out empty.
func caseWhole(out, a *batch.Column, n int, first byte) bool {
	lo, hi := a.Offsets[0], a.Offsets[n]
	if int(hi-lo) > maxColumnBytes {
		return false
	}
	out.Data = append(out.Data[:0], a.Data[lo:hi]...)
	if !flipASCII(out.Data, first) {
		out.Data = out.Data[:0]
		return false
	}
	for _, o := range a.Offsets[:n+1] {
		out.Offsets = append(out.Offsets, o-lo)
	}
	return true
}

// flipASCII flips the case bit of the 26 letters from first on, in place; false when it meets a byte beyond ASCII.
func flipASCII(b []byte, first byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	atLeast := uint64(0x80-first) * ones
	above := uint64(0x80-first-26) * ones
	for len(b) >= 8 {
		v := binary.LittleEndian.Uint64(b)
		if v&high != 0 {
			return false
		}
		// Adding puts a byte's top bit on when the byte is at least first, or past the last letter.
		letters := ((v + atLeast) ^ (v + above)) & high
		binary.LittleEndian.PutUint64(b, v^letters>>2)
		b = b[8:]
	}
	for i, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
		if c-first < 26 {
			b[i] = c ^ 0x20
		}
	}
	return true
}

func mapRunes(dst, s []byte, f func(rune) rune) []byte {
	for len(s) > 0 {
		r, w := utf8.DecodeRune(s)
		if r == utf8.RuneError && w == 1 {
			dst = append(dst, s[0])
		} else {
			dst = utf8.AppendRune(dst, f(r))
		}
		s = s[w:]
	}
	return dst
}

func initCap(x *Call, out *batch.Column, n int) {
	inWord := false
	title := func(r rune) rune {
		first := !inWord
		inWord = unicode.IsLetter(r) || unicode.IsDigit(r)
		if first {
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}
	x.Rows(out, n, func(i int) {
		inWord = false
		out.Data = mapRunes(out.Data, x.Args[0].Text(i), title)
	})
}

// firstChars is the first n characters of s.
func firstChars(s []byte, n int64) []byte {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		if s[at] < utf8.RuneSelf {
			at++
			continue
		}
		_, w := utf8.DecodeRune(s[at:])
		at += w
	}
	return s[:at]
}

// substring counts characters from 1, or from the end when the position is negative.
func substring(x *Call, out *batch.Column, n int) {
	x.Rows(out, n, func(i int) {
		s, from, length := x.Args[0].Text(i), x.Args[1].Int(i), int64(len(x.Args[0].Text(i)))+1
		if len(x.Args) > 2 {
			length = x.Args[2].Int(i)
			if length < 0 {
				length = 0
			}
		}
		switch {
		case from > 0:
			from--
		case from < 0:
			from += int64(utf8.RuneCount(s))
			if from < 0 {
				return
			}
		}
		s = s[len(firstChars(s, from)):]
		out.Data = append(out.Data, firstChars(s, length)...)
	})
}

// locate finds argument part in argument text, counting characters from 1; 0 when it is not there.
func locate(text, part int) Kernel {
	return func(x *Call, out *batch.Column, n int) {
		for i := range n {
			s, start := x.Args[text].Text(i), 0
			out.Int64s[i] = 0
			if len(x.Args) > 2 {
				from := x.Args[2].Int(i)
				if from < 1 {
					continue
				}
				start = len(firstChars(s, from-1))
			}
			if at := bytes.Index(s[start:], x.Args[part].Text(i)); at >= 0 {
				out.Int64s[i] = int64(utf8.RuneCount(s[:start+at])) + 1
			}
		}
	}
}

// trimKernel is TRIM(text), or TRIM(side, characters, text).
func trimKernel(n *Node) (Kernel, error) {
	if len(n.Args) == 1 {
		return trimSides(true, true), nil
	}
	return func(x *Call, out *batch.Column, rows int) {
		x.Rows(out, rows, func(i int) {
			side := x.Args[0].Text(i)
			chars, text := x.Args[1], x.Args[len(x.Args)-1]
			out.Data = append(out.Data, trimChars(text.Text(i), chars.Text(i), !equalFold(side, "trailing"), !equalFold(side, "leading"))...)
		})
	}, nil
}

func trimSides(left, right bool) Kernel {
	return func(x *Call, out *batch.Column, n int) {
		chars := []byte{' '}
		x.Rows(out, n, func(i int) {
			if len(x.Args) > 1 {
				chars = x.Args[1].Text(i)
			}
			out.Data = append(out.Data, trimChars(x.Args[0].Text(i), chars, left, right)...)
		})
	}
}

// trimChars cuts off characters that are among chars.
func trimChars(s, chars []byte, left, right bool) []byte {
	for left && len(s) > 0 {
		_, w := utf8.DecodeRune(s)
		if !hasChar(chars, s[:w]) {
			break
		}
		s = s[w:]
	}
	for right && len(s) > 0 {
		_, w := utf8.DecodeLastRune(s)
		if !hasChar(chars, s[len(s)-w:]) {
			break
		}
		s = s[:len(s)-w]
	}
	return s
}

func hasChar(set, char []byte) bool {
	for len(set) > 0 {
		_, w := utf8.DecodeRune(set)
		if bytes.Equal(set[:w], char) {
			return true
		}
		set = set[w:]
	}
	return false
}

func replaceText(x *Call, dst []byte, i int) []byte {
	s, old, with := x.Args[0].Text(i), x.Args[1].Text(i), x.Args[2].Text(i)
	if len(old) == 0 {
		return append(dst, s...)
	}
	start := len(dst)
	for {
		at := bytes.Index(s, old)
		if at < 0 || len(dst)-start > MaxValueBytes {
			return append(dst, s...)
		}
		dst = append(append(dst, s[:at]...), with...)
		s = s[at+len(old):]
	}
}

// pad brings text to a length in characters; null when that is negative or there is nothing to pad with.
func pad(left bool) Kernel {
	return func(x *Call, out *batch.Column, n int) {
		x.Rows(out, n, func(i int) {
			s, want, with := x.Args[0].Text(i), x.Args[1].Int(i), x.Args[2].Text(i)
			missing := want - int64(utf8.RuneCount(s))
			switch {
			case want < 0 || missing > 0 && len(with) == 0:
				out.SetNull(i)
				return
			case missing > MaxValueBytes:
				x.Fail(i, "a text of %d characters is over the limit of %d", want, MaxValueBytes)
				return
			case missing <= 0:
				out.Data = append(out.Data, firstChars(s, want)...)
				return
			}
			if !left {
				out.Data = append(out.Data, s...)
			}
			unit := int64(utf8.RuneCount(with))
			for ; missing >= unit; missing -= unit {
				out.Data = append(out.Data, with...)
			}
			out.Data = append(out.Data, firstChars(with, missing)...)
			if left {
				out.Data = append(out.Data, s...)
			}
		})
	}
}

func repeatText(x *Call, dst []byte, i int) []byte {
	s, n := x.Args[0].Text(i), x.Args[1].Int(i)
	if n <= 0 || len(s) == 0 {
		return dst
	}
	if n > MaxValueBytes/int64(len(s)) {
		x.Fail(i, "%d times %d bytes is over the limit of %d", n, len(s), MaxValueBytes)
		return dst
	}
	for ; n > 0; n-- {
		dst = append(dst, s...)
	}
	return dst
}

func reverseText(x *Call, dst []byte, i int) []byte {
	s := x.Args[0].Text(i)
	for len(s) > 0 {
		_, w := utf8.DecodeLastRune(s)
		dst = append(dst, s[len(s)-w:]...)
		s = s[:len(s)-w]
	}
	return dst
}

// overlayText replaces length characters from a position by another text, whose own length is the default.
func overlayText(x *Call, dst []byte, i int) []byte {
	s, with, from := x.Args[0].Text(i), x.Args[1].Text(i), x.Args[2].Int(i)
	length := int64(utf8.RuneCount(with))
	if len(x.Args) > 3 {
		length = x.Args[3].Int(i)
	}
	if from <= 0 || from > int64(utf8.RuneCount(s)) {
		return append(dst, s...)
	}
	head := firstChars(s, from-1)
	dst = append(append(dst, head...), with...)
	if length < 0 {
		return dst
	}
	return append(dst, s[len(firstChars(s, min(from-1+length, int64(len(s))))):]...)
}

// eachPart calls f for the parts of s between occurrences of sep; an empty sep parts every character.
func eachPart(s, sep []byte, f func(part []byte)) {
	if len(sep) == 0 {
		for len(s) > 0 {
			_, w := utf8.DecodeRune(s)
			f(s[:w])
			s = s[w:]
		}
		return
	}
	for {
		at := bytes.Index(s, sep)
		if at < 0 {
			f(s)
			return
		}
		f(s[:at])
		s = s[at+len(sep):]
	}
}

func splitIndex(x *Call, out *batch.Column, n int) {
	x.Rows(out, n, func(i int) {
		k, want, found := int64(0), x.Args[2].Int(i), false
		eachPart(x.Args[0].Text(i), x.Args[1].Text(i), func(p []byte) {
			if k == want {
				out.Data = append(out.Data, p...)
				found = true
			}
			k++
		})
		if !found {
			out.SetNull(i)
		}
	})
}

func splitKernel(x *Call, out *batch.Column, n int) {
	elem := out.Children[0]
	x.Rows(out, n, func(i int) {
		eachPart(x.Args[0].Text(i), x.Args[1].Text(i), elem.AppendBytes)
	})
}

// strToMap reads k=v,k=v; of equal keys the last value counts, at the first one's place.
func strToMap(x *Call, out *batch.Column, n int) {
	pairSep, valueSep := []byte{','}, []byte{'='}
	keys, values := out.Children[0], out.Children[1]
	var pairs [][2][]byte
	x.Rows(out, n, func(i int) {
		if len(x.Args) > 1 {
			pairSep, valueSep = x.Args[1].Text(i), x.Args[2].Text(i)
		}
		pairs = pairs[:0]
		at := map[string]int{}
		eachPart(x.Args[0].Text(i), pairSep, func(p []byte) {
			k, v, found := bytes.Cut(p, valueSep)
			if !found {
				k, v = p, nil
			}
			j, seen := at[string(k)]
			if !seen {
				j = len(pairs)
				at[string(k)] = j
				pairs = append(pairs, [2][]byte{})
			}
			pairs[j] = [2][]byte{k, v}
			if !found {
				pairs[j][1] = nil
			}
		})
		for _, p := range pairs {
			keys.AppendBytes(p[0])
			if p[1] == nil {
				values.AppendNull()
			} else {
				values.AppendBytes(p[1])
			}
		}
	})
}
