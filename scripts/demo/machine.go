package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/seepnode/seepnode/scripts/cluster"
)

// lookBudget bounds one look at the cluster.
const lookBudget = 2 * time.Second

// machine is the cluster as the show needs it.
type machine interface {
	// look asks a running node how everything is; an error is worth another look.
	look(ctx context.Context, query string) (*snapshot, error)
	// kill ends a node as kill -9 does; replace starts n new ones and waits until they belong to the cluster.
	kill(node string) error
	replace(ctx context.Context, n int) error
	// command runs seepnode against one node, its output for people to see.
	command(ctx context.Context, node string, args ...string) error
	// counts reads the whole table words.counts from one node.
	counts(ctx context.Context, node string) (map[string]int64, topology.Epoch, error)
	// check fails when a process ended by itself.
	check() error
}

// snapshot is what the cluster says of itself at one time.
type snapshot struct {
	leader string
	nodes  []client.Node
	query  *client.QueryDetail // nil: there is none yet
}

// realMachine is a cluster of real processes.
type realMachine struct {
	nodes   *cluster.Cluster
	program string
	asks    *client.Client
	of      []int // the agents that asks asks
}

func newMachine(nodes *cluster.Cluster, program string) *realMachine {
	return &realMachine{nodes: nodes, program: program}
}

func (m *realMachine) close() {
	if m.asks != nil {
		m.asks.Close()
	}
}

// poll is a client of all running agents.
func (m *realMachine) poll() (*client.Client, error) {
	running := m.nodes.Running()
	if m.asks != nil && slices.Equal(running, m.of) {
		return m.asks, nil
	}
	m.close()
	asks, err := m.nodes.Poll(running...)
	m.asks, m.of = asks, running
	return asks, err
}

func (m *realMachine) look(ctx context.Context, query string) (*snapshot, error) {
	asks, err := m.poll()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookBudget)
	defer cancel()
	status, err := asks.Status(ctx)
	if err != nil {
		return nil, err
	}
	s := &snapshot{leader: status.Leader}
	if s.nodes, err = asks.Nodes(ctx); err != nil {
		return nil, err
	}
	if s.query, err = asks.Query(ctx, query); client.IsNotFound(err) {
		s.query, err = nil, nil
	}
	return s, err
}

func (m *realMachine) agent(node string) (int, error) {
	if i := m.nodes.Find(node); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("the cluster names a node %q, which is none of its processes", node)
}

func (m *realMachine) kill(node string) error {
	i, err := m.agent(node)
	if err != nil {
		return err
	}
	return m.nodes.Kill(i)
}

func (m *realMachine) replace(ctx context.Context, n int) error { return m.nodes.Start(ctx, n) }

func (m *realMachine) check() error { return m.nodes.Check() }

func (m *realMachine) command(ctx context.Context, node string, args ...string) error {
	i, err := m.agent(node)
	if err != nil {
		return err
	}
	args = append(args, "--address", m.nodes.Agent(i).HTTP)
	command := exec.CommandContext(ctx, m.program, args...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEEPNODE_") })
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("seepnode %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (m *realMachine) counts(ctx context.Context, node string) (map[string]int64, topology.Epoch, error) {
	i, err := m.agent(node)
	if err != nil {
		return nil, 0, err
	}
	asks, err := m.nodes.Client(i)
	if err != nil {
		return nil, 0, err
	}
	defer asks.Close()
	return readCounts(ctx, asks, client.MaxTableRows)
}

// readCounts reads words.counts in pages, all at the epoch of the first.
func readCounts(ctx context.Context, asks *client.Client, page int) (map[string]int64, topology.Epoch, error) {
	words := map[string]int64{}
	request := client.TableReadRequest{Query: queryName, Table: "counts", OrderBy: "word", Limit: page}
	for {
		got, err := asks.ReadTable(ctx, request)
		if err != nil {
			return nil, 0, fmt.Errorf("reading table %s.counts: %w", queryName, err)
		}
		last := ""
		for _, text := range got.Rows {
			var row struct {
				Word *string `json:"word"`
				N    *int64  `json:"n"`
			}
			if err := json.Unmarshal(text, &row); err != nil || row.Word == nil || row.N == nil {
				return nil, 0, errors.Join(fmt.Errorf("table %s.counts has a row %s", queryName, text), err)
			}
			if _, twice := words[*row.Word]; twice {
				return nil, 0, fmt.Errorf("table %s.counts has the word %q twice", queryName, *row.Word)
			}
			words[*row.Word], last = *row.N, *row.Word
		}
		if !got.Truncated || len(got.Rows) == 0 {
			return words, got.Epoch, nil
		}
		request.Epoch = got.Epoch
		request.Where = "word > '" + strings.ReplaceAll(last, "'", "''") + "'"
	}
}
