package autoscale

import (
	"math"
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

var (
	testQuery = topology.QueryID{Incarnation: 1, Generation: 1}
	n1        = topology.Process{Node: "n1", Boot: 1}
)

// read gives a reading of one process with some partitions of a query of two stages.
func read(atMs, cpuNs int64, cores float64, list ...Counters) *Reading {
	for i := range list {
		list[i].Process = n1
		if list[i].Range.Len() == 0 {
			list[i].Range = topology.Range{To: 4}
		}
	}
	return &Reading{AtMs: atMs, Nodes: []NodeCounters{{Process: n1, AtMs: atMs, CPUNs: cpuNs, Cores: cores}}, Queries: []QueryCounters{{ID: testQuery, Partitions: list}}}
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6*max(1, math.Abs(b)) }

func TestLoadsAreGrowthsOfCounters(t *testing.T) {
	var m Meter
	m.Add(read(1000, 0, 0, Counters{Stage: 0, Instance: 1, BusyNs: 1e9, RowsIn: 100, Backlog: 50, LagMs: 500, Groups: []int64{10, 20, 30, 40}}, Counters{Stage: 1, Instance: 2, Backlog: -1}))
	m.Add(read(3000, 0, 0, Counters{Stage: 0, Instance: 1, BusyNs: 2e9, BlockedNs: 5e8, RowsIn: 2100, RowsOut: 4000, Backlog: 250, LagMs: 2500, Groups: []int64{10, 1020, 530, 540}},
		Counters{Stage: 1, Instance: 2, BusyNs: 1e8, RowsIn: 4000, CutRows: 4000, Backlog: -1}))
	s, ok := m.Query(testQuery, 2)
	if !ok {
		t.Fatal("nothing is known")
	}
	p := s.Stages[0].Partitions[0]
	if !near(p.Busy, 0.5) || !near(p.Blocked, 0.25) || !near(p.Idle, 0.25) || !near(p.RowsIn, 1000) || !near(p.RowsOut, 2000) || !near(p.Use, 0.5) {
		t.Errorf("the source's partition is %+v", p)
	}
	st := s.Stages[0]
	if st.Backlog != 250 || !near(st.BacklogGrowth, 100) || !near(st.LagS, 2.5) || !near(st.LagGrowth, 1) || st.Groups[1] != 1000 || st.Groups[0] != 0 || st.Endless {
		t.Errorf("the source is %+v", st)
	}
	if st := s.Stages[1]; st.Backlog != -1 || !st.Endless {
		t.Errorf("the other is %+v", st)
	}
}

func TestAnInstanceThatBeganAnewCountsFromThere(t *testing.T) {
	var m Meter
	m.Add(read(0, 0, 0, Counters{Instance: 1, BusyNs: 9e9, RowsIn: 9000, Backlog: -1}))
	m.Add(read(1000, 0, 0, Counters{Instance: 1, BusyNs: 5e8, RowsIn: 100, Backlog: -1}))
	s, ok := m.Query(testQuery, 1)
	if p := s.Stages[0].Partitions[0]; !ok || !near(p.RowsIn, 100) || !near(p.Busy, 0.5) {
		t.Errorf("%v %+v", ok, s)
	}
}

func TestAnInstanceThatGaveKeyGroupsAwayGoesOn(t *testing.T) {
	var m Meter
	m.Add(read(0, 0, 0, Counters{Instance: 1, BusyNs: 9e9, RowsIn: 9000, Backlog: -1, Groups: []int64{1000, 2000, 3000, 3000}}))
	m.Add(read(1000, 0, 0, Counters{Instance: 1, Range: topology.Range{To: 2}, BusyNs: 95e8, RowsIn: 9100, Backlog: -1, Groups: []int64{1040, 2060}},
		Counters{Instance: 2, Range: topology.Range{From: 2, To: 4}, RowsIn: 50, Backlog: -1, Groups: []int64{20, 30}}))
	s, ok := m.Query(testQuery, 1)
	st := s.Stages[0]
	if !ok || !near(st.rowsIn(), 150) || st.Groups[0] != 40 || st.Groups[1] != 60 || st.Groups[3] != 30 {
		t.Errorf("%v %+v", ok, st)
	}
}

func TestUseCountsProcessorsWhereTheyAreWhatLimits(t *testing.T) {
	for name, c := range map[string]struct {
		cpuNs int64
		cores float64
		busy  [2]int64 // of two partitions, in a second
		want  [2]float64
	}{
		"processors are not known":            {0, 0, [2]int64{5e8, 1e8}, [2]float64{0.5, 0.1}},
		"plenty: the time worked":             {6.2e8, 4, [2]int64{5e8, 1e8}, [2]float64{0.5, 0.1}},
		"a quota of a fifth of a core":        {1.1e8, 0.2, [2]int64{1e8, 0}, [2]float64{0.5, 0}},
		"saturated: their part of processors": {1e9 + 2e7, 1, [2]int64{1e9, 1e9}, [2]float64{0.5, 0.5}},
	} {
		t.Run(name, func(t *testing.T) {
			var m Meter
			m.Add(read(0, 1, c.cores, Counters{Stage: 0, Instance: 1, Backlog: -1}, Counters{Stage: 1, Instance: 2, Backlog: -1}))
			after := read(1000, 1+c.cpuNs, c.cores, Counters{Stage: 0, Instance: 1, BusyNs: c.busy[0], Backlog: -1}, Counters{Stage: 1, Instance: 2, BusyNs: c.busy[1], Backlog: -1})
			if c.cpuNs == 0 {
				after.Nodes[0].CPUNs = 0
			}
			m.Add(after)
			s, _ := m.Query(testQuery, 2)
			for i, want := range c.want {
				if got := s.Stages[i].Partitions[0].Use; math.Abs(got-want) > 0.01 {
					t.Errorf("partition %d uses %g, it should be %g", i, got, want)
				}
			}
		})
	}
}

func TestTheWindowIsOfTheLastSeconds(t *testing.T) {
	var m Meter
	for s := range int64(20) {
		rows := 100 * s
		if s > 10 {
			rows = 1000 + 500*(s-10)
		}
		m.Add(read(1000*s, 0, 0, Counters{Instance: 1, RowsIn: rows, Backlog: -1}))
	}
	if s, _ := m.Query(testQuery, 1); !near(s.Stages[0].Partitions[0].RowsIn, 500) || len(m.readings) > 5 {
		t.Errorf("%+v over %d readings", s.Stages[0], len(m.readings))
	}
}

// TestAnIdleAgentIsOneThatBringsNothingUp: what it takes is left out of the use of the others.
func TestAnIdleAgentIsOneThatBringsNothingUp(t *testing.T) {
	for _, shadows := range []bool{false, true} {
		var m Meter
		for s := range int64(5) {
			r := read(1000*s, 1+6e8*s, 1, Counters{Instance: 1, BusyNs: 5e8 * s, Backlog: -1})
			r.Nodes = append(r.Nodes, NodeCounters{Process: topology.Process{Node: "n2", Boot: 1}, AtMs: 1000 * s, CPUNs: 1 + 4e8*s, Cores: 1, Shadows: shadows})
			m.Add(r)
		}
		want := map[bool]float64{false: (0.6 - 0.4) / (1 - 0.4), true: (0.6 - idleCores) / (1 - idleCores)}[shadows]
		if n := m.Nodes(); !near(n[0].Use, want) {
			t.Errorf("shadows %v: it uses %v, want %v", shadows, n[0].Use, want)
		}
	}
}
