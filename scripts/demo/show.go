package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	queryName  = "words"
	lookEvery  = 100 * time.Millisecond
	printEvery = time.Second
	// checkpointsBefore is how many complete checkpoints there are before the first node is killed.
	checkpointsBefore = 2
	// stepBudget bounds a step that a healthy cluster takes in a few seconds, runBudget the whole count.
	stepBudget = 60 * time.Second
	runBudget  = 10 * time.Minute
)

// show is the demo on a cluster that stands.
type show struct {
	machine machine
	out     io.Writer

	started     time.Time // when the query was added
	printed     time.Time
	checkpoint  topology.Epoch
	checkpoints int // complete ones that were seen
	recoveries  int
	nodes       string
}

// play adds the query, kills and replaces nodes and compares.
func (s *show) play(ctx context.Context, sql, files string, bytesPerSecond int64, want *wordCount) error {
	first, err := s.until(ctx, stepBudget, "a leader", func(v *snapshot) bool { return v.leader != "" && len(alive(v)) == 5 })
	if err != nil {
		return err
	}
	// The leader is to be killed. The query is added through one of the others and read from another one; a third is killed, too.
	others := slices.DeleteFunc(alive(first), func(node string) bool { return node == first.leader })
	through, reader := others[0], others[1]
	s.say("\nAdding the word count through %s:", through)
	if err := s.run(ctx, through, "query", "add", sql, "--name", queryName, "--set", "lines.path="+files, "--set", fmt.Sprintf("lines.source.bytes-per-second=%d", bytesPerSecond)); err != nil {
		return err
	}
	s.started = time.Now()
	before, err := s.until(ctx, stepBudget, "the second complete checkpoint", func(v *snapshot) bool {
		return s.checkpoints >= checkpointsBefore && running(v, "")
	})
	if err != nil {
		return err
	}
	victim := busiest(before, through, reader, before.leader)
	for _, node := range []string{victim, ""} {
		if err := s.killAndRecover(ctx, node); err != nil {
			return err
		}
	}
	s.say("Starting 2 replacements:")
	replacing, cancel := context.WithCancel(ctx)
	replaced := make(chan error, 1)
	go func() { replaced <- s.machine.replace(replacing, 2) }()
	defer func() {
		cancel()
		if replaced != nil {
			<-replaced
		}
	}()
	after, err := s.until(ctx, runBudget, "the end of the query", func(v *snapshot) bool { return v.query != nil && v.query.State == client.StateFinished })
	if err != nil {
		return err
	}
	err, replaced = <-replaced, nil
	if err != nil {
		return err
	}
	s.say("Finished after %.1f s. The ten most frequent words, read from %s:", time.Since(s.started).Seconds(), reader)
	if err := s.run(ctx, reader, "table", "scan", queryName+".counts", "--order-by", "n", "--desc", "--limit", "10"); err != nil {
		return err
	}
	got, epoch, err := s.machine.counts(ctx, reader)
	if err != nil {
		return err
	}
	if err := compare(want.words, got); err != nil {
		return err
	}
	s.say("All %s counts of epoch %s are those of find, tr, sort and uniq; %d nodes were killed, %d recoveries.", grouped(int64(len(got))), grouped(int64(epoch)), 2, after.query.Recoveries)
	return nil
}

// killAndRecover kills a node, "" for the leader, and waits until all that it ran runs elsewhere.
func (s *show) killAndRecover(ctx context.Context, node string) error {
	now, err := s.until(ctx, stepBudget, "a leader", func(v *snapshot) bool { return v.leader != "" })
	if err != nil {
		return err
	}
	what := ""
	if node == "" {
		node, what = now.leader, ", the leader"
	}
	if now.query == nil || now.query.State != client.StateRunning {
		return fmt.Errorf("the query is no longer running, so that killing %s would show nothing; give a lower -lines-per-second", node)
	}
	partitions := 0
	for _, p := range now.query.Parts {
		if p.Node == node && p.Role == client.RoleActive {
			partitions++
		}
	}
	s.say("kill -9 %s%s, which runs %d partitions", node, what, partitions)
	if err := s.machine.kill(node); err != nil {
		return err
	}
	killed := time.Now()
	after, err := s.until(ctx, stepBudget, "all that "+node+" ran to run elsewhere", func(v *snapshot) bool {
		return v.leader != "" && v.leader != node && !slices.Contains(alive(v), node) && running(v, node)
	})
	if err != nil {
		return err
	}
	s.say("everything runs again, seen %d ms after the kill; the leader is %s", time.Since(killed).Milliseconds(), after.leader)
	return nil
}

// run shows a command and runs it.
func (s *show) run(ctx context.Context, node string, args ...string) error {
	s.say("$ seepnode %s   # asks %s", strings.Join(args, " "), node)
	return s.machine.command(ctx, node, args...)
}

func (s *show) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// until looks at the cluster and shows it until what is awaited is there.
func (s *show) until(ctx context.Context, budget time.Duration, what string, there func(*snapshot) bool) (*snapshot, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, budget, fmt.Errorf("not there after %s", budget))
	defer cancel()
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	state := errors.New("nothing was heard")
	for {
		v, err := s.machine.look(ctx, queryName)
		switch {
		case err == nil:
			s.report(v)
			if there(v) {
				return v, nil
			}
			if q := v.query; q != nil && q.State == client.StateFailed {
				return nil, fmt.Errorf("waiting for %s: the query is %s: %s", what, q.State, q.Reason)
			}
			state = errors.New(brief(v))
		case ctx.Err() == nil:
			state = err
		}
		if err := s.machine.check(); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w (%v)", what, context.Cause(ctx), state)
		case <-ticks.C:
		}
	}
}

// report shows what has changed, and the figures once a second.
func (s *show) report(v *snapshot) {
	if q := v.query; q != nil {
		if q.CompleteEpoch > s.checkpoint {
			s.checkpoint = q.CompleteEpoch
			s.checkpoints++
		}
		if l := q.LastRecovery; q.Recoveries > s.recoveries && l != nil {
			s.recoveries = q.Recoveries
			s.say("  recovery of %s (%s): %d ms = detect %d + commit %d + restore %d + replay %d", l.Node, l.Reason, l.DetectMs+l.CommitMs+l.RestoreMs+l.ReplayMs,
				l.DetectMs, l.CommitMs, l.RestoreMs, l.ReplayMs)
		}
	}
	if now := nodesText(v); now != s.nodes {
		s.nodes = now
		s.say("  %s", now)
	}
	if v.query != nil && time.Since(s.printed) >= printEvery {
		s.printed = time.Now()
		s.say("  %5.1f s  %s", time.Since(s.started).Seconds(), s.figures(v))
	}
}

// nodesText says which nodes there are.
func nodesText(v *snapshot) string {
	text := "nodes:"
	for _, n := range v.nodes {
		text += " " + n.Name
		if n.Status != client.NodeAlive {
			text += " (" + n.Status + ")"
		}
		if n.Name == v.leader {
			text += " (leader)"
		}
	}
	return text
}

func (s *show) figures(v *snapshot) string {
	q := v.query
	return fmt.Sprintf("%-8s  %9s lines/s  epoch %6s  checkpoint %6s (the %d. complete one)  %d of %d partitions run", q.State, grouped(int64(q.Rates.RowsInPerS)),
		grouped(int64(q.Epoch)), grouped(int64(q.CompleteEpoch)), s.checkpoints, q.PartitionsRunning, q.Partitions)
}

func brief(v *snapshot) string {
	text := nodesText(v)
	if q := v.query; q != nil {
		text += fmt.Sprintf("; query %s, %d of %d partitions run", q.State, q.PartitionsRunning, q.Partitions)
		if q.Reason != "" {
			text += ": " + q.Reason
		}
	}
	return text
}

// alive are the names of the nodes that are, ascending.
func alive(v *snapshot) []string {
	var names []string
	for _, n := range v.nodes {
		if n.Status == client.NodeAlive {
			names = append(names, n.Name)
		}
	}
	return names
}

// running says whether every partition of the query runs, none of them on a node that is gone.
func running(v *snapshot, gone string) bool {
	q := v.query
	if q == nil || q.Partitions == 0 || q.PartitionsRunning < q.Partitions || q.State != client.StateRunning && q.State != client.StateFinished {
		return false
	}
	return gone == "" || !slices.ContainsFunc(q.Parts, func(p client.Partition) bool { return p.Role == client.RoleActive && p.Node == gone })
}

// busiest is the alive node with the most active partitions that is none of those spared; of several the first.
func busiest(v *snapshot, spared ...string) string {
	best, most := "", -1
	for _, node := range alive(v) {
		n := 0
		for _, p := range v.query.Parts {
			if p.Node == node && p.Role == client.RoleActive {
				n++
			}
		}
		if n > most && !slices.Contains(spared, node) {
			best, most = node, n
		}
	}
	return best
}
