package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/seepnode/seepnode/scripts/cluster"
	"github.com/seepnode/seepnode/scripts/fleet"
)

func node(name, role, status string, busy float64) client.Node {
	return client.Node{Name: name, Status: status, Busy: busy, Tags: map[string]string{"role": role}}
}

func drained(n client.Node, holds ...string) client.Node {
	n.Drain, n.Holds = client.DrainRunning, holds
	return n
}

func sceneOf(t *testing.T) *scene {
	t.Helper()
	s := &scene{at: 83 * time.Second, phase: "much load", offered: []float64{100, 500, 1000}, processed: []float64{100, 400, 1000}, p99: []float64{20, 90, 30},
		members: []float64{3, 5, 6}, workers: []float64{2, 3, 4}}
	part := func(stage topology.StageID, node, role string) client.Partition {
		return client.Partition{Stage: stage, Node: node, Role: role}
	}
	q := &client.QueryDetail{Stages: make([]client.StageInfo, 3), Parts: []client.Partition{
		part(0, "n4", client.RoleActive), part(1, "n5", client.RoleActive), part(2, "n5", client.RoleActive),
		part(2, "n10", client.RoleActive), part(2, "n10", client.RoleShadow), part(2, "n6", client.RoleShadow), part(2, "n7", client.RoleRetired)}}
	q.Partitions, q.PartitionsRunning, q.Epoch, q.EpochLagMs = 4, 3, 8300, 42
	s.meet(80*time.Second, []client.Node{node("n1", "control", client.NodeAlive, 0), drained(node("n10", "worker", client.NodeAlive, 0.5)),
		node("n11", "worker", client.NodeLeft, 0), node("n4", "worker", client.NodeAlive, 0.04), node("n5", "worker", client.NodeAlive, 1),
		node("n6", "worker", client.NodeAlive, 0), node("n7", "worker", client.NodeAlive, 0), node("n8", "worker", client.NodeLost, 0),
		node("n9", "worker", client.NodeLost, 0), node("n3", "worker", client.NodeLeft, 0)}, []string{"n4", "n5", "n6", "n7", "n10", "n12"}, "n9")
	s.layout(q)
	s.events = nil
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
nodes joined      ▅▇█        6
of them in use    ▅▆█        4

node   processor               partitions: A source  B source  C keyed count wit
n4     ░░░░░░░░░░░░   4 %  A
n5     ████████████ 100 %  B C
n6     ░░░░░░░░░░░░   0 %  ~
n7     ░░░░░░░░░░░░   0 %  spare
n8                         lost
n9                         killed
n10    ██████░░░░░░  50 %  draining C ~
n12                        starting
left: n3 n11

  37.0  event 37
  38.0  event 38
  39.0  event 39`

func TestScreenShowsLoadNodesAndWhatHappened(t *testing.T) {
	s := sceneOf(t)
	if got := uncoloured(s.lines(80, 24)); got != want {
		t.Errorf("the screen shows\n%s\nwant\n%s", got, want)
	}
	if s.cluster != (span{6, 6, 6}) || s.use != (span{3, 3, 3}) {
		t.Error(s.cluster, s.use)
	}
}

func TestComingsAndGoingsAreToldOnce(t *testing.T) {
	var s scene
	gone := ""
	look := func(at int, running string, nodes ...client.Node) {
		s.meet(time.Duration(at)*time.Second, nodes, strings.Fields(running), gone)
	}
	worker := func(name, status string) client.Node { return node(name, "worker", status, 0) }
	control := node("n1", "control", client.NodeAlive, 0)
	look(1, "n4 n5", control)
	if got := strings.Join(s.restless(), "; "); got != "n4 is starting; n5 is starting" {
		t.Error(got)
	}
	look(2, "n4 n5 n6 n7", control, worker("n4", client.NodeAlive), worker("n5", client.NodeAlive), worker("n6", client.NodeAlive),
		worker("n7", client.NodeAlive))
	gone = "n7"
	look(3, "n4 n5 n6", control, drained(worker("n4", client.NodeAlive)), drained(worker("n5", client.NodeAlive), "query q: seals"),
		worker("n6", client.NodeLost), worker("n7", client.NodeLost))
	if got := strings.Join(s.restless(), "; "); got != "n4 is draining; n5 is draining and holds query q: seals" {
		t.Error(got)
	}
	for range 2 {
		look(4, "n5 n6", control, worker("n4", client.NodeLeft), worker("n5", client.NodeAlive), worker("n6", client.NodeAlive), worker("n7", client.NodeLeft))
	}
	const all = "[   2.0  n4 joins    2.0  n5 joins    2.0  n6 joins    2.0  n7 joins    3.0  n6 is lost    4.0  n4 leaves    4.0  n5 stays    4.0  n6 is back]"
	if got := fmt.Sprint(s.events); got != all {
		t.Errorf("%s\nwant\n%s", got, all)
	}
	if s.joins != 4 || s.leaves != 1 || len(s.restless()) > 0 || s.cluster != (span{1, 5, 3}) || s.cluster.String() != "1 at first, 5 at the most, 3 in the end" {
		t.Error(s.joins, s.leaves, s.restless(), s.cluster)
	}
}

func TestThePoolsReasonsAreToldOnce(t *testing.T) {
	var s scene
	start := time.Unix(1000, 0)
	p := &client.AutoscalePool{}
	for at, text := range []string{"2 instances are started: 4 nodes are needed, 1 of them as spares", "instance n5 is started",
		"start an instance: no room; nothing is started for 10 s", "node n5 is given back: 2 nodes are needed and 3 are there",
		"instance n5 is terminated: its node n5 has left", "instance n6 is terminated: it did not join within 60 s"} {
		p.Events = append(p.Events, client.AutoscaleEvent{Time: start.Add(time.Duration(at) * time.Second), Text: text})
		s.pool(start, p)
	}
	var got []string
	for _, e := range s.events {
		got = append(got, e.String())
	}
	if text := strings.Join(got, "\n"); text != `   0.0  pool: 2 instances are started: 4 nodes are needed, 1 of them as spares
   2.0  pool: start an instance: no room; nothing is started for 10 s
   3.0  pool: node n5 is given back: 2 nodes are needed and 3 are there
   5.0  pool: instance n6 is terminated: it did not join within 60 s` {
		t.Error(text)
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
	if strings.Count(text, "event 7\n") != 1 || strings.Count(text, "much load,") != 2 || !strings.Contains(text, "1000 rows/s offered   1000 processed, p99   30 ms, 6 nodes joined, 3 in use, 4 partitions") {
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

// played is a show in which all has happened that should, on nodes that are limited.
func played() *play {
	p := &play{limited: true, killed: "n5", before: 5, answered: time.Now(), fleet: &fleet.Fleet{Cluster: &cluster.Cluster{}}}
	p.scene.cluster, p.scene.use = span{3, 11, 5}, span{1, 7, 1}
	p.pool = client.AutoscalePool{Nodes: 2, Needed: 2, Spares: 1}
	return p
}

func TestTheShowEndsWithWhatDidNotComeAbout(t *testing.T) {
	for name, c := range map[string]struct {
		at     time.Duration
		change func(*play)
		want   string
	}{
		"no node joined": {falls, func(p *play) { p.scene.cluster.most, p.pool.Error = 5, "start an instance: no room" },
			"no more nodes joined and were used: 5 had joined before and 5 at the most.*; start an instance: no room"},
		"none was used": {falls, func(p *play) { p.scene.use.most = 1 }, "1 were used before and 1 at the most"},
		"one does not go": {over, func(p *play) { p.scene.nodes = []nodeLine{{name: "n8", state: draining, holds: []string{"its vault"}}} },
			"n8 is draining and holds its vault"},
		"too many stay": {over, func(p *play) { p.scene.cluster.now, p.pool.Nodes = 8, 5 },
			"8 are in the cluster, 1 of them in use, before the load rose there were 5; the pool has 5 nodes and needs 2"},
		"nobody answers": {top, func(p *play) { p.answered, p.unheard = time.Now().Add(-time.Hour), errors.New("no leader") },
			"has not told how it is for 1h.*: no leader"},
		"nobody to be lost": {killAt, func(p *play) { p.killed = "" }, "no worker runs a partition"},
	} {
		p := played()
		c.change(p)
		if done, err := p.act(c.at); done || err == nil || !regexp.MustCompile(c.want).MatchString(err.Error()) {
			t.Errorf("%s: %v, %v", name, done, err)
		}
	}
	// It ends when those are gone that the pool does not need, whatever the load's rest has left.
	p := played()
	p.scene.cluster.now, p.pool.Nodes, p.pool.Needed = 6, 3, 2
	if done, err := p.act(ends); done || err != nil {
		t.Error(done, err)
	}
	// Without limits the load may be too little for a second node.
	p = played()
	p.limited, p.scene.cluster.most, p.scene.use.most = false, 5, 1
	if done, err := p.act(falls); done || err != nil {
		t.Error(done, err)
	}
}

func TestAnAgentMayEndWhenItsNodeHasLeftAndNotBefore(t *testing.T) {
	f, err := fleet.Prepare(fleet.Config{Program: os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(nil); err != nil {
			t.Error(err)
		}
	}()
	w := workers{f}
	if _, err := w.start("c-1"); err == nil || !strings.Contains(err.Error(), "voters") {
		t.Errorf("a worker before the voters: %v", err)
	}
	for range fleet.Voters {
		if _, err := f.Launch(cluster.Machine{}); err != nil {
			t.Fatal(err)
		}
	}
	name, err := w.start("c-1")
	if err != nil || name != "n4" {
		t.Fatal(name, err)
	}
	for w.runs(name) {
		time.Sleep(time.Millisecond)
	}
	p := &play{fleet: f}
	p.scene.nodes = []nodeLine{{name: name, state: draining}}
	if err := errors.Join(p.leavers(top), p.leavers(top+leftWithin)); err != nil {
		t.Errorf("the voters have not had the time to hear of it: %v", err)
	}
	if err := p.leavers(top + leftWithin + 1); err == nil || !strings.Contains(err.Error(), "the cluster did not have it leave: agent n4 ended: exit status 1") {
		t.Errorf("its node has not left: %v", err)
	}
	p.scene.nodes[0].state = left
	if err := errors.Join(p.leavers(over), p.leavers(over), f.Fault(fleet.Voters)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(f.Agent(fleet.Voters).Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its files stay: %v", err)
	}
}
