package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func sceneOf(t *testing.T) *scene {
	t.Helper()
	s := &scene{at: 83 * time.Second, phase: "much load", offered: []float64{100, 500, 1000}, processed: []float64{100, 400, 1000}, p99: []float64{20, 90, 30}, used: []float64{2, 3, 4}}
	part := func(stage topology.StageID, node, role string) client.Partition {
		return client.Partition{Stage: stage, Node: node, Role: role}
	}
	q := &client.QueryDetail{Stages: make([]client.StageInfo, 3), Parts: []client.Partition{
		part(0, "n4", client.RoleActive), part(1, "n5", client.RoleActive), part(2, "n5", client.RoleActive), part(2, "n10", client.RoleActive), part(2, "n6", client.RoleShadow), part(2, "n7", client.RoleRetired)}}
	q.Partitions, q.PartitionsRunning, q.Epoch, q.EpochLagMs = 4, 3, 8300, 42
	node := func(name, role, status string, busy float64) client.Node {
		return client.Node{Name: name, Status: status, Busy: busy, Tags: map[string]string{"role": role}}
	}
	s.layout(q, []client.Node{node("n1", "control", client.NodeAlive, 0), node("n10", "worker", client.NodeAlive, 0.5), node("n4", "worker", client.NodeAlive, 0.04), node("n5", "worker", client.NodeAlive, 1),
		node("n6", "worker", client.NodeAlive, 0), node("n7", "worker", client.NodeAlive, 0), node("n8", "worker", client.NodeLost, 0), node("n9", "worker", client.NodeLost, 0)}, "n9")
	for i := range 40 {
		s.say(time.Duration(i)*time.Second, fmt.Sprintf("event %d", i))
	}
	return s
}

func uncoloured(lines []string) string {
	text := strings.Join(lines, "\n")
	for _, c := range []string{plain, bold, dim, red, green, yellow, cyan} {
		text = strings.ReplaceAll(text, c, "")
	}
	return text
}

const want = `seepnode  a query under a load that rises and falls: much load
1:23  epoch 8300, 42 ms behind, 3 of 4 partitions run

rows/s offered    ▂▅█     1000
rows/s processed  ▂▄█     1000
latency p99, ms   ▃█▃       30
nodes in use      ▅▆█        4

node   processor               partitions: A source  B source  C keyed count wit
n4     ░░░░░░░░░░░░   4 %  A
n5     ████████████ 100 %  B C
n6     ░░░░░░░░░░░░   0 %  ~
n7     ░░░░░░░░░░░░   0 %  spare
n8                         gone
n9                         killed
n10    ██████░░░░░░  50 %  C

  37.0  event 37
  38.0  event 38
  39.0  event 39`

func TestScreenShowsLoadNodesAndWhatHappened(t *testing.T) {
	s := sceneOf(t)
	if got := uncoloured(s.lines(80, 21)); got != want {
		t.Errorf("the screen shows\n%s\nwant\n%s", got, want)
	}
	if s.nodesNow != 3 || s.nodesFirst != 3 || s.idle() {
		t.Error(s.nodesNow, s.nodesFirst, s.idle())
	}
}

func TestScreenStaysWithinTheTerminal(t *testing.T) {
	s := sceneOf(t)
	for len(s.offered) < 300 {
		s.offered = append(s.offered, 7)
	}
	for _, width := range []int{1, 20, 40, 80, 200} {
		for _, height := range []int{1, 5, 17, 24, 100} {
			lines := s.lines(width, height)
			if len(lines) > height {
				t.Errorf("%d lines of %d", len(lines), height)
			}
			for _, line := range strings.Split(uncoloured(lines), "\n") {
				if n := utf8.RuneCountInString(line); n > width {
					t.Errorf("%d columns of %d: %q", n, width, line)
				}
			}
		}
	}
}

func TestTerminalIsAsBeforeAfterwards(t *testing.T) {
	var out bytes.Buffer
	term := &terminal{out: &out, size: func() (int, int, bool) { return 80, 24, true }}
	term.open()
	term.draw(sceneOf(t))
	term.close()
	term.close()
	if text := out.String(); !strings.HasPrefix(text, alternate) || !strings.HasSuffix(text, normal) || strings.Count(text, normal) != 1 {
		t.Errorf("%q", text)
	}
}

func TestLinesTellEveryEventOnceAndFiguresNowAndThen(t *testing.T) {
	var out bytes.Buffer
	w := &written{out: &out}
	s := sceneOf(t)
	for range 4 {
		s.at += time.Second
		w.draw(s)
	}
	text := out.String()
	if strings.Count(text, "event 7\n") != 1 || strings.Count(text, "much load,") != 2 || !strings.Contains(text, "1000 rows/s offered   1000 processed, p99   30 ms, 3 nodes, 4 partitions") {
		t.Errorf("%s", text)
	}
}

func TestTheHistoryIsToldWithItsFigures(t *testing.T) {
	for want, e := range map[string]client.HistoryEntry{
		"": {Kind: "vaults", Text: "copies go elsewhere"},
		"1 range of n4 runs again (detect 5 + commit 0 + restore 7 + replay 8 ms)": {Kind: "recovered", Text: "1 range of n4 runs again", Figures: map[string]string{"detect_ms": "5", "restore_ms": "7", "replay_ms": "8"}},
		"2 -> 3 (pause 12 ms)": {Kind: "scaled", Text: "2 -> 3", Figures: map[string]string{"pause_ms": "12"}},
		"query added":          {Kind: "added", Text: "query added"},
	} {
		if got := told(e); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTheLoadIsWhatThePartsOfTheShowSay(t *testing.T) {
	load := loadOf(1500)
	for at, want := range map[time.Duration]float64{0: 150, rises: 150, top: 1500, killAt: 1500, falls: 1500, ends: 0, over: 0} {
		if got := load.Rate(at); got != want {
			t.Errorf("%g rows/s at %s, want %g", got, at, want)
		}
	}
	if phase(0) != "little load" || phase(killAt) != "much load" || phase(over) != "no load" {
		t.Error(phase(0), phase(killAt), phase(over))
	}
}
