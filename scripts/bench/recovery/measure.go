package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/cluster"
)

const (
	lookEvery = 10 * time.Millisecond
	// askEvery is how often the table is asked for the watched key, askMax how many questions may be open: the machine is to work for the
	// recovery, not for the questions.
	askEvery = 3 * time.Millisecond
	askMax   = 16
	// lagMost is the most that a query lags which has caught up.
	lagMost = 200 * time.Millisecond
	// lossBudget bounds what is measured of a loss, calmBudget the time until all is as before.
	lossBudget = 60 * time.Second
	calmBudget = 3 * time.Minute
)

// bench is a cluster under measurement.
type bench struct {
	*cluster.Cluster
	clock  sample.Clock
	groups map[int64]topology.KeyGroup // of the hot keys
	wanted int64                       // bytes of state that a loss is to take
}

// measureSize measures all kinds of loss with size MB in each partition.
func measureSize(ctx context.Context, o options, size int) (_ map[string]*result, err error) {
	c := cluster.Config{Program: o.program, KeepLogs: o.logs, LogsDir: o.trace, Flags: []string{"--autoscale", "off"}}
	if o.trace != "" {
		c.Flags = append(c.Flags, "--log-level", "debug")
	}
	nodes, err := cluster.New(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = nodes.Stop(err) }()
	if err := nodes.Start(ctx, 5); err != nil {
		return nil, err
	}
	b := &bench{Cluster: nodes, wanted: int64(size) * 1e6}
	keys := max(hotKeys, size*1e6*partitions/keyBytes)
	if err := b.add(ctx, keys, o.rows); err != nil {
		return nil, err
	}
	results := map[string]*result{}
	for _, kind := range o.kinds {
		r := &result{}
		results[kind] = r
		for n := range o.losses {
			if err := b.lose(ctx, kind, r); err != nil {
				return nil, fmt.Errorf("loss %d of a %s: %w", n+1, kind, err)
			}
			fmt.Fprintf(os.Stderr, "%s %3d MB, %-10s %3d of %d: first result %s ms, caught up %s ms, of %.1f MB in %d partitions\n", r.lost.Format("15:04:05.000"), size, kind,
				n+1, o.losses, sample.Ms(r.first[len(r.first)-1]), sample.Ms(r.caughtUp[len(r.caughtUp)-1]), float64(r.lostBytes)/1e6, r.lostParts)
		}
		r.stateBytes /= int64(o.losses)
	}
	return results, nil
}

// add adds the query and waits until its state is filled.
func (b *bench) add(ctx context.Context, keys, rows int) error {
	asks, err := b.Client()
	if err != nil {
		return err
	}
	defer asks.Close()
	sql := text(keys, rows)
	if err := os.WriteFile(filepath.Join(b.Dir(), "query.sql"), []byte(sql), 0o600); err != nil {
		return err
	}
	if _, err := asks.AddQuery(ctx, client.AddQueryRequest{Name: queryName, SQL: sql}); err != nil {
		return fmt.Errorf("adding the query: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, calmBudget+time.Duration(keys/fillRate)*2*time.Second, errors.New("the keys are not there in time"))
	defer cancel()
	err = b.Await(ctx, "the state to be filled", func(ctx context.Context) (bool, string, error) {
		q, err := asks.Query(ctx, queryName)
		if err != nil {
			return false, err.Error(), nil
		}
		full := q.StateBytes >= int64(keys)*textBytes
		return full && q.PartitionsRunning == q.Partitions, fmt.Sprintf("%s, %d of %d partitions run, %d bytes of state of %d", q.State, q.PartitionsRunning, q.Partitions, q.StateBytes, keys*keyBytes), nil
	})
	if err != nil {
		return err
	}
	if err := b.calm(ctx); err != nil {
		return err
	}
	q, err := asks.Query(ctx, queryName)
	if err != nil {
		return err
	}
	if b.clock, err = clockOf(ctx, asks, q.EpochMs); err != nil {
		return err
	}
	placed, err := asks.Topology(ctx, queryName)
	if err != nil {
		return err
	}
	stage := keyed(placed)
	if stage == nil {
		return errors.New("the query has no keyed stage")
	}
	b.groups = groupsOf(stage.KeyGroups)
	return nil
}

// calm waits until all nodes are there, all state has its copies, and the query runs without a lag and has a new complete checkpoint.
func (b *bench) calm(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, calmBudget, fmt.Errorf("not there after %s", calmBudget))
	defer cancel()
	if err := b.AwaitMembers(ctx); err != nil {
		return err
	}
	asks, err := b.Poll()
	if err != nil {
		return err
	}
	defer asks.Close()
	from := topology.Epoch(-1)
	return b.Await(ctx, "everything to be as before the loss", func(ctx context.Context) (bool, string, error) {
		q, err := asks.Query(ctx, queryName)
		if err != nil {
			return false, err.Error(), nil
		}
		ok := q.State == client.StateRunning && caughtUp(q) && q.BlocksBelowK == 0
		if !ok {
			from = -1
		} else if from < 0 {
			from = q.CompleteEpoch
		}
		return ok && q.CompleteEpoch > from, fmt.Sprintf("%s %s, %d of %d partitions run, lag %d ms, %d blocks below k", q.State, q.Reason, q.PartitionsRunning, q.Partitions, q.EpochLagMs, q.BlocksBelowK), nil
	})
}

func caughtUp(q *client.QueryDetail) bool {
	return q.Partitions > 0 && q.PartitionsRunning == q.Partitions && q.EpochLagMs < lagMost.Milliseconds()
}

// victim is a node to lose, what it runs, and a hot key of that.
type victim struct {
	agent  int
	parts  []client.Partition
	key    int64
	states int64
}

// lose loses a node, measures, and brings it back.
func (b *bench) lose(ctx context.Context, kind string, r *result) error {
	v, err := b.choose(ctx, kind)
	if err != nil {
		return err
	}
	var others []int
	for _, i := range b.Running() {
		if i != v.agent {
			others = append(others, i)
		}
	}
	recoveries, err := b.recoveries(ctx, others)
	if err != nil {
		return err
	}
	ended, err := endOf(b.Agent(v.agent).HTTP)
	if err != nil {
		return err
	}
	at := time.Now()
	if kind == kindVanished {
		err = b.Freeze(v.agent)
	} else {
		err = b.Kill(v.agent)
	}
	if err != nil {
		return err
	}
	if err := b.observe(ctx, others, v, at, recoveries, r); err != nil {
		return err
	}
	r.lostBytes, r.lostParts = v.states, len(v.parts)
	r.stateBytes += v.states / int64(len(v.parts))
	if kind == kindVanished {
		if err := b.Kill(v.agent); err != nil {
			return err
		}
	} else {
		r.ended = append(r.ended, (<-ended).Sub(at))
	}
	if err := b.Restart(v.agent); err != nil {
		return err
	}
	return b.calm(ctx)
}

// endOf connects with a process and tells when the connection ends: not before the system has taken back the memory of a process that was killed,
// and nobody can know of the loss before.
func endOf(address string) (<-chan time.Time, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting with the node to be lost: %w", err)
	}
	ended := make(chan time.Time, 1)
	go func() {
		_, _ = io.Copy(io.Discard, c) // however it ends
		ended <- time.Now()
		_ = c.Close()
	}()
	return ended, nil
}

func abs(x int64) int64 { return max(x, -x) }

// choose finds a node that runs partitions of the keyed stage and leads or does not: recoveries cut partitions up and leave nodes with more or
// less, so it is the one with the state nearest to what is to be lost. A leader is made of one that does not lead.
func (b *bench) choose(ctx context.Context, kind string) (*victim, error) {
	asks, err := b.Client()
	if err != nil {
		return nil, err
	}
	defer asks.Close()
	status, err := asks.Status(ctx)
	if err != nil {
		return nil, err
	}
	placed, err := asks.Topology(ctx, queryName)
	if err != nil {
		return nil, err
	}
	stage := keyed(placed)
	if stage == nil {
		return nil, errors.New("the query has no keyed stage")
	}
	victims := map[string]*victim{}
	for _, p := range stage.Partitions {
		if p.Role != client.RoleActive || p.Node == status.Leader {
			continue
		}
		if victims[p.Node] == nil {
			victims[p.Node] = &victim{agent: b.Find(p.Node)}
		}
		victims[p.Node].parts = append(victims[p.Node].parts, p)
		victims[p.Node].states += p.StateBytes
	}
	var v *victim
	for _, name := range slices.Sorted(maps.Keys(victims)) {
		if x := victims[name]; v == nil || abs(x.states-b.wanted) < abs(v.states-b.wanted) {
			v = x
		}
	}
	if v == nil {
		return nil, errors.New("no node but the leader runs a partition of the keyed stage")
	}
	name := b.Agent(v.agent).Name
	if v.key = b.watched(v.parts); v.key < 0 {
		return nil, fmt.Errorf("none of the watched keys is in a partition of %s", name)
	}
	if kind != kindLeader {
		return v, nil
	}
	if _, err := asks.TransferRaft(ctx, name); err != nil {
		return nil, fmt.Errorf("giving the lead to %s: %w", name, err)
	}
	return v, b.Await(ctx, "the lead of "+name, func(ctx context.Context) (bool, string, error) {
		s, err := asks.Status(ctx)
		if err != nil {
			return false, err.Error(), nil
		}
		return s.Leader == name, "the leader is " + s.Leader, nil
	})
}

// watched is the first hot key of a partition, of the first of them that has one; -1 when none has.
func (b *bench) watched(parts []client.Partition) int64 {
	for _, p := range parts {
		for k := range int64(hotKeys) {
			if p.Range.Contains(b.groups[k]) {
				return k
			}
		}
	}
	return -1
}

func (b *bench) recoveries(ctx context.Context, agents []int) (int, error) {
	asks, err := b.Client(agents...)
	if err != nil {
		return 0, err
	}
	defer asks.Close()
	q, err := asks.Query(ctx, queryName)
	if err != nil {
		return 0, err
	}
	return q.Recoveries, nil
}

// phasesWithin is how long after a recovery its phases are waited for.
const phasesWithin = 3 * time.Second

// observe measures a loss that happened at a time.
func (b *bench) observe(ctx context.Context, others []int, v *victim, at time.Time, recoveries int, r *result) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lossBudget, fmt.Errorf("not there after %s", lossBudget))
	defer cancel()
	asks, err := b.Poll(others...)
	if err != nil {
		return err
	}
	defer asks.Close()
	type answer struct {
		at  time.Time
		err error
	}
	first := make(chan answer, 1)
	go func() {
		t, err := b.firstResult(ctx, others, v.key, at)
		first <- answer{t, err}
	}()
	name := b.Agent(v.agent).Name
	var caught time.Time
	err = b.Await(ctx, "the query to catch up", func(ctx context.Context) (bool, string, error) {
		q, err := asks.Query(ctx, queryName)
		if err != nil {
			return false, err.Error(), nil
		}
		for _, p := range q.Parts {
			if p.Role == client.RoleActive && p.Node == name {
				return false, name + " is still thought to run", nil
			}
		}
		if caught.IsZero() && caughtUp(q) {
			caught = time.Now()
		}
		// The phases are told a little later than the query has caught up, and not at all when the leader has changed meanwhile.
		untold := q.Recoveries == recoveries || q.LastRecovery == nil
		if untold && !caught.IsZero() && time.Since(caught) > phasesWithin {
			return true, "", nil
		}
		if caught.IsZero() || untold {
			return false, fmt.Sprintf("%s, %d of %d partitions run, lag %d ms, %d recoveries", q.State, q.PartitionsRunning, q.Partitions, q.EpochLagMs, q.Recoveries), nil
		}
		l := q.LastRecovery
		for s, ms := range map[*sample.Sample]int64{&r.detect: l.DetectMs, &r.commit: l.CommitMs, &r.restore: l.RestoreMs, &r.replay: l.ReplayMs} {
			*s = append(*s, time.Duration(ms)*time.Millisecond)
		}
		return true, "", nil
	})
	if err != nil {
		cancel()
		<-first
		return err
	}
	a := <-first
	if a.err != nil {
		return a.err
	}
	r.lost = at
	r.first = append(r.first, a.at.Sub(at))
	r.caughtUp = append(r.caughtUp, caught.Sub(at))
	return nil
}

// firstResult asks for a key until its count holds a row that was created behind a time. Questions overlap: one that hangs at a
// node that is being replaced must not hide that another one is answered.
func (b *bench) firstResult(ctx context.Context, agents []int, key int64, after time.Time) (time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	asks := make([]*client.Client, len(agents))
	for i, agent := range agents {
		var err error
		if asks[i], err = b.Poll(agent); err != nil {
			cancel()
			return time.Time{}, err
		}
	}
	found, failed := make(chan time.Time, 1), make(chan error, 1)
	slots := make(chan struct{}, askMax)
	var open sync.WaitGroup
	defer func() {
		cancel()
		open.Wait()
		for _, a := range asks {
			a.Close()
		}
	}()
	ticks := time.NewTicker(askEvery)
	defer ticks.Stop()
	request := client.TableReadRequest{Query: queryName, Table: tableName, Key: []string{strconv.FormatInt(key, 10)}}
	for n := 0; ; n++ {
		select {
		case slots <- struct{}{}:
			open.Go(func() {
				defer func() { <-slots }()
				got, err := asks[n%len(asks)].ReadTable(ctx, request)
				now := time.Now()
				if err != nil || len(got.Rows) == 0 {
					return // not yet
				}
				switch at, err := created(b.clock, got.Rows[0]); {
				case err != nil:
					offer(failed, err)
				case at.After(after):
					offer(found, now)
				}
			})
		default: // too many are open
		}
		select {
		case t := <-found:
			return t, nil
		case err := <-failed:
			return time.Time{}, err
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("waiting for the first result of key %d: %w", key, context.Cause(ctx))
		case <-ticks.C:
		}
	}
}

// offer gives v to who waits, unless somebody was faster.
func offer[T any](to chan T, v T) {
	select {
	case to <- v:
	default:
	}
}
