package engine_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// FuzzSealRecord: no bytes make reading a record panic, and what can be read is written again as it was.
func FuzzSealRecord(f *testing.F) {
	seal := engine.Seal{Stage: 3, Range: topology.Range{From: 5, To: 256}, First: 7, Last: 9, Found: []string{"a", ""}, End: true,
		Splits: []engine.SplitSeal{{ID: "a", From: -1, To: 1 << 40, Rows: 7, Check: 1 << 63, End: true, Idle: true}, {ID: "b"}}}
	one := engine.AppendSeal(nil, &seal)
	f.Add(one)
	f.Add(engine.AppendSeal(one, &engine.Seal{Range: topology.Range{To: 1}, First: 1, Last: 1}))
	f.Add([]byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		seals, err := engine.DecodeSeals(data)
		if err != nil {
			return
		}
		var again []byte
		for i := range seals {
			again = engine.AppendSeal(again, &seals[i])
		}
		back, err := engine.DecodeSeals(again)
		if err != nil || !reflect.DeepEqual(back, seals) {
			t.Fatalf("%+v became %+v (%v)", seals, back, err)
		}
		if bytes.Equal(data, one) && !reflect.DeepEqual(seals, []engine.Seal{seal}) {
			t.Fatalf("read %+v, wrote %+v", seals, seal)
		}
	})
}
