package expr

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"

	"github.com/seepnode/seepnode/dataplane/batch"
)

var _ = builtin(
	FunctionDef{Name: "REGEXP", Takes: "STRING, STRING", Result: batch.TypeBoolean, Build: regexpMatch, MayFail: true},
	FunctionDef{Name: "REGEXP_LIKE", Takes: "STRING, STRING", Result: batch.TypeBoolean, Build: regexpMatch, MayFail: true},
	FunctionDef{Name: "REGEXP_REPLACE", Takes: "STRING, STRING, STRING", Result: batch.TypeString, Build: regexpReplace, MayFail: true},
	FunctionDef{Name: "REGEXP_EXTRACT", Takes: "STRING, STRING[, INT]", Result: batch.TypeString, Build: regexpExtract, MayFail: true, MayBeNull: true},
	FunctionDef{Name: "REGEXP_EXTRACT_ALL", Takes: "STRING, STRING[, INT]", Result: batch.ArrayOf(batch.TypeString.AsNotNull()),
		Build: regexpExtractAll, MayFail: true, MayBeNull: true},
	FunctionDef{Name: "REGEXP_COUNT", Takes: "STRING, STRING", Result: batch.TypeInt, Build: regexpCount, MayFail: true},
)

// pattern is a compiled regular expression. run is set when it is one class of bytes repeated, which a table of 256 entries
// matches some ten times faster than the automaton, with the same result on any bytes.
type pattern struct {
	re  *regexp.Regexp
	run *[256]bool
}

func compilePattern(text string) (*pattern, error) {
	if len(text) > 1<<16 {
		return nil, fmt.Errorf("the pattern is longer than 64 KiB")
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a supported regular expression: %w", text, err)
	}
	p := &pattern{re: re}
	if parsed, err := syntax.Parse(text, syntax.Perl); err == nil {
		p.run = byteRun(parsed)
	}
	return p, nil
}

// byteRun recognises C+ and (C+) for a class C whose members can be told from the bytes alone: nothing beyond ASCII, or all of
// it (then also bytes that are no UTF-8, which a regexp reads as U+FFFD).
func byteRun(re *syntax.Regexp) *[256]bool {
	for re.Op == syntax.OpCapture {
		re = re.Sub[0]
	}
	if re.Op != syntax.OpPlus || re.Flags&syntax.NonGreedy != 0 {
		return nil
	}
	class := re.Sub[0]
	for class.Op == syntax.OpCapture {
		return nil // (C)+ captures the last character only
	}
	var ranges []rune
	switch class.Op {
	case syntax.OpCharClass:
		ranges = class.Rune
	case syntax.OpLiteral:
		if len(class.Rune) != 1 || class.Flags&syntax.FoldCase != 0 {
			return nil
		}
		ranges = []rune{class.Rune[0], class.Rune[0]}
	case syntax.OpAnyCharNotNL:
		ranges = []rune{0, '\n' - 1, '\n' + 1, utf8.MaxRune}
	case syntax.OpAnyChar:
		ranges = []rune{0, utf8.MaxRune}
	default:
		return nil
	}
	var table [256]bool
	for i := 0; i < len(ranges); i += 2 {
		lo, hi := ranges[i], ranges[i+1]
		for r := lo; r <= hi && r < utf8.RuneSelf; r++ {
			table[r] = true
		}
		if hi < utf8.RuneSelf {
			continue
		}
		if lo > utf8.RuneSelf || hi != utf8.MaxRune {
			return nil
		}
		for b := utf8.RuneSelf; b < 256; b++ {
			table[b] = true
		}
	}
	return &table
}

// patterns gives the pattern of a row: compiled once when it is constant, else kept while it stays the same.
type patterns struct {
	fixed *pattern
	last  *pattern
	text  string
}

func patternsOf(n *Node, arg int) (*patterns, error) {
	p := &patterns{}
	a := n.Args[arg]
	if a.Op != OpLiteral || a.Literal.Null {
		return p, nil
	}
	var err error
	p.fixed, err = compilePattern(string(a.Literal.Bytes))
	return p, err
}

// at is the pattern for row i; nil when it is malformed, which fails the row.
func (p *patterns) at(x *Call, arg, i int) *pattern {
	if p.fixed != nil {
		return p.fixed
	}
	text := x.Args[arg].Text(i)
	if p.last != nil && p.text == string(text) {
		return p.last
	}
	c, err := compilePattern(string(text))
	if err != nil {
		x.Fail(i, "%v", err)
		return nil
	}
	p.last, p.text = c, string(text)
	return c
}

// find is the first match at or after from.
func (p *pattern) find(s []byte, from int) (lo, hi int, ok bool) {
	for lo = from; lo < len(s) && !p.run[s[lo]]; {
		lo++
	}
	for hi = lo; hi < len(s) && p.run[s[hi]]; {
		hi++
	}
	return lo, hi, hi > lo
}

func (p *pattern) match(s []byte) bool {
	if p.run == nil {
		return p.re.Match(s)
	}
	_, _, ok := p.find(s, 0)
	return ok
}

func regexpMatch(n *Node) (Kernel, error) {
	ps, err := patternsOf(n, 1)
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			out.Bools[i] = false
			if out.IsNull(i) {
				continue
			}
			if p := ps.at(x, 1, i); p != nil {
				out.Bools[i] = p.match(x.Args[0].Text(i))
			}
		}
	}, err
}

func regexpCount(n *Node) (Kernel, error) {
	ps, err := patternsOf(n, 1)
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			out.Int64s[i] = 0
			if out.IsNull(i) {
				continue
			}
			if p := ps.at(x, 1, i); p != nil {
				out.Int64s[i] = int64(len(p.re.FindAllIndex(x.Args[0].Text(i), -1)))
			}
		}
	}, err
}

// regexpReplace replaces every match; $1 and \$ in the replacement are as in Java.
func regexpReplace(n *Node) (Kernel, error) {
	ps, err := patternsOf(n, 1)
	return func(x *Call, out *batch.Column, rows int) {
		x.Rows(out, rows, func(i int) {
			s, with := x.Args[0].Text(i), x.Args[2].Text(i)
			p := ps.at(x, 1, i)
			if p == nil {
				return
			}
			start, last := len(out.Data), 0
			for _, m := range p.re.FindAllSubmatchIndex(s, -1) {
				out.Data = append(out.Data, s[last:m[0]]...)
				var msg string
				if out.Data, msg = expandJava(out.Data, with, s, m); msg != "" {
					x.Fail(i, "%s", msg)
					return
				}
				last = m[1]
				if len(out.Data)-start > MaxValueBytes {
					return
				}
			}
			out.Data = append(out.Data, s[last:]...)
		})
	}, err
}

// expandJava appends a replacement with $n for groups and \c for c itself; msg says what is wrong with it.
func expandJava(dst, with, s []byte, m []int) (_ []byte, msg string) {
	for k := 0; k < len(with); k++ {
		switch c := with[k]; {
		case c == '\\' && k+1 < len(with):
			k++
			dst = append(dst, with[k])
		case c == '$' && k+1 < len(with) && with[k+1] >= '0' && with[k+1] <= '9':
			k++
			g := int(with[k] - '0')
			if 2*g+1 >= len(m) {
				return dst, fmt.Sprintf("the replacement names group %d, which the pattern does not have", g)
			}
			for k+1 < len(with) && with[k+1] >= '0' && with[k+1] <= '9' && 2*(g*10+int(with[k+1]-'0'))+1 < len(m) {
				k++
				g = g*10 + int(with[k]-'0')
			}
			if m[2*g] >= 0 {
				dst = append(dst, s[m[2*g]:m[2*g+1]]...)
			}
		case c == '$' || c == '\\':
			return dst, fmt.Sprintf("the replacement %q has a lone %c; write \\%c", with, c, c)
		default:
			dst = append(dst, c)
		}
	}
	return dst, ""
}

// groupOf is the group asked for by argument 2, or the default.
func groupOf(x *Call, i, def int) int64 {
	if len(x.Args) > 2 {
		return x.Args[2].Int(i)
	}
	return int64(def)
}

func regexpExtract(n *Node) (Kernel, error) {
	ps, err := patternsOf(n, 1)
	return func(x *Call, out *batch.Column, rows int) {
		x.Rows(out, rows, func(i int) {
			p, s := ps.at(x, 1, i), x.Args[0].Text(i)
			if p == nil {
				return
			}
			g := groupOf(x, i, 0)
			if g < 0 || g > int64(p.re.NumSubexp()) {
				out.SetNull(i)
				return
			}
			if p.run != nil {
				lo, hi, ok := p.find(s, 0)
				out.Data = append(out.Data, s[lo:hi]...)
				if !ok {
					out.SetNull(i)
				}
				return
			}
			m := p.re.FindSubmatchIndex(s)
			if m == nil || m[2*g] < 0 {
				out.SetNull(i)
				return
			}
			out.Data = append(out.Data, s[m[2*g]:m[2*g+1]]...)
		})
	}, err
}

// regexpExtractAll gives all matches of a group: by default the first one, or the whole match if the pattern has no group.
func regexpExtractAll(n *Node) (Kernel, error) {
	ps, err := patternsOf(n, 1)
	return func(x *Call, out *batch.Column, rows int) {
		elem := out.Children[0]
		if ps.fixed != nil && ps.fixed.run != nil && len(x.Args) == 2 && !x.Args[0].Const() && len(out.Nulls) == 0 {
			extractRuns(out, x.Args[0].Column, rows, ps.fixed.run)
			return
		}
		x.Rows(out, rows, func(i int) {
			p, s := ps.at(x, 1, i), x.Args[0].Text(i)
			if p == nil {
				return
			}
			g := groupOf(x, i, min(1, p.re.NumSubexp()))
			if g < 0 || g > int64(p.re.NumSubexp()) {
				out.SetNull(i)
				return
			}
			if p.run != nil {
				for lo, hi, ok := p.find(s, 0); ok; lo, hi, ok = p.find(s, hi) {
					elem.AppendBytes(s[lo:hi])
				}
				return
			}
			for _, m := range p.re.FindAllSubmatchIndex(s, -1) {
				if m[2*g] < 0 {
					elem.AppendBytes(nil)
				} else {
					elem.AppendBytes(s[m[2*g]:m[2*g+1]])
				}
			}
		})
	}, err
}

// extractRuns is the loop for word counts: all rows, nothing null, pattern C+. The slices are kept in locals so that they stay
// in registers.
func extractRuns(out, in *batch.Column, rows int, table *[256]bool) {
	elem := out.Children[0]
	data, ends := elem.Data, append(elem.Offsets, 0)
	lists := append(out.Offsets, 0)
	for i := range rows {
		s := in.Bytes(i)
		for k := 0; k < len(s); {
			for k < len(s) && !table[s[k]] {
				k++
			}
			from := k
			for k < len(s) && table[s[k]] {
				k++
			}
			if k > from {
				data = append(data, s[from:k]...)
				ends = append(ends, uint32(len(data)))
			}
		}
		lists = append(lists, uint32(len(ends)-1))
	}
	elem.Data, elem.Offsets, out.Offsets = data, ends, lists
}
