package coordinator

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func fullReport() *Report {
	r := topology.Range{From: 0, To: 16}
	return &Report{
		Process: topology.Process{Node: "n1", Boot: 1 << 63}, Seq: 3, Applied: 9, ClockOffsetMs: -4, DiskFull: "no space",
		Queries: []QueryReport{{ID: topology.QueryID{Incarnation: 1, Generation: 1}, Waiting: "seals of n2", Partitions: []PartitionReport{{
			Stage: 1, Range: r, Instance: 4, Role: RoleActive, Phase: PhaseRunning, Epoch: 300, Durable: 299, Lines: []topology.Epoch{128, 256},
			Copied: 8, Chains: []ChainSum{{r, 256, 1<<64 - 1}}, StateBytes: 1 << 20,
		}}}},
		Complaints: []Complaint{{topology.Process{Node: "n2", Boot: 2}, ComplaintEnded, 12}},
	}
}

func TestADecodedReportEqualsTheEncodedOne(t *testing.T) {
	data, err := json.Marshal(fullReport())
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeReport(bytes.NewReader(data))
	if err != nil || !reflect.DeepEqual(got, fullReport()) {
		t.Fatalf("%v\n%+v", err, got)
	}
}

func TestReportsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, change := range map[string]func(*Report){
		"no boot id":        func(r *Report) { r.Process.Boot = 0 },
		"long name":         func(r *Report) { r.Process.Node = topology.NodeID(strings.Repeat("n", 200)) },
		"kind of complaint": func(r *Report) { r.Complaints[0].Kind = "angry" },
		"lines fall":        func(r *Report) { r.Queries[0].Partitions[0].Lines = []topology.Epoch{256, 128} },
		"empty range":       func(r *Report) { r.Queries[0].Partitions[0].Range.To = 0 },
		"role":              func(r *Report) { r.Queries[0].Partitions[0].Role = "spare" },
		"long error":        func(r *Report) { r.Queries[0].Error = strings.Repeat("e", raftfsm.MaxTextBytes+1) },
		"query twice":       func(r *Report) { r.Queries = append(r.Queries, r.Queries[0]) },
		"negative epoch":    func(r *Report) { r.Queries[0].Partitions[0].Epoch = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			r := fullReport()
			change(r)
			if r.Validate() == nil {
				t.Fatal("it was taken")
			}
		})
	}
}

func TestAReportThatCannotBeReadSaysWhoLives(t *testing.T) {
	wrong := fullReport()
	wrong.Queries[0].Partitions[0].Role = "spare"
	data, err := json.Marshal(wrong)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data string
		who  topology.NodeID
	}{
		"makes no sense": {string(data), "n1"},
		"cut":            {string(data[:len(data)/2]), "n1"},
		"other types":    {`{"process":{"node":"n1","boot":7},"seq":"x"}`, "n1"},
		"nobody":         {`{"process":{"node":"","boot":7}}`, ""},
		"no report":      {`[1]`, ""},
	} {
		_, err := DecodeReport(strings.NewReader(c.data))
		var unread *UnreadError
		if errors.As(err, &unread) != (c.who != "") || unread != nil && unread.Process.Node != c.who {
			t.Errorf("%s: %v", name, err)
		}
	}
	now := time.Unix(1000, 0)
	table := NewReportTable(func() time.Time { return now })
	p := topology.Process{Node: "n1", Boot: 7}
	table.Unread(p)
	now = now.Add(time.Second)
	if v := table.View(new(raftfsm.State), topology.Process{}); v.unreadMs(p) != 1_000_000 || v.NowMs != 1_001_000 {
		t.Errorf("%+v", v)
	}
	now = now.Add(time.Minute)
	if v := table.View(new(raftfsm.State), topology.Process{}); len(v.Unread) > 0 {
		t.Errorf("kept for a minute: %+v", v.Unread)
	}
}

func FuzzReport(f *testing.F) {
	data, err := json.Marshal(fullReport())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{}`))
	w := newWorld(f, 1, 4)
	w.addQuery("a")
	w.runFor(300)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeReport(bytes.NewReader(data))
		if err != nil {
			return
		}
		v := w.viewAt()
		v.Reports = []Received{{r, v.NowMs}}
		StepNodes(v, new(NodesMemory))
		StepQuery(v, v.State.Queries[0], new(QueryMemory))
	})
}

func TestTheTableKeepsTheLatestReportOfEachProcess(t *testing.T) {
	now := time.Unix(1000, 0)
	table := NewReportTable(func() time.Time { return now })
	old, late := fullReport(), fullReport()
	late.Seq = 4
	table.Add(late)
	table.Add(old)
	if got := table.Latest(late.Process); got != late || len(table.All()) != 1 {
		t.Fatalf("%+v", got)
	}
	now = now.Add(time.Minute)
	table.begin()
	if len(table.All()) != 0 {
		t.Fatal("a new leader takes reports of another reign")
	}
}
