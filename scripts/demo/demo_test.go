package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// fakeMachine is a cluster that runs by a clock: partitions of a node that was killed move 300 ms later, the query ends after its time.
type fakeMachine struct {
	nodes   []client.Node
	leader  string
	added   time.Time
	lasts   time.Duration
	parts   []client.Partition
	killed  map[string]time.Time
	last    *client.Recovery
	count   int
	words   map[string]int64
	calls   []string
	failing error // of check
}

func newFake(words map[string]int64) *fakeMachine {
	m := &fakeMachine{leader: "n2", lasts: 30 * time.Second, killed: map[string]time.Time{}, words: words}
	for i := range 5 {
		m.nodes = append(m.nodes, client.Node{Name: fmt.Sprintf("n%d", i+1), Status: client.NodeAlive})
	}
	for _, node := range []string{"n1", "n3", "n4", "n5", "n5"} {
		m.parts = append(m.parts, client.Partition{Node: node, Role: client.RoleActive})
	}
	return m
}

func (m *fakeMachine) look(_ context.Context, query string) (*snapshot, error) {
	now := time.Now()
	for i := range m.nodes {
		n := &m.nodes[i]
		at, killed := m.killed[n.Name]
		if !killed || now.Sub(at) < 300*time.Millisecond || n.Status == client.NodeLost {
			continue
		}
		n.Status = client.NodeLost
		if m.leader == n.Name {
			m.leader = "n3"
		}
		for k := range m.parts {
			if m.parts[k].Node == n.Name {
				m.parts[k].Node = "n3"
			}
		}
		m.count++
		m.last = &client.Recovery{Node: n.Name, Reason: "connection reset", DetectMs: 1, CommitMs: 20, RestoreMs: 30, ReplayMs: 4}
	}
	if m.killed[m.leader] != (time.Time{}) {
		return nil, errors.New("no leader")
	}
	s := &snapshot{leader: m.leader, nodes: slices.Clone(m.nodes)}
	if m.added.IsZero() || query != "words" {
		return s, nil
	}
	ran := min(now.Sub(m.added), m.lasts)
	epoch := topology.Epoch(ran / (10 * time.Millisecond))
	s.query = &client.QueryDetail{Query: client.Query{State: client.StateRunning, Epoch: epoch, CompleteEpoch: epoch / 128 * 128, Partitions: 5, PartitionsRunning: 5},
		Parts: slices.Clone(m.parts), Recoveries: m.count, LastRecovery: m.last}
	if ran == m.lasts {
		s.query.State = client.StateFinished
	}
	return s, nil
}

func (m *fakeMachine) kill(node string) error {
	m.calls = append(m.calls, fmt.Sprintf("kill %s at %d", node, time.Since(m.added).Milliseconds()/1000))
	m.killed[node] = time.Now()
	return nil
}

func (m *fakeMachine) replace(ctx context.Context, n int) error {
	m.calls = append(m.calls, fmt.Sprintf("replace %d", n))
	return ctx.Err()
}

func (m *fakeMachine) command(_ context.Context, node string, args ...string) error {
	m.calls = append(m.calls, node+": "+strings.Join(args, " "))
	if args[1] == "add" {
		m.added = time.Now()
	}
	return nil
}

func (m *fakeMachine) counts(context.Context, string) (map[string]int64, topology.Epoch, error) {
	return m.words, 3000, nil
}

func (m *fakeMachine) check() error { return m.failing }

func TestTwoNodesAreKilledOneAfterTheOtherAndTheLeaderLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		words := map[string]int64{"a": 1, "b": 2}
		m := newFake(words)
		var out bytes.Buffer
		s := &show{machine: m, out: &out}
		if err := s.play(t.Context(), "words.sql", "/src/**/*.go", 3000000, &wordCount{words: maps.Clone(words)}); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"n1: query add words.sql --name words --set lines.path=/src/**/*.go --set lines.source.bytes-per-second=3000000",
			"kill n5 at 2", "kill n2 at 2", "replace 2",
			"n3: table scan words.counts --order-by n --desc --limit 10",
		}
		if !slices.Equal(m.calls, want) {
			t.Fatalf("did\n%s", strings.Join(m.calls, "\n"))
		}
		text := out.String()
		for _, part := range []string{"kill -9 n5, which runs 2 partitions", "kill -9 n2, the leader", "recovery of n5 (connection reset): 55 ms = detect 1 + commit 20 + restore 30 + replay 4",
			"nodes: n1 n2 (lost) n3 (leader) n4 n5 (lost)", "All 2 counts of epoch 3,000", "the 2. complete one"} {
			if !strings.Contains(text, part) {
				t.Errorf("%q is not shown:\n%s", part, text)
			}
		}
		if first, second := m.killed["n5"], m.killed["n2"]; second.Sub(first) < 300*time.Millisecond {
			t.Error("the second node was killed before the first one was restored")
		}
	})
}

func TestWhatGoesWrongIsSaid(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m *fakeMachine)
		want   string
	}{
		{"counts", func(m *fakeMachine) { m.words = map[string]int64{"a": 1, "c": 5} }, "2 of 2 counts differ:\n  b                              seepnode 0, Unix tools 2\n  c "},
		{"too fast", func(m *fakeMachine) { m.lasts = 2600 * time.Millisecond }, "lower -lines-per-second"},
		{"dead process", func(m *fakeMachine) { m.failing = errors.New("agent n4 ended") }, "agent n4 ended"},
		{"no leader", func(m *fakeMachine) { m.leader = "" }, "waiting for a leader: not there after 1m0s (nodes: n1 n2"},
	} {
		synctest.Test(t, func(t *testing.T) {
			words := map[string]int64{"a": 1, "b": 2}
			m := newFake(words)
			c.change(m)
			s := &show{machine: m, out: &bytes.Buffer{}}
			if err := s.play(t.Context(), "q", "f", 1, &wordCount{words: words}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
		})
	}
}

func TestIndependentCountIsThatOfAPlainLoop(t *testing.T) {
	dir := t.TempDir()
	text := map[string]string{"a.go": "Foo bar_baz, foo 1x2", "sub dir/b.go": "ſoo FOO\n\nfoo-ſ\n", "c.txt": "not counted"}
	want := map[string]int64{}
	var lines, size int64
	for name, s := range text {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		lines, size = lines+int64(strings.Count(s, "\n")), size+int64(len(s))
		for _, word := range strings.FieldsFunc(s, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
		}) {
			want[strings.ToLower(word)]++
		}
	}
	got, err := countWords(t.Context(), "./count.sh", dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(want, got.words); err != nil || got.files != 2 || got.lines != lines || got.bytes != size {
		t.Fatalf("%+v %v", got, err)
	}
	if _, err := countWords(t.Context(), "./count.sh", t.TempDir()); err == nil {
		t.Fatal("a directory without files was counted")
	}
}

func TestTableIsReadInPagesOfOneEpoch(t *testing.T) {
	words := []string{"a", "b1", "c", "d", "e"}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		asked = append(asked, r.URL.Path+" "+q.Get("where")+" "+q.Get("epoch"))
		answer := client.TableRead{Epoch: 77}
		after := strings.Trim(strings.TrimPrefix(q.Get("where"), "word > "), "'")
		for i, word := range words {
			if word <= after {
				continue
			}
			if len(answer.Rows) == 2 {
				answer.Truncated = true
				break
			}
			answer.Rows = append(answer.Rows, json.RawMessage(fmt.Sprintf(`{"word":%q,"n":%d}`, word, i)))
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	asks, err := client.New(client.Config{Address: server.URL, RetryFor: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer asks.Close()
	got, epoch, err := readCounts(t.Context(), asks, 2)
	if err != nil || epoch != 77 || len(got) != len(words) || got["e"] != 4 {
		t.Fatalf("%v %d %v", got, epoch, err)
	}
	want := []string{"/v1/tables/words/counts  ", "/v1/tables/words/counts word > 'b1' 77", "/v1/tables/words/counts word > 'd' 77"}
	if !slices.Equal(asked, want) {
		t.Fatalf("asked %q", asked)
	}
}

func TestNumbersHaveCommas(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
