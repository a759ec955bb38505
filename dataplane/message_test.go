package dataplane

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

type message interface {
	Append(dst []byte) []byte
	Decode(payload []byte) error
}

func testEdge() Edge {
	return Edge{Stream: Stream{Query: topology.QueryID{Incarnation: math.MaxUint64, Generation: math.MaxUint32}, Stage: math.MaxUint16, Output: 7, Instance: 1 << 40},
		Producer: topology.Range{From: 0, To: topology.MaxKeyGroups}, ConsumerStage: 3, Consumer: topology.Range{From: 5, To: 6}, ConsumerInstance: math.MaxUint64}
}

// messages has every message but Frame, with a maker of an empty one.
func messages() map[MessageType][2]message {
	return map[MessageType][2]message{
		TypeHello:       {&Hello{Cluster: 5, Node: "n1", Boot: math.MaxUint64}, &Hello{}},
		TypeSubscribe:   {&Subscribe{Edge: testEdge(), From: topology.EpochForever, Active: true, Credit: 1 << 40, Consumed: 3}, &Subscribe{}},
		TypeSubscribed:  {&Subscribed{Edge: testEdge(), Before: Stand{Watermark: math.MinInt64, Idle: true, ChainSum: 9}}, &Subscribed{}},
		TypeUnsubscribe: {&Unsubscribe{Subscription: 7}, &Unsubscribe{}},
		TypeDurable:     {&Durable{Subscription: 7, Epoch: 8}, &Durable{}},
		TypeReleased:    {&Released{Query: topology.QueryID{Incarnation: 5}, Epoch: 8}, &Released{}},
		TypeBeyond:      {&Beyond{Subscription: 7, Consumed: 9, End: 8}, &Beyond{}},
		TypeTrimmed:     {&Trimmed{Edge: testEdge(), Floor: 12345}, &Trimmed{}},
		TypeAck:         {&Ack{Edge: testEdge(), Position: 9, Needs: 10, Bytes: math.MaxUint64}, &Ack{}},
		TypeGoodbye:     {&Goodbye{Reason: "the query ended"}, &Goodbye{}},
		TypeFailure:     {&Failure{Text: "stage 2 is not here"}, &Failure{}},
		TypeMarkers: {&Markers{Query: topology.QueryID{Incarnation: 5}, List: []Marker{
			{Stage: 1, Output: 2, Producer: topology.Range{From: 0, To: 128}, First: 3, Last: 4, Watermark: topology.WatermarkNone, Idle: true, ChainSum: 77, Durable: DurableUnknown},
			{Stage: 1, Producer: topology.Range{From: 128, To: 256}, First: 5, Last: topology.EpochForever, Watermark: topology.WatermarkEnd, End: true, ChainSum: math.MaxUint64},
		}}, &Markers{List: []Marker{}}},
	}
}

func TestEveryMessageArrivesAsItWasSent(t *testing.T) {
	for typ, m := range messages() {
		enc := m[0].Append([]byte("before"))
		enc = m[0].Append(enc)
		src := enc[len("before"):]
		for range 2 {
			got, rest, err := Next(src)
			if err != nil || got.Type != typ {
				t.Fatalf("%v: got %v, %v", typ, got.Type, err)
			}
			if err := m[1].Decode(got.Payload); err != nil {
				t.Fatalf("%v: %v", typ, err)
			}
			if !reflect.DeepEqual(m[0], m[1]) {
				t.Errorf("%v: got %+v, want %+v", typ, m[1], m[0])
			}
			src = rest
		}
		if len(src) != 0 {
			t.Errorf("%v: %d bytes left", typ, len(src))
		}
		if n := testing.AllocsPerRun(10, func() { enc = m[0].Append(enc[:0]) }); n != 0 {
			t.Errorf("%v: %v allocations to append it", typ, n)
		}
	}
}

func TestEveryCutOfAMessageIsMalformed(t *testing.T) {
	for typ, m := range messages() {
		enc := m[0].Append(nil)
		for n := range enc {
			if _, _, err := Next(enc[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v cut to %d bytes: %v", typ, n, err)
			}
		}
		payload := enc[headerBytes:]
		for n := range payload {
			if err := m[1].Decode(payload[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v with %d of %d bytes of payload: %v", typ, n, len(payload), err)
			}
		}
		if err := m[1].Decode(append(payload[:len(payload):len(payload)], 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v with a byte too many: %v", typ, err)
		}
	}
}

func TestNextTellsWhatIsWrong(t *testing.T) {
	good := (&Goodbye{Reason: "bye"}).Append(nil)
	change := func(at int, x byte) []byte {
		b := append([]byte(nil), good...)
		b[at] ^= x
		return b
	}
	cases := []struct {
		name string
		src  []byte
		want error
		text string
	}{
		{"other protocol", []byte("GET / HTTP/1.1\r\n\r\n"), ErrMagic, `starts with "GE"`},
		{"changed payload", change(len(good)-1, 1), ErrChecksum, "Goodbye"},
		{"changed type", change(3, 1), ErrChecksum, "Ack"},
		{"length beyond the limit", change(7, 0xff), ErrTooLarge, "67108852"},
		{"length beyond the message", change(5, 1), ErrMalformed, "are there"},
	}
	for _, c := range cases {
		if _, _, err := Next(c.src); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for peer, who := range map[uint8]string{0: "upgrade the peer", 9: "upgrade this node"} {
		src := append([]byte(nil), good...)
		src[2] = peer
		_, _, err := Next(src)
		var v *VersionError
		if !errors.As(err, &v) || v.Peer != peer || v.Own != Protocol || !strings.Contains(err.Error(), who) {
			t.Errorf("protocol %d: %v", peer, err)
		}
	}
}

func TestLongTextsAreCut(t *testing.T) {
	m, _, err := Next((&Failure{Text: strings.Repeat("x", 1<<20)}).Append(nil))
	var f Failure
	if err != nil || f.Decode(m.Payload) != nil || len(f.Text) != TextBytesMax {
		t.Fatalf("%v, %d bytes", err, len(f.Text))
	}
}

func TestMarkersReuseTheirList(t *testing.T) {
	src := messages()[TypeMarkers][0].Append(nil)
	got := Markers{List: make([]Marker, 0, 2)}
	if n := testing.AllocsPerRun(10, func() {
		m, _, _ := Next(src)
		if err := got.Decode(m.Payload); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// FuzzDecodeMessage decodes any bytes as every message; what is accepted must arrive again as it is.
func FuzzDecodeMessage(f *testing.F) {
	for _, m := range messages() {
		f.Add(m[0].Append(nil))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		payloads := [][]byte{src}
		if len(src) > headerBytes {
			payloads = append(payloads, src[headerBytes:])
		}
		if m, _, err := Next(src); err == nil {
			payloads = append(payloads, m.Payload)
		}
		for _, payload := range payloads {
			for typ, m := range messages() {
				if err := m[1].Decode(payload); err != nil {
					if !errors.Is(err, ErrMalformed) {
						t.Fatalf("%v: error of another kind: %v", typ, err)
					}
					continue
				}
				again, rest, err := Next(m[1].Append(nil))
				if err != nil || len(rest) != 0 || m[0].Decode(again.Payload) != nil || !reflect.DeepEqual(m[0], m[1]) {
					t.Fatalf("%v: %+v arrives as %+v, %v", typ, m[1], m[0], err)
				}
			}
		}
	})
}
