package autoscale

import (
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestPartitionsArePutOnTheFewestNodesThatHoldThem(t *testing.T) {
	for name, c := range map[string]struct {
		needs []Need
		want  int
	}{
		"nothing":                   {nil, 1},
		"four idle queries":         {[]Need{{0, 1}, {0, 1}, {0, 1}, {0, 1}}, 1},
		"what fits together":        {[]Need{{0.3, 1}, {0.2, 1}, {0.1, 1}}, 1},
		"two halves do not":         {[]Need{{0.5, 1}, {0.5, 1}}, 2},
		"small ones fill up":        {[]Need{{6, 9}, {0.1, 1}, {0.1, 1}}, 9},
		"one that more cannot help": {[]Need{{3, 1}}, 1},
		"four that a person wants":  {[]Need{{0.1, 4}, {0.1, 1}}, 4},
	} {
		var f Fleet
		if e := f.Step(&FleetSample{Needs: c.needs}); e.Nodes != c.want {
			t.Errorf("%s: %d nodes, it should be %d: %s", name, e.Nodes, c.want, e.Text)
		}
	}
}

func TestWhatNothingIsDecidedOfKeepsItsNodesAndWantsNoMore(t *testing.T) {
	var f Fleet
	if e := f.Step(&FleetSample{Present: 3, Needs: []Need{{0.4, 1}, {0.5, 1}}}); e.Nodes != 3 {
		t.Errorf("%d nodes are wanted where three are used: %s", e.Nodes, e.Text)
	}
}

func TestAFleetFollowsTheAimOfThePolicy(t *testing.T) {
	c := DefaultConfig()
	if err := c.Set("target", "35"); err != nil {
		t.Fatal(err)
	}
	f := NewFleet(&c)
	if e := f.Step(&FleetSample{Needs: []Need{{0.3, 1}, {0.3, 1}}}); e.Nodes != 2 {
		t.Errorf("at an aim of 35 %% two partitions of 30 %% are put on %d node", e.Nodes)
	}
	d := DefaultConfig()
	if f := NewFleet(&d); f.config != DefaultFleetConfig() {
		t.Errorf("by itself it is %+v", f.config)
	}
}

func TestAMoveThatDoesNotComeAboutIsNotAskedForAgainAtOnce(t *testing.T) {
	node := func(name string, use float64) FleetNode {
		return FleetNode{NodeLoad: NodeLoad{Process: topology.Process{Node: topology.NodeID(name), Boot: 1}, Use: use, Cores: 1}}
	}
	busy := node("a", 0.95)
	for i := range 2 {
		busy.Partitions = append(busy.Partitions, FleetPartition{Stage: topology.StageID(i), Range: topology.Range{To: 4}, Use: 0.3 + 0.1*float64(i)})
	}
	var f Fleet
	got := map[string]int{}
	for second := range int64(60) {
		if e := f.Step(&FleetSample{AtMs: second * 1000, Nodes: []FleetNode{busy, node("b", 0.1), node("c", 0.2)}}); e.Move != nil {
			got[string(e.Move.To.Node)+string('0'+rune(e.Move.Stage))]++
		}
	}
	for _, move := range []string{"b1", "c1", "b0", "c0"} {
		if got[move] != 1 {
			t.Errorf("moves are %v, %s should be tried once in a minute", got, move)
		}
	}
}

func TestABusyNodeGivesItsLargestPartitionToOneWithRoom(t *testing.T) {
	node := func(name string, use float64, uses ...float64) FleetNode {
		n := FleetNode{NodeLoad: NodeLoad{Process: topology.Process{Node: topology.NodeID(name), Boot: 1}, Use: use, Cores: 1}}
		for i, u := range uses {
			n.Partitions = append(n.Partitions, FleetPartition{Stage: topology.StageID(i), Range: topology.Range{To: 4}, Use: u, Display: "a partition"})
		}
		return n
	}
	run := func(seconds int, nodes ...FleetNode) (out []*Move) {
		var f Fleet
		for s := range seconds {
			if e := f.Step(&FleetSample{AtMs: int64(s) * 1000, Nodes: nodes}); e.Move != nil {
				out = append(out, e.Move)
			}
		}
		return out
	}
	got := run(4, node("a", 0.95, 0.3, 0.5, 0.1), node("b", 0.2, 0.2), node("c", 0.6, 0.6))
	if len(got) != 1 || got[0].Stage != 1 || got[0].To.Node != "b" || !strings.Contains(got[0].Text, "a is at 95 % with 3 partitions and b at 20 %") {
		t.Errorf("moves are %+v", got)
	}
	if got := run(4, node("a", 0.95, 0.3, 0.5, 0.1), node("b", 0.2, 0.1, 0.1)); len(got) != 1 || got[0].Stage != 2 {
		t.Errorf("a node that runs parts of stages 0 and 1 is given another of them: %+v", got)
	}
	if got := run(20, node("a", 0.95, 0.9), node("b", 0)); len(got) != 0 {
		t.Errorf("a partition alone on its node is moved: %+v", got)
	}
	if got := run(20, node("a", 0.9, 0.45, 0.45), node("b", 0.7, 0.7)); len(got) != 0 {
		t.Errorf("it is moved to where there is no room: %+v", got)
	}
	if got := run(2, node("a", 0.95, 0.5, 0.4), node("b", 0)); len(got) != 0 {
		t.Errorf("a moment is enough: %+v", got)
	}
}
