package vault

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func testRecords(t testing.TB) []record {
	q := topology.QueryID{Incarnation: math.MaxUint64, Generation: math.MaxUint32}
	return []record{
		{typ: recordDelta, query: q, stage: math.MaxUint16, keyGroup: topology.MaxKeyGroups - 1, first: 4, last: 9, base: true, payload: pack(t, string(make([]byte, 1000)))},
		{typ: recordSeal, query: q, source: "source", term: 4, serial: 9, first: 1, last: math.MaxInt64, payload: pack(t, "x")},
		{typ: recordPromise, query: q, source: "source", term: math.MaxUint64},
		{typ: recordStamp, query: q, source: "source", term: 4, target: 12},
		{typ: recordCut, query: q, source: "source", serial: 12, first: 4, last: 4},
		{typ: recordJoin, query: q, source: "source", term: 4, serial: 3, boot: math.MaxUint64, first: 4, last: 3},
		{typ: recordTrim, query: q, last: 7},
		{typ: recordDrop, query: q},
	}
}

func TestEveryRecordIsReadAsItWasWritten(t *testing.T) {
	for _, x := range testRecords(t) {
		b := appendRecord(nil, &x)
		stampRecord(b, 5, 6, flagCommitEnd)
		h, body, wrong := checkRecord(5, append(slices.Clone(b), "behind"...))
		if wrong != "" || h.typ != x.typ || h.commit != 6 || h.flags != flagCommitEnd || h.bytes != len(b) {
			t.Fatalf("%v: %+v %s", x.typ, h, wrong)
		}
		got, err := decodeRecord(h.typ, body)
		if err != nil || !reflect.DeepEqual(got, x) {
			t.Errorf("%v: %+v, %v; want %+v", x.typ, got, err, x)
		}
		for i := range b {
			b[i] ^= 4
			if _, _, wrong := checkRecord(5, b); wrong == "" {
				t.Errorf("%v: byte %d may change", x.typ, i)
			}
			b[i] ^= 4
		}
		if _, _, wrong := checkRecord(4, b); wrong == "" {
			t.Errorf("%v passes for a record of another segment", x.typ)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, x := range testRecords(f) {
		f.Add(byte(x.typ), appendRecord(nil, &x)[recordHeaderBytes:])
	}
	f.Fuzz(func(t *testing.T, typ byte, body []byte) {
		x, err := decodeRecord(recordType(typ), body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := decodeRecord(x.typ, appendRecord(nil, &x)[recordHeaderBytes:])
		if err != nil || !reflect.DeepEqual(again, x) {
			t.Fatalf("%+v became %+v, %v", x, again, err)
		}
		if _, err := x.payload.Append(nil); err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
}

// Any file content opens or is refused with a typed error, and what opens can be written.
func FuzzSegment(f *testing.F) {
	m := NewMemory()
	v := open(f, testConfig(m, 1))
	put(f, v, delta(f, 3, 0, 10, true, "x"))
	put(f, v, delta(f, 3, 10, 20, false, "y"))
	adoptAll(f, v, 5, 1, "a", "b")
	v.Close()
	whole := m.names[segmentPath("/vault", 1)].data
	f.Add(whole)
	f.Add(whole[:len(whole)-7])
	f.Add(append(slices.Clone(whole), make([]byte, 600)...))
	f.Add(whole[:100])
	f.Add(bytes.Repeat([]byte{'V', 'R'}, 500))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := NewMemory()
		file, _ := m.Create(segmentPath("/vault", 1))
		file.WriteAt(data, 0)
		v, err := Open(testConfig(m, 2))
		var corrupt *CorruptError
		var version *VersionError
		var foreign *ForeignError
		switch {
		case err == nil:
			put(t, v, delta(t, 3, 0, 30, true, "z"))
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
		case !errors.As(err, &corrupt) && !errors.As(err, &version) && !errors.As(err, &foreign):
			t.Fatal(err)
		}
	})
}

func testMessages(t testing.TB) []message {
	q := topology.QueryID{Incarnation: math.MaxUint64, Generation: 3}
	seals := []Seal{{1, 1, pack(t, "a")}, {2, math.MaxInt64, pack(t, string(make([]byte, 300)))}}
	owner := SealPut{Query: q, Source: "source", Term: math.MaxUint64}
	sealed := owner
	sealed.Seal = seals[1]
	d := Delta{Query: q, Stage: 9, Block: 1, KeyGroup: 20, From: 1, To: 5, Data: pack(t, "delta")}
	chain := ChainRequest{Query: q, Stage: 3, Range: topology.Range{From: 1, To: topology.MaxKeyGroups}}
	full := chain
	full.After, full.Through = 3, 9
	return []message{
		{typ: typeHello, node: "n1", boot: math.MaxUint64},
		{typ: typePutDelta, id: 1, delta: d},
		{typ: typePutSeal, id: 2, put: sealed},
		{typ: typeAdopt, id: 3, put: owner, start: 4, seals: seals, begin: true},
		{typ: typeFence, id: 4, put: owner, credit: 5},
		{typ: typeChain, id: 5, chain: full, credit: 9},
		{typ: typeTrim, id: 6, chain: ChainRequest{Query: q}, through: 7},
		{typ: typeDrop, id: 7, chain: ChainRequest{Query: q}},
		{typ: typeStatus, id: 8, chain: chain},
		{typ: typeCredit, id: 9, credit: 7},
		{typ: typeCancel, id: 10},
		{typ: typeHeld, id: math.MaxUint64},
		{typ: typeDone, id: 1, wants: true},
		{typ: typeRefused, id: 1, refusal: refusal{code: 3, text: "t", query: q, stage: 1, keyGroup: 2, source: "s", numbers: [4]uint64{1, 2, 3, math.MaxUint64}}},
		{typ: typeDelta, id: 1, delta: d},
		{typ: typeSeal, id: 1, put: SealPut{Seal: seals[0]}},
		{typ: typeFenced, id: 1, state: LogState{Boot: 1, LogBoot: 2, JoinTerm: 3, Joined: true, Trim: 4, Next: 5, Seals: 6}},
		{typ: typeStanding, id: 1, held: []Held{{KeyGroup: 1, Through: 9, Floor: 3, Bytes: 100, Deltas: 4, At: 7, WantsBase: true}}},
	}
}

func TestEveryMessageArrivesAsItWasSent(t *testing.T) {
	for _, m := range testMessages(t) {
		b := m.append(m.append([]byte(nil)))
		var got message
		rest, err := decodeMessage(b, &got)
		if err != nil || !reflect.DeepEqual(got, m) || len(rest) != len(b)/2 {
			t.Errorf("%v: %+v, %v; want %+v", m.typ, got, err, m)
		}
		one := b[:len(b)/2]
		for n := range one {
			if _, err := decodeMessage(one[:n], &got); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v cut to %d bytes: %v", m.typ, n, err)
			}
			changed := slices.Clone(one)
			changed[n] ^= 8
			if _, err := decodeMessage(changed, &got); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%v with byte %d changed: %v", m.typ, n, err)
			}
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range testMessages(f) {
		f.Add(byte(m.typ), m.append(nil)[messageHeaderBytes:])
	}
	f.Fuzz(func(t *testing.T, typ byte, payload []byte) {
		r := reader{src: payload}
		m := message{typ: messageType(typ)}
		if m.typ == typeHello {
			return
		}
		m.id = r.uint("id", math.MaxUint64)
		m.decodeBody(&r)
		if err := r.end(m.typ); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		var again message
		if _, err := decodeMessage(m.append(nil), &again); err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
		if m.typ == typeRefused {
			_ = m.refusal.err("n1").Error()
		}
	})
}
