package raftfsm

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

var update = flag.Bool("update", false, "write the golden files anew")

// oneOfEach is a command of every kind, each applied when given to what the earlier ones left.
func oneOfEach() []Envelope {
	id := queryID(1, 1)
	again := join(5)
	again.Version, again.Node.Boot, again.Node.Zone = 1, 501, "b"
	again.Node.Tags, again.Node.Operators, again.Node.Cores, again.Node.MemoryBytes = []KV{{"disk", "ssd"}}, []string{"toll_calculator"}, 2, 8<<30
	spot := join(6) // gets no vote while others may
	spot.Node.Spot = true
	commands := []Command{
		&ClusterInit{ID: 42, Settings: []KV{{"vaults", "2"}}},
		&ClusterSet{Version: 1, Set: []KV{{"checkpoint.logs", "12"}}},
		join(1), join(2), join(3), join(4), join(5), again,
		&NodeBlame{process(4), 1, 60_000, "does not reach n2"},
		add("q", 1),
		&CheckpointComplete{Query: id, Complete: 128},
		&VaultsChange{Query: id, Changes: []VaultChange{{Stage: 1, Block: 2, Version: 1, Members: processes(1, 4)}}, Why: "closer"},
		&VaultsChange{Query: id, Changes: []VaultChange{{Stage: 1, Block: 0, Version: 1, Members: processes(4), Forget: true}}},
		&SealSetChange{Query: id, Log: 1, Term: 1, Version: 1, Members: processes(2, 3), Why: "n4 is full"},
		&ShadowStart{Query: id, Version: 1, Stage: 1, Parts: []Part{{keyRange(0, 16), process(3)}}, Restore: 128, Why: "n1 is the bottleneck"},
		&ShadowDrop{Query: id, Version: 2, Stage: 1, Range: keyRange(0, 64), Why: "did not converge"},
		&ShadowStart{Query: id, Version: 3, Stage: 1, Parts: []Part{{keyRange(0, 16), process(3)}}, Restore: 128},
		&Switch{Query: id, Version: 4, Stage: 1, Range: keyRange(0, 16), Parts: []SwitchPart{{6, 128}}, AtEpoch: 200},
		&ShadowStart{Query: id, Version: 5, Stage: 1, Parts: []Part{{keyRange(32, 64), process(3)}}, Restore: 128, Purpose: topology.ForStandby, What: "standby",
			Figures: []KV{{"state_bytes", "5"}}},
		&CheckpointComplete{id, 160, []uint64{7}},
		&NodeDrain{"n4", 2, true, ByPerson},
		&NodeDrain{"n4", 3, false, ByPerson},
		&QueryScale{Query: id, ScaleVersion: 0, Stages: []StageScale{{Stage: 1, Want: 3}, {Stage: 0, Auto: true, Min: 1, Max: 4, Want: 2, Borders: []topology.KeyGroup{10}}},
			Text: "3 partitions of count", Figures: []KV{{"by", "a person"}}},
		&NodeStatus{process(1), 1, Lost, "connection ended without goodbye"},
		&Reassign{Query: id, Version: 6, Lost: processes(1), Moves: []Move{
			{Stage: 0, Range: keyRange(0, 32), Process: process(2), Restore: 160},
			{Stage: 1, Range: keyRange(16, 32), Process: process(3), Restore: 160, Deaths: 1, DiedAt: 201, Died: process(1)},
		}, Seals: []SealGrant{{process(2), processes(3, 4)}}, Why: "n1 is lost"},
		&SealsAdopted{id, 0, 8, []topology.SealLog{1}},
		&QueryStateChange{id, 1, Waiting, "seals are lost", "n3 coming back", 0},
		&GenerationChange{Query: id, Complete: 160, Fingerprint: "f1", Empty: []topology.BlockRef{{Stage: 1, Block: 3}},
			Seals: []SealGrant{{process(2), processes(4)}}, Why: "accepted loss"},
		&GenerationChange{Query: queryID(1, 2), Complete: 160, Keep: true, Seals: []SealGrant{{process(2), processes(4)}}, Why: "n3 acted on more than was kept"},
		&HistoryAdd{queryID(1, 3), []Entry{{AtMs: 5, Kind: "recovered", Text: "n1's ranges are caught up", Figures: []KV{{"restore_ms", "120"}}}}},
		&NodeStatus{process(1), 2, Alive, "it was only frozen"},
		add("r", 2),
		&QueryStateChange{queryID(2, 1), 1, Removing, "", "", 0},
		&QueryErase{queryID(2, 1)},
		spot,
		&NodeLeave{process(6), 1},
	}
	var out []Envelope
	for i, k := range commands {
		out = append(out, Envelope{ID: CommandID{15: byte(i + 1)}, AtMs: int64(1_700_000_000_000 + i), Command: k})
	}
	return out
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, got, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update writes it anew): the encoding of what is on disks must not change.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestCommandsHaveTheirGoldenBytes(t *testing.T) {
	var b strings.Builder
	seen := map[Kind]bool{}
	for _, e := range oneOfEach() {
		data, err := EncodeCommand(e)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%x %s\n", data[:envelopeHead], data[envelopeHead:])
		seen[e.Command.Kind()] = true
		back, err := DecodeCommand(data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := EncodeCommand(back)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%T changes when decoded and encoded: %v\n%q\n%q", e.Command, err, data, again)
		}
	}
	for kind := range commands {
		if !seen[kind] {
			t.Errorf("no command of kind %d in the golden file", kind)
		}
	}
	golden(t, "commands.golden", []byte(b.String()))
}

func TestSnapshotsHaveTheirGoldenBytes(t *testing.T) {
	s := new(State)
	for _, e := range oneOfEach() {
		next, out := s.Apply(e)
		if out.Code != Applied {
			t.Fatalf("%T: %v %v: %s", e.Command, out.Code, out.Reason, out.Text)
		}
		s = next
	}
	data := bytesOf(t, s)
	golden(t, "snapshot.golden", data)
	back, err := DecodeSnapshot(data)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytesOf(t, back), data) {
		t.Error("the snapshot changes when it is restored")
	}
}

func TestADamagedSnapshotIsRefused(t *testing.T) {
	data := bytesOf(t, founded(t))
	for _, at := range []int{0, 14, 20, len(data) / 2, len(data) - 1} {
		bad := slices.Clone(data)
		bad[at] ^= 1
		if _, err := DecodeSnapshot(bad); err == nil {
			t.Errorf("byte %d flipped, and it was taken", at)
		}
		if _, err := DecodeSnapshot(data[:at]); err == nil {
			t.Errorf("cut at %d, and it was taken", at)
		}
	}
}

func TestWhatANewerVersionWroteStopsTheMachine(t *testing.T) {
	newer, err := EncodeCommand(Envelope{Command: &ClusterInit{ID: 1}})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]byte{
		"version": append([]byte{CommandVersion + 1}, newer[1:]...),
		"kind":    append([]byte{CommandVersion, 200}, newer[2:]...),
		"field":   append(slices.Clone(newer[:envelopeHead]), `{"id":1,"colour":"red"}`...),
	}
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			m := NewMachine()
			if _, err := m.Apply(data); !errors.Is(err, ErrNewerVersion) {
				t.Fatalf("error %v", err)
			}
			if _, err := m.Apply(newer); err == nil {
				t.Fatal("it went on with the next command")
			}
			<-m.Failed()
		})
	}
	snapshot := bytesOf(t, new(State))
	snapshot[len(snapshotMagic)]++
	if err := NewMachine().Restore(snapshot); !errors.Is(err, ErrNewerVersion) {
		t.Fatalf("snapshot: error %v", err)
	}
}

func FuzzCommand(f *testing.F) {
	s := new(State)
	for _, e := range oneOfEach() {
		data, err := EncodeCommand(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		if e.Command.Kind() < KindShadowDrop {
			s, _ = s.Apply(e)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := DecodeCommand(data)
		if err != nil {
			return
		}
		next, out := s.Apply(e)
		if out.Code == 0 {
			t.Fatalf("no outcome for %T", e.Command)
		}
		if err := next.Check(); err != nil {
			t.Fatal(err)
		}
		if _, again := next.Apply(e); again.Code == Refused && out.Code == Applied && again.Reason == Malformed {
			t.Fatalf("%T was applied, then malformed", e.Command)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	f.Add(bytesOf(f, new(State)))
	f.Add(bytesOf(f, founded(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := DecodeSnapshot(data); err == nil && s.Check() != nil {
			t.Fatal("took a state that breaks an invariant")
		}
	})
}
