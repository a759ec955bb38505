package seepnode

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/agent"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// fakeAPI is a cluster as far as the command line sees one: fixed answers, and what was asked.
type fakeAPI struct {
	mu       sync.Mutex
	asked    strings.Builder
	polls    int // of the query "slow"
	drain    int // answers of n1 until it is drained
	drained  bool
	nodes    int
	listener net.Listener
	served   chan struct{}
	server   *http.Server
}

const fakeToken = "0123456789abcdef"

// startFake serves at address until close.
func startFake(address string, nodes int) (*fakeAPI, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	f := &fakeAPI{listener: l, nodes: nodes, served: make(chan struct{})}
	f.server = &http.Server{Handler: f}
	go func() {
		defer close(f.served)
		_ = f.server.Serve(l)
	}()
	return f, nil
}

func (f *fakeAPI) close() {
	_ = f.server.Close()
	<-f.served
}

// requests are those since the last call, one a line.
func (f *fakeAPI) requests() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.asked.Reset()
	return f.asked.String()
}

var fakeTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func fakeQuery(name, state string) client.Query {
	q := client.Query{
		Name: name, State: state, Incarnation: 7, Generation: 1, Added: fakeTime, EpochMs: 10, Epoch: 12345, CompleteEpoch: 12288, EpochLagMs: 40,
		WatermarkLagMs: 2040, CheckpointAgeMs: 610, Watermark: fakeTime, Partitions: 4, PartitionsRunning: 4,
		Rates: client.Rates{RowsInPerS: 100000.4, RowsOutPerS: 2500, BytesPerS: 1e6},
	}
	switch state {
	case client.StateWaiting:
		q.Reason, q.Resolves, q.PartitionsRunning, q.BlocksBelowK = "no vault of source 0 can be reached", "start n3 with its disk", 2, 16
	case client.StateFailed:
		q.Reason = "row 17 of orders.csv killed two processes"
	}
	return q
}

func fakeDetail(name, state string) client.QueryDetail {
	return client.QueryDetail{
		Query: fakeQuery(name, state), SQL: "SELECT 1", PlanText: "plan", Fingerprint: "v1", TrimEpoch: 12160, RowsIn: 12345678, RowsOut: 90, RowsLate: 3, StateBytes: 12300000, LogBytes: 4096,
		Recoveries:   2,
		LastRecovery: &client.Recovery{At: fakeTime, Node: "n3", Reason: "connection ended", Leader: true, DetectMs: 20, CommitMs: 31, RestoreMs: 110, ReplayMs: 39},
		Stages: []client.StageInfo{
			{Stage: 0, Operators: []string{"filesystem", "split"}, Source: true, KeyGroups: 256, Partitions: 2, Epoch: 12347, Rates: client.Rates{RowsInPerS: 100000}, Busy: .5, Idle: .45, Blocked: .05},
			{Stage: 1, Operators: []string{"count", "table"}, KeyGroups: 256, Partitions: 2, Epoch: 12345, StateBytes: 12300000, Busy: .25, Idle: .75},
		},
		Parts: fakeParts(),
		Sinks: []client.SinkInfo{{Name: "counts", Connector: "table", Lanes: 256, CommittedEpoch: 12345}},
	}
}

func fakeParts() []client.Partition {
	return []client.Partition{
		{Stage: 0, Range: topology.Range{From: 0, To: 128}, Node: "n1", Boot: "2a", Instance: 1, Role: client.RoleActive, Phase: client.PhaseRunning, Epoch: 12347, Durable: 12346, RowsIn: 6000000, RowsOut: 6000000, Busy: 0.48, Idle: 0.4, Blocked: 0.12},
		{Stage: 1, Range: topology.Range{From: 0, To: 256}, Node: "n2", Boot: "2b", Instance: 2, Role: client.RoleShadow, Phase: client.PhaseRestoring, RestoreEpoch: 12288, StateBytes: 12300000},
	}
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	fmt.Fprintf(&f.asked, "%s %s %s\n", r.Method, r.URL.RequestURI(), body)
	f.mu.Unlock()
	if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") && r.Header.Get("Authorization") != "Bearer "+fakeToken {
		answer(w, http.StatusUnauthorized, client.Error{Message: "the token is wrong"})
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1")
	name, below, _ := strings.Cut(strings.TrimPrefix(path, "/queries/"), "/")
	switch {
	case path == "/queries" && r.Method == http.MethodPost:
		f.add(w, body)
	case path == "/queries":
		answer(w, 200, client.QueryList{Queries: []client.Query{fakeQuery("failing", client.StateFailed), fakeQuery("lost", client.StateWaiting), fakeQuery("wordcount", client.StateRunning)}})
	case strings.HasPrefix(path, "/queries/"):
		f.query(w, r, name, below)
	case path == "/tables":
		answer(w, 200, client.TableList{Tables: []client.TableInfo{{Query: "wordcount", Name: "counts", PrimaryKey: []string{"word"}, Columns: fakeColumns(), Epoch: 12345, OldestEpoch: 12160, Rows: 3, Bytes: 120, Partitions: 2}}})
	case strings.HasPrefix(path, "/tables/"):
		f.table(w, r)
	case path == "/nodes":
		answer(w, 200, client.NodeList{Nodes: append(f.allNodes(), client.Node{Name: "old", Status: client.NodeLeft, Drain: client.DrainDone})})
	case path == "/nodes/n1":
		n := f.allNodes()[0]
		f.mu.Lock()
		if f.drain > 0 { // as often as it is asked it still holds something
			f.drain--
			n.Drain, n.Holds = client.DrainRunning, []string{"query wordcount: partition [0,128) of stage 1"}
		} else if f.drained {
			n.Drain = client.DrainDone
		}
		f.mu.Unlock()
		answer(w, 200, n)
	case path == "/nodes/n1/drain":
		f.mu.Lock()
		f.drain, f.drained = 2, true
		f.mu.Unlock()
		n := f.allNodes()[0]
		n.Drain, n.Holds = client.DrainRunning, []string{"a vote", "query wordcount: partition [0,128) of stage 1"}
		answer(w, 200, n)
	case path == "/nodes/n1/undrain":
		f.mu.Lock()
		f.drain, f.drained = 0, false
		f.mu.Unlock()
		answer(w, 200, f.allNodes()[0])
	case strings.HasPrefix(path, "/autoscale"):
		answer(w, 200, fakeAutoscale(strings.HasSuffix(path, "/pause")))
	case path == "/status":
		answer(w, 200, client.Status{Cluster: "00000000000000c1", Node: "n1", Leader: "n1", Term: 3, Version: "v1", Time: fakeTime, NodesAlive: f.nodes, Voters: f.nodes, NodesLost: 1,
			Queries: map[string]int{"RUNNING": 1, "WAITING": 1}, BlocksBelowK: 16, Alerts: []client.Alert{{Kind: "query_waiting", Text: "query lost is WAITING", Hint: "start n3 with its disk", Query: "lost"}}})
	case path == "/raft/peers":
		answer(w, 200, client.RaftPeers{Peers: []client.RaftPeer{{Node: "n1", Address: "10.0.0.1:7602", Voter: true, Leader: true, Status: "alive"}, {Node: "n2", Address: "10.0.0.2:7602", Status: "lost"}},
			Node: "n1", State: "Leader", Term: 3, LastIndex: 1200, CommitIndex: 1200, AppliedIndex: 1199})
	case path == "/raft/transfer":
		answer(w, 200, client.Transferred{Leader: "n2"})
	default:
		answer(w, http.StatusNotFound, client.Error{Message: "there is no node \"n9\"", Hint: "the nodes are n1, n2"})
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(append(b, '\n'))
}

func (f *fakeAPI) add(w http.ResponseWriter, body []byte) {
	var r client.AddQueryRequest
	if err := json.Unmarshal(body, &r); err != nil {
		answer(w, 400, client.Error{Message: err.Error()})
		return
	}
	state := client.StateRunning
	switch {
	case strings.Contains(r.SQL, "amuont"):
		answer(w, 400, client.Error{Message: `there is no column "amuont" here`, Line: 2, Column: 8, Hint: `did you mean "amount"?`})
		return
	case r.Name == "failing":
		state = client.StateFailed
	}
	q := fakeQuery(r.Name, state)
	q.Partitions, q.PartitionsRunning = 0, 0
	answer(w, 201, q)
}

func (f *fakeAPI) query(w http.ResponseWriter, r *http.Request, name, below string) {
	state := map[string]string{"lost": client.StateWaiting, "failing": client.StateFailed}[name]
	if state == "" {
		state = client.StateRunning
	}
	switch {
	case name == "none":
		answer(w, 404, client.Error{Message: `there is no query "none"`})
	case below == "" && r.Method == http.MethodDelete:
		answer(w, 200, fakeQuery(name, client.StateRemoving))
	case below == "" && name == "slow":
		d := fakeDetail(name, state)
		f.mu.Lock()
		f.polls++
		d.PartitionsRunning = min(f.polls, d.Partitions)
		f.mu.Unlock()
		answer(w, 200, d)
	case below == "":
		answer(w, 200, fakeDetail(name, state))
	case below == "pause":
		answer(w, 200, fakeQuery(name, client.StatePaused))
	case below == "resume":
		answer(w, 200, fakeQuery(name, client.StateRunning))
	case below == "topology":
		answer(w, 200, client.Topology{Query: name, Incarnation: 7, Generation: 1, Version: 9, CompleteEpoch: 12288, TrimEpoch: 12160,
			Stages:   []client.TopologyStage{{Stage: 1, KeyGroups: 256, Partitions: fakeParts(), Vaults: []client.VaultBlocks{{Blocks: []topology.BlockID{0, 1, 2, 7}, Members: []string{"n1/2a", "n3/2c"}, Wanted: 2, Full: 1}}}},
			SealSets: []client.SealSet{{Log: 5, Owner: "n1/2a", Term: 3, Members: []string{"n2/2b"}, Fenced: true}}})
	case below == "history":
		answer(w, 200, client.History{Entries: []client.HistoryEntry{{Seq: 1, Time: fakeTime, Kind: "added", Text: "by a user"}, {Seq: 2, Time: fakeTime, Kind: "recovery", Text: "n3 was lost", Figures: map[string]string{"restore_ms": "110", "detect_ms": "20"}}}})
	case below == "verify" && name == "wrong":
		answer(w, 200, client.VerifyLine{Verification: &client.Verification{Query: name, From: 1, To: 900, Chains: 12, Differences: []client.Difference{
			{Kind: client.DifferenceChain, Text: "operator dice, key group 4: other rows", Stage: 1, Operator: "dice", KeyGroup: 4, Epoch: 77}}}})
	case below == "verify":
		_, _ = io.WriteString(w, `{"progress":{"doing":"running","from_epoch":1,"epoch":450,"to_epoch":900,"rows":10,"state_bytes":20}}`+"\n\n")
		answer(w, 200, client.VerifyLine{Verification: &client.Verification{Query: name, Equal: true, Node: "n2", From: 1, To: 900, Checkpoints: 7, KeyGroups: 512, Chains: 512,
			Seals: 900, SealBytes: 1234, Rows: 1_000_000, Files: 3, FileBytes: 4_500_000, Tables: 1, TableRows: 77, NotCompared: []string{"log"}, ElapsedMs: 2500}})
	case below == "scale":
		answer(w, 200, fakeScale(name))
	case below == "recover":
		answer(w, 200, client.Recovered{Query: fakeQuery(name, client.StateRunning), From: 12288, Missing: []string{"rows of source 0 behind epoch 12288"}})
	case below == "tail":
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.WriteString(w, `{"sink":"counts","op":"+I","epoch":5,"key_group":3,"index":0,"row":{"word":"the","n":12345678901234567890}}`+"\n\n"+
			`{"sink":"counts","op":"-U","epoch":6,"key_group":3,"index":0,"row":{"word":null,"n":1.50}}`+"\n")
	default:
		answer(w, 404, client.Error{Message: "there is no " + below})
	}
}

func fakeScale(query string) client.Scale {
	return client.Scale{Query: query, Stages: []client.StageScale{{Stage: 0, Name: "lines", KeyGroups: 256, Partitions: 1, Auto: true},
		{Stage: 1, Name: "count", KeyGroups: 256, Partitions: 2, Wanted: 4, Changing: true}, {Stage: 2, Name: "sink", KeyGroups: 1, Partitions: 1, Wanted: 1, Auto: true, Min: 1, Max: 8}}}
}

func fakeAutoscale(paused bool) client.Autoscale {
	return client.Autoscale{Paused: paused, Queries: []client.Scale{fakeScale("wordcount")}, Policy: "rate", Leader: "n1", WantedNodes: 3, Why: "all partitions need 2.10 nodes",
		Loads: []client.AutoscaleQuery{{Name: "wordcount", Decided: fakeTime, Text: "stage 1: 4 partitions", Hot: []string{"key \"the\" is more than a node takes"},
			Stages: []client.AutoscaleStage{{Stage: 1, Name: "count", Partitions: 2, Fixed: 4, RowsInPerS: 1000, DemandRowsPerS: 1200, TrueRateRowsPerS: 600, UsedNodes: 1.7, NeededNodes: 2, HottestUse: .9, LagMs: 40}}}},
		Nodes: []client.AutoscaleNode{{Name: "n1", Use: .3, Cores: 4}, {Name: "n2", Use: -1}},
		Pool: &client.AutoscalePool{Provider: "ec2", Spares: 1, MaxNodes: 20, Nodes: 3, Needed: 4, Starting: 1, Error: "no capacity", ErrorKind: "capacity",
			Instances: []client.AutoscaleInstance{{ID: "i-0a", State: "running", Node: "n3", Launched: fakeTime, Zone: "eu-1a", Address: "10.0.0.3"}},
			Events:    []client.AutoscaleEvent{{Time: fakeTime, Text: "instance i-0a is started"}}}}
}

func fakeColumns() []client.Column {
	return []client.Column{{Name: "word", Type: "STRING NOT NULL"}, {Name: "n", Type: "BIGINT"}}
}

func (f *fakeAPI) table(w http.ResponseWriter, r *http.Request) {
	rows := []client.Row{client.Row(`{"word":"the","n":12}`), client.Row(`{"word":"a \"b\", c","n":null}`), client.Row(`{"word":"über","n":1234567}`)}
	keys := r.URL.Query()["key"]
	switch {
	case strings.Contains(r.URL.Query().Get("where"), "m >"):
		answer(w, 400, client.Error{Message: `there is no column "m" here`, Line: 1, Column: 1})
		return
	case len(keys) > 0 && keys[0] == "the":
		rows = rows[:1]
	case len(keys) > 0:
		rows = []client.Row{}
	}
	answer(w, 200, client.TableRead{Query: "wordcount", Table: "counts", Incarnation: 7, Epoch: 12345, Time: fakeTime, Columns: fakeColumns(), Rows: rows, Truncated: r.URL.Query().Get("limit") == "3"})
}

func (f *fakeAPI) allNodes() []client.Node {
	var all []client.Node
	for i := range f.nodes {
		all = append(all, client.Node{Name: fmt.Sprintf("n%d", i+1), Boot: "2a", Status: client.NodeAlive, Voter: true, Leader: i == 0, Partitions: 2, Cores: 4, MemoryBytes: 16e9, VaultBytes: 1234567, VaultBlocks: 3, UptimeMs: 65000,
			Zone: "eu-1a", Tags: map[string]string{"zone": "eu-1a", "disk": "ssd"}, Addresses: client.Addresses{HTTP: fmt.Sprintf("127.0.0.1:760%d", i), Data: fmt.Sprintf("10.0.0.%d:7602", i+1)},
			Rates: client.Rates{RowsInPerS: 50000}, Busy: .3, Started: fakeTime, LastReportMs: 120, ClockOffsetMs: -1.25, Fingerprint: "v1"})
	}
	all[len(all)-1].Status, all[len(all)-1].Reason = client.NodeLost, "connection ended\x1b[2J"
	return all
}

// fakeAgent takes the agent's place in processes that tests start: it serves the fake API, or fails as its name says.
func fakeAgent(ctx context.Context, c agent.Config) error {
	if c.Name == os.Getenv("SEEPNODE_TEST_AGENT_FAILS") {
		return fmt.Errorf("port %d is in use", c.DataPort)
	}
	f, err := startFake(c.HTTP, 2)
	if err != nil {
		return err
	}
	defer f.close()
	fmt.Println("agent", c.Name, "serves")
	<-ctx.Done()
	if os.Getenv("SEEPNODE_TEST_AGENT_HANGS") != "" {
		fmt.Println("asked to stop")
		select {}
	}
	return context.Cause(ctx)
}
