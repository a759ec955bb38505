package dataplane

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

var frameSchema = batch.NewSchema(batch.Field{Name: "k", Type: batch.TypeBigInt}, batch.Field{Name: "s", Type: batch.TypeString})

func frameHeader() FrameHeader {
	return FrameHeader{
		Stream:   Stream{Query: topology.QueryID{Incarnation: 1 << 60, Generation: 3}, Stage: 2, Output: 1},
		Producer: topology.Range{From: 10, To: 20}, Consumer: topology.Range{From: 0, To: 64}, First: 100, Last: 128,
	}
}

// newFrame is a frame whose consumer key group g has counts[g] rows, from producing key groups 10, 11, ... in runs.
func newFrame(counts []int, producers bool) *Frame {
	f := &Frame{Header: frameHeader(), Rows: &Rows{Batch: batch.New(frameSchema)}}
	b := f.Rows.Batch
	for g, n := range counts {
		if n == 0 {
			continue
		}
		if len(f.Rows.Offsets) == 0 {
			f.Rows.Offsets = append(f.Rows.Offsets, 0)
		}
		for i := range n {
			b.Cols[0].AppendInt64(int64(g*1000 + i))
			b.Cols[1].AppendString([]string{"insert", "update", "delete"}[i%3])
			b.EndRow([]int8{batch.Insert, batch.Retract}[i&1])
			if p := topology.KeyGroup(10 + i*10/n); producers && (i == 0 || p != f.Producers[len(f.Producers)-1].Group) {
				f.Producers = append(f.Producers, ProducerRun{Group: p})
			}
			if producers {
				f.Producers[len(f.Producers)-1].End = uint32(b.Len())
			}
		}
		f.Rows.Groups = append(f.Rows.Groups, topology.KeyGroup(g))
		f.Rows.Offsets = append(f.Rows.Offsets, uint32(b.Len()))
	}
	return f
}

// rowOf is all that is known of row i of a frame, comparable.
type rowOf struct {
	group, producer topology.KeyGroup
	key             int64
	text            string
	weight          int8
}

func rowsOf(f *Frame, from, to int) []rowOf {
	var out []rowOf
	for i := from; i < to; i++ {
		g, _ := slices.BinarySearch(f.Rows.Offsets, uint32(i+1))
		r := rowOf{group: f.Rows.Groups[g-1], key: f.Rows.Batch.Row(i).Int64(0), text: f.Rows.Batch.Row(i).Text(1), weight: f.Rows.Batch.Weight(i)}
		if len(f.Producers) > 0 {
			r.producer = f.Producers[f.runAt(i)].Group
		}
		out = append(out, r)
	}
	return out
}

// decodeFrames decodes all frames in src, wanting nothing else there.
func decodeFrames(t interface{ Fatalf(string, ...any) }, src []byte, into *Frame) (rows []rowOf, frames int) {
	var d FrameDecoder
	for len(src) > 0 {
		m, rest, err := Next(src)
		if err != nil || m.Type != TypeFrame {
			t.Fatalf("message %v: %v", m.Type, err)
		}
		h, n, err := DecodeFrameHeader(m.Payload)
		if err != nil {
			t.Fatalf("header: %v", err)
		}
		if err := d.Decode(m.Payload, into); err != nil {
			t.Fatalf("frame: %v", err)
		}
		if h != into.Header || n != into.Rows.Batch.Len() {
			t.Fatalf("header alone is %+v with %d rows, with rows %+v with %d", h, n, into.Header, into.Rows.Batch.Len())
		}
		rows = append(rows, rowsOf(into, 0, n)...)
		src, frames = rest, frames+1
	}
	return rows, frames
}

func TestDecodedFrameHoldsTheRowsOfItsConsumer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts := rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 1, 2, 30, 200}), 0, 64).Draw(t, "rows per key group")
		f := newFrame(counts, rapid.Bool().Draw(t, "producers"))
		if err := f.Validate(); err != nil {
			t.Fatal(err)
		}
		from := rapid.IntRange(0, 63).Draw(t, "first key group")
		consumer := topology.Range{From: topology.KeyGroup(from), To: topology.KeyGroup(rapid.IntRange(from+1, 64).Draw(t, "end"))}
		f.Header.Consumer = consumer
		_, _, a, z := f.Rows.Span(consumer)
		var e FrameEncoder
		enc, err := e.AppendFrame(nil, f, int(a), int(z))
		if err != nil {
			t.Fatal(err)
		}
		got := newFrame([]int{5, 5, 5}, true) // used memory
		rows, frames := decodeFrames(t, enc, got)
		if !slices.Equal(rows, rowsOf(f, int(a), int(z))) {
			t.Fatalf("%d rows of %d arrived, or others", len(rows), z-a)
		}
		if frames > 0 && got.Header != f.Header {
			t.Fatalf("header %+v, want %+v", got.Header, f.Header)
		}
		if want := min(1, int(z-a)); frames != want {
			t.Fatalf("%d frames, want %d", frames, want)
		}
	})
}

func TestRowsBeyondAFramesLimitGoAsSeveralFrames(t *testing.T) {
	counts := make([]int, 64)
	for i := range counts {
		counts[i] = 20000
	}
	f := newFrame(counts, true)
	n := f.Rows.Batch.Len()
	var e FrameEncoder
	enc, err := e.AppendFrame(nil, f, 0, n)
	if err != nil {
		t.Fatal(err)
	}
	rows, frames := decodeFrames(t, enc, newFrame(nil, false))
	if frames != 2 || !slices.Equal(rows, rowsOf(f, 0, n)) {
		t.Fatalf("%d frames with %d rows, want 2 with %d", frames, len(rows), n)
	}
}

func TestOneRowThatIsTooLargeIsAnErrorThatNamesItsStage(t *testing.T) {
	f := newFrame([]int{1}, false)
	f.Rows.Batch.Reset()
	f.Rows.Batch.Cols[0].AppendInt64(1)
	f.Rows.Batch.Cols[1].AppendBytes(make([]byte, bodyBytesMax))
	f.Rows.Batch.EndRow(batch.Insert)
	var e FrameEncoder
	dst, err := e.AppendFrame([]byte("kept"), f, 0, 1)
	if !errors.Is(err, ErrTooLarge) || string(dst) != "kept" {
		t.Fatalf("error %v, %d bytes", err, len(dst))
	}
}

func TestFrameOfRandomBytesIsNotCompressed(t *testing.T) {
	f := newFrame([]int{1}, false)
	f.Rows.Batch.Reset()
	noise := make([]byte, 10000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	f.Rows.Batch.Cols[0].AppendInt64(1)
	f.Rows.Batch.Cols[1].AppendBytes(noise)
	f.Rows.Batch.EndRow(batch.Insert)
	var e FrameEncoder
	enc, err := e.AppendFrame(nil, f, 0, 1)
	if err != nil || len(enc) > 10100 || !bytes.Contains(enc, noise) {
		t.Fatalf("%d bytes, %v", len(enc), err)
	}
	if rows, _ := decodeFrames(t, enc, newFrame(nil, false)); rows[0].text != string(noise) {
		t.Fatal("other bytes arrived")
	}
}

func TestValidateNamesRowsOutOfCanonicalOrder(t *testing.T) {
	cases := map[string]func(f *Frame){
		"key groups descend":     func(f *Frame) { f.Rows.Groups[0], f.Rows.Groups[1] = f.Rows.Groups[1], f.Rows.Groups[0] },
		"key group outside":      func(f *Frame) { f.Header.Consumer.To = 1 },
		"key group without rows": func(f *Frame) { f.Rows.Offsets[1] = 0 },
		"offsets end early":      func(f *Frame) { f.Rows.Offsets[2]-- },
		"producers descend": func(f *Frame) {
			f.Producers[0].Group, f.Producers[1].Group = f.Producers[1].Group, f.Producers[0].Group
		},
		"producer outside":              func(f *Frame) { f.Header.Producer.From = 11 },
		"producers end early":           func(f *Frame) { f.Producers = f.Producers[:1] },
		"more runs than rows":           func(f *Frame) { f.Producers = append(f.Producers, ProducerRun{Group: 11, End: 99}) },
		"producing run without a row":   func(f *Frame) { f.Producers[1].End = f.Producers[0].End },
		"rows without key groups known": func(f *Frame) { f.Rows.Groups, f.Rows.Offsets = nil, nil },
	}
	for name, spoil := range cases {
		f := newFrame([]int{30, 30}, true)
		if err := f.Validate(); err != nil {
			t.Fatal(err)
		}
		if spoil(f); f.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFramesInSteadyStateAllocateNothing(t *testing.T) {
	if raceDetector {
		t.Skip("allocations are not counted under the race detector")
	}
	f := newFrame([]int{100, 0, 300, 5}, true)
	got := newFrame(nil, false)
	var e FrameEncoder
	var d FrameDecoder
	var enc []byte
	n := testing.AllocsPerRun(50, func() {
		enc, _ = e.AppendFrame(enc[:0], f, 0, f.Rows.Batch.Len())
		m, _, err := Next(enc)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Decode(m.Payload, got); err != nil {
			t.Fatal(err)
		}
	})
	if n >= 1 {
		t.Fatalf("%v allocations a frame", n)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, counts := range [][]int{{1}, {3, 0, 40}, {0, 0, 2000}} {
		var e FrameEncoder
		fr := newFrame(counts, true)
		enc, err := e.AppendFrame(nil, fr, 0, fr.Rows.Batch.Len())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(enc[headerBytes:])
		// And the same not compressed, so that the body is in reach.
		e.raw = fr.appendBody(nil, 0, fr.Rows.Batch.Len())
		plain := appendFrameHeader(nil, &fr.Header)
		plain = append(plain, enc[headerBytes+len(plain)])
		f.Add(append(append(plain, byte(len(e.raw)), 0), e.raw...))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		fr := newFrame(nil, false)
		var d FrameDecoder
		if err := d.Decode(payload, fr); err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("error of no known kind: %v", err)
			}
			if fr.Rows.Batch.Len() != 0 {
				t.Fatalf("%d rows are left after %v", fr.Rows.Batch.Len(), err)
			}
			return
		}
		var e FrameEncoder
		n := fr.Rows.Batch.Len()
		enc, err := e.AppendFrame(nil, fr, 0, n)
		if err != nil {
			t.Fatal(err)
		}
		if rows, _ := decodeFrames(t, enc, newFrame(nil, false)); !slices.Equal(rows, rowsOf(fr, 0, n)) {
			t.Fatal("what was decoded encodes to other rows")
		}
	})
}

// BenchmarkFrame is the wire's part of the roof of design section 6: three BIGINT columns, 10,000 rows, 256 key groups.
func BenchmarkFrame(b *testing.B) {
	const rows, groups = 10000, 256
	schema := batch.NewSchema(batch.Field{Name: "a", Type: batch.TypeBigInt}, batch.Field{Name: "b", Type: batch.TypeBigInt}, batch.Field{Name: "c", Type: batch.TypeBigInt})
	f := &Frame{Header: frameHeader(), Rows: &Rows{Batch: batch.New(schema)}}
	f.Header.Consumer.To = groups
	r := rand.New(rand.NewPCG(1, 2))
	for g := range groups {
		f.Rows.Offsets = append(f.Rows.Offsets, uint32(f.Rows.Batch.Len()))
		f.Rows.Groups = append(f.Rows.Groups, topology.KeyGroup(g))
		for i := range rows / groups {
			f.Rows.Batch.Cols[0].AppendInt64(r.Int64N(100000))
			f.Rows.Batch.Cols[1].AppendInt64(int64(i*groups + g))
			f.Rows.Batch.Cols[2].AppendInt64(r.Int64N(1000))
			f.Rows.Batch.EndRow(batch.Insert)
		}
	}
	n := f.Rows.Batch.Len()
	f.Rows.Offsets = append(f.Rows.Offsets, uint32(n))
	f.Producers = []ProducerRun{{Group: 10, End: uint32(n)}}
	var e FrameEncoder
	var d FrameDecoder
	enc, err := e.AppendFrame(nil, f, 0, n)
	if err != nil {
		b.Fatal(err)
	}
	got := &Frame{Rows: &Rows{Batch: batch.New(schema)}}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			enc, _ = e.AppendFrame(enc[:0], f, 0, n)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
		b.ReportMetric(float64(len(enc))/float64(n), "bytes/row")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			m, _, err := Next(enc)
			if err != nil {
				b.Fatal(err)
			}
			if err := d.Decode(m.Payload, got); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
	})
}
