package expr

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// numbers is n rows of BIGINT a, b and DOUBLE x without nulls.
func numbers(n int) table {
	b := batch.New(batch.NewSchema(batch.Field{Name: "a", Type: batch.TypeBigInt}, batch.Field{Name: "b", Type: batch.TypeBigInt},
		batch.Field{Name: "x", Type: batch.TypeDouble}, batch.Field{Name: "s", Type: batch.TypeString}))
	for i := range n {
		b.Cols[0].AppendInt64(int64(i))
		b.Cols[1].AppendInt64(int64(i%17 + 1))
		b.Cols[2].AppendFloat64(float64(i) / 3)
		b.Cols[3].AppendString(fmt.Sprintf("Row %d of many", i))
	}
	b.SetLen(n)
	return table{b}
}

func TestWarmProgramsAllocateNothing(t *testing.T) {
	in := numbers(1000)
	for _, src := range []string{"a + b * 2 - 1", "a / b", "a > 10 AND b < 5", "x * 2.5e0 + a", "CASE WHEN a > 500 THEN a / b ELSE b END", "COALESCE(NULLIF(a, 5), b)",
		"LOWER(s)", "UPPER(s) || '!'", "SUBSTRING(s, 2, 3)", "CAST(a AS STRING)", "CAST(CAST(a AS STRING) AS BIGINT)", "CAST(a AS DECIMAL(19, 2)) * 1.5", "s LIKE '%5%'",
		"REGEXP_EXTRACT_ALL(LOWER(s), '[a-z0-9]+')", "SPLIT(s, ' ')", "a IN (1, 2, 3)", "s IN ('a', 'b', 'c')", "RAND()", "CAST(a AS DECIMAL(19, 2)) / 3", "MD5(s)", "a = b OR a % b = 1"} {
		p, err := Compile(checked(t, in, src))
		if err != nil {
			t.Fatal(err)
		}
		eval := func() {
			if _, err := p.Eval(in.Batch, testEnv); err != nil {
				t.Fatal(err)
			}
		}
		eval()
		if n := testing.AllocsPerRun(5, eval); n > 0 {
			t.Errorf("%s: %v allocations for a batch of %d rows", src, n, in.Len())
		}
	}
}

func benchmarkProgram(b *testing.B, src string, filter bool) {
	in := numbers(10_000)
	p, err := Compile(checked(b, in, src))
	if err != nil {
		b.Fatal(err)
	}
	var sel []uint32
	b.ResetTimer()
	for range b.N {
		if filter {
			sel, err = p.Filter(sel[:0], in.Batch, testEnv)
		} else {
			_, err = p.Eval(in.Batch, testEnv)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(in.Len()), "ns/row")
}

func BenchmarkIntArithmetic(b *testing.B) { benchmarkProgram(b, "a + b * 2 - 1", false) }
func BenchmarkIntFilter(b *testing.B)     { benchmarkProgram(b, "a > 10 AND b < 5", true) }
func BenchmarkRandomFilter(b *testing.B) {
	benchmarkProgram(b, "(a * 7919 + 13) % 256 < 128 AND b < 9", true)
}
func BenchmarkCase(b *testing.B) {
	benchmarkProgram(b, "CASE WHEN a > 5000 THEN a / b ELSE b END", false)
}
func BenchmarkDecimal(b *testing.B) { benchmarkProgram(b, "CAST(a AS DECIMAL(19, 2)) * 1.50", false) }
func BenchmarkConcat(b *testing.B)  { benchmarkProgram(b, "s || '!'", false) }

// BenchmarkWordSplit is the path of the word count: LOWER, REGEXP_EXTRACT_ALL, UNNEST.
func BenchmarkWordSplit(b *testing.B) {
	line := []byte("\tfor _, Value := range inputValues[from:to] { total += Weight(value.Row, 17) } // sums the weights of a Range\n")
	in := batch.New(batch.NewSchema(batch.Field{Name: "line", Type: batch.TypeString}))
	for i := range 10_000 {
		in.Cols[0].AppendBytes(line[:40+i%60])
	}
	in.SetLen(10_000)
	n := checked(b, table{in}, "REGEXP_EXTRACT_ALL(LOWER(line), '[a-z0-9]+')")
	p, err := Compile(n)
	if err != nil {
		b.Fatal(err)
	}
	def, _ := LookupTableFunction("UNNEST")
	f, err := def.New([]batch.Type{n.Type})
	if err != nil {
		b.Fatal(err)
	}
	fields, _ := def.Check([]batch.Type{n.Type})
	out := batch.New(batch.NewSchema(fields...))
	b.SetBytes(int64(len(in.Cols[0].Data)))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		c, err := p.Eval(in, testEnv)
		if err != nil {
			b.Fatal(err)
		}
		out.Reset()
		args := []*batch.Column{c}
		for i := range c.Len() {
			if _, err := f.Call(args, i, out); err != nil {
				b.Fatal(err)
			}
		}
	}
}

var runPatterns = []string{`[A-Za-z0-9]+`, `\w+`, `\d+`, `\s+`, `[^,]+`, `a+`, `.+`, `(?s).+`, `([a-z]+)`, `[^\w]+`, `[[:alpha:]]+`, `\W+`, `[\x00-\x7f]+`}

func TestSimplePatternsRunByTable(t *testing.T) {
	for _, text := range runPatterns {
		if p, err := compilePattern(text); err != nil || p.run == nil {
			t.Errorf("%s is not run by a table: %v", text, err)
		}
	}
	for _, text := range []string{`[a-z]*`, `[a-zé]+`, `(?i)[a-z]+`, `ab+`, `[a-z]+?`, `([a-z])+`, `^a+`, `a+$`, `\pL+`} {
		if p, err := compilePattern(text); err != nil || p.run != nil {
			t.Errorf("%s is run by a table: %v", text, err)
		}
	}
}

func FuzzTableRunsEqualRegexp(f *testing.F) {
	f.Add("", []byte("Hello, World_1 \xff\xfe été,,\n x"))
	f.Add("[^a-f]+", []byte("\xc3\xa9\xc3 abc"))
	f.Fuzz(func(t *testing.T, own string, s []byte) {
		for _, text := range append([]string{own}, runPatterns...) {
			p, err := compilePattern(text)
			if err != nil || p.run == nil {
				continue
			}
			var got [][]byte
			for lo, hi, ok := p.find(s, 0); ok; lo, hi, ok = p.find(s, hi) {
				got = append(got, s[lo:hi])
			}
			want := p.re.FindAll(s, -1)
			if !bytes.Equal(bytes.Join(got, []byte{0}), bytes.Join(want, []byte{0})) || len(got) != len(want) {
				t.Fatalf("%q on %q: %q, regexp %q", text, s, got, want)
			}
			in := batch.New(batch.NewSchema(batch.Field{Name: "s", Type: batch.TypeString}))
			in.Cols[0].AppendBytes(s)
			in.SetLen(1)
			out := batch.NewColumn(batch.ArrayOf(batch.TypeString))
			extractRuns(out, &in.Cols[0], 1, p.run)
			if from, to := out.Range(0); to-from != len(want) {
				t.Fatalf("%q on %q: the loop finds %d, regexp %d", text, s, to-from, len(want))
			}
		}
	})
}

func FuzzCaseChangesKeepOtherBytes(f *testing.F) {
	f.Add([]byte("AZaz[@`{ \xff É"))
	f.Fuzz(func(t *testing.T, s []byte) {
		b := bytes.Clone(s)
		ascii := flipASCII(b, 'A')
		for i, c := range s {
			want := c
			if c >= 'A' && c <= 'Z' {
				want += 32
			}
			if ascii && b[i] != want {
				t.Fatalf("%q: %q", s, b)
			}
		}
	})
}
