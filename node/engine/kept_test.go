package engine

import (
	"reflect"
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// keptWorld is what a key group seals, checkpoint after checkpoint.
func keptWorld() (*keptSeals, []Seal) {
	k := &keptSeals{}
	one, two := &split{}, &split{}
	one.ID, two.ID = "one", "two"
	of := func(e topology.Epoch) Seal {
		return Seal{Stage: 3, Range: topology.Range{From: 9, To: 10}, First: e, Last: e}
	}
	var all []Seal
	add := func(e topology.Epoch, found []*split, sealed ...SplitSeal) {
		s := of(e)
		for _, sp := range found {
			k.put(e, sp, nil)
			s.Found = append(s.Found, sp.ID)
		}
		for i := range sealed {
			sp := one
			if sealed[i].ID == "two" {
				sp = two
			}
			k.put(e, sp, &sealed[i])
			s.Splits = append(s.Splits, sealed[i])
		}
		all = append(all, s)
	}
	add(1, []*split{one})
	add(2, nil, SplitSeal{ID: "one", From: 0, To: 10, Rows: 3, Check: 77})
	k.close(4)
	add(6, []*split{two}, SplitSeal{ID: "one", From: 10, To: 25, Rows: 1, Check: 1 << 60, Idle: true}, SplitSeal{ID: "two", From: 0, To: 7, Rows: 7, Check: 5})
	k.close(8)
	k.close(12) // nothing new
	add(13, nil, SplitSeal{ID: "two", From: 7, To: 7, End: true})
	k.close(16)
	return k, all
}

func read(t *testing.T, k *keptSeals, from topology.Epoch) (since topology.Epoch, seals []Seal) {
	t.Helper()
	d := decoder{src: k.append(nil, from)}
	since, err := readKept(&d, func(_ topology.Epoch, items []byte) error {
		more, err := decodeKept(3, 9, items)
		seals = append(seals, more...)
		return err
	})
	if err != nil || len(d.src) > 0 {
		t.Fatalf("%v, %d bytes left", err, len(d.src))
	}
	return since, seals
}

func TestKeptSealsAreThoseBehindACheckpoint(t *testing.T) {
	k, all := keptWorld()
	for _, c := range []struct {
		from topology.Epoch
		want []Seal
	}{{0, all}, {4, all[2:]}, {8, all[3:]}, {12, all[3:]}, {16, nil}} {
		since, got := read(t, k, c.from)
		if since != c.from || !reflect.DeepEqual(got, c.want) {
			t.Errorf("behind %d are, since %d,\n%+v\nwant\n%+v", c.from, since, got, c.want)
		}
	}
}

func TestKeptSealsThatWereTrimmedOrRestoredGoOn(t *testing.T) {
	k, all := keptWorld()
	size := len(k.items)
	if freed := k.trim(9); freed == 0 || len(k.items) != size-freed {
		t.Errorf("%d bytes were freed of %d, %d are left", freed, size, len(k.items))
	}
	since, got := read(t, k, 0)
	if since != 9 || !reflect.DeepEqual(got, all[3:]) {
		t.Errorf("trimmed at 9 there are, since %d, %+v", since, got)
	}

	// A chain of deltas, two of which overlap, gives the same as the one they were taken of.
	whole, _ := keptWorld()
	again := &keptSeals{}
	for i, from := range []topology.Epoch{0, 4, 4, 8} {
		d := decoder{src: whole.append(nil, from)}
		if _, err := again.restore(&d, i == 0); err != nil {
			t.Fatal(err)
		}
	}
	if since, got := read(t, again, 0); since != 0 || !reflect.DeepEqual(got, all) {
		t.Errorf("restored are, since %d, %+v", since, got)
	}
	sp := &split{keptIn: 99}
	sp.ID = "three"
	again.put(20, sp, nil)
	again.close(24)
	if _, got := read(t, again, 16); len(got) != 1 || got[0].Last != 20 || got[0].Found[0] != "three" {
		t.Errorf("what was sealed since is %+v", got)
	}
}

// FuzzReadSavedGroup gives an error or what can be looked at, never a panic.
func FuzzReadSavedGroup(f *testing.F) {
	k, _ := keptWorld()
	head := append([]byte{groupVersion, groupBase, 2, 1}, make([]byte, 8)...)
	f.Add(k.append(head, 0), true)
	f.Add(head, false)
	f.Add([]byte{groupVersion, groupUnchanged, 0}, true)
	f.Fuzz(func(t *testing.T, src []byte, source bool) {
		saved, err := ReadSavedGroup(src, source, 3, 9)
		if err != nil {
			return
		}
		for i := range saved.Seals {
			if s := &saved.Seals[i]; s.Last < 0 || s.Range.Len() != 1 {
				t.Errorf("%+v", s)
			}
		}
	})
}
