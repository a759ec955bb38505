package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/cluster"
)

const (
	queryName = "latency"
	tableName = "counts"
	keys      = 1000
	// watchedKey has rows in every epoch at any rate that is measured.
	watchedKey = "0"
	settle     = 60 * time.Second
	// instant is the distance of the instants of creation that are measured.
	instant = time.Millisecond
)

// text is a keyed count of which one key gets a fifth of the rows.
func text(rows int) string {
	return fmt.Sprintf(`
SET 'parallelism.default' = '%d';
CREATE TABLE steady (r BIGINT NOT NULL, c BIGINT NOT NULL) WITH ('connector' = 'datagen', 'rows-per-second' = '%d',
  'fields.r.min' = '0', 'fields.r.max' = '4', 'fields.c.min' = '1', 'fields.c.max' = '%d');
CREATE TABLE %s (k BIGINT NOT NULL, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'table');
INSERT INTO %s SELECT k, COUNT(*) FROM (SELECT CASE WHEN r = 0 THEN 0 ELSE c END AS k FROM steady) GROUP BY k;
`, nodeCount, rows, keys, tableName, tableName)
}

// measurement is what was measured at one rate.
type measurement struct {
	seen   sample.Sample
	epochs int
	epoch  time.Duration
	cores  float64
}

func measureRate(ctx context.Context, o options, rows int) (m *measurement, err error) {
	nodes, err := cluster.New(o.cluster())
	if err != nil {
		return nil, err
	}
	defer func() { err = nodes.Stop(err) }()
	if err := nodes.Start(ctx, nodeCount); err != nil {
		return nil, err
	}
	q, err := addQuery(ctx, nodes, text(rows), 1)
	if err != nil {
		return nil, err
	}
	m = &measurement{epoch: time.Duration(q.EpochMs) * time.Millisecond}
	if err := pause(ctx, o.warm); err != nil {
		return nil, err
	}
	measured, cancel := context.WithTimeout(ctx, o.lasts)
	defer cancel()
	before, err := cpuOf(nodes)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	var profiling sync.WaitGroup
	var failed error
	profiling.Go(func() { failed = profile(measured, o, nodes, fmt.Sprintf("rate%d", rows), o.lasts) })
	watched := m.watch(measured, nodes)
	profiling.Wait()
	after, err := cpuOf(nodes)
	m.cores = (after - before).Seconds() / time.Since(started).Seconds()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := errors.Join(watched, failed, err, nodes.Check()); err != nil {
		return nil, err
	}
	if len(m.seen) == 0 {
		return nil, errors.New("no epoch became visible while it was measured")
	}
	return m, nil
}

// addQuery adds a query and waits until it runs and has a complete checkpoint of at least an epoch; an idle query never gets one beyond 0.
func addQuery(ctx context.Context, nodes *cluster.Cluster, sql string, complete topology.Epoch) (*client.QueryDetail, error) {
	asks, err := nodes.Client()
	if err != nil {
		return nil, err
	}
	defer asks.Close()
	if _, err := asks.AddQuery(ctx, client.AddQueryRequest{Name: queryName, SQL: sql}); err != nil {
		return nil, fmt.Errorf("adding the query: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, settle, fmt.Errorf("not there after %s", settle))
	defer cancel()
	var q *client.QueryDetail
	err = nodes.Await(ctx, "the query to run", func(ctx context.Context) (bool, string, error) {
		var err error
		if q, err = asks.Query(ctx, queryName); err != nil {
			return false, err.Error(), nil
		}
		return q.State == client.StateRunning && q.PartitionsRunning == q.Partitions && q.Partitions > 0 && q.CompleteEpoch >= complete,
			fmt.Sprintf("%s %s, %d of %d partitions run, checkpoint %d", q.State, q.Reason, q.PartitionsRunning, q.Partitions, q.CompleteEpoch), nil
	})
	return q, err
}

// turn is how many epochs in a row are waited for at one node.
const turn = 20

// watch waits for the table's epochs, one after the other, at the nodes in turn, until ctx ends.
func (m *measurement) watch(ctx context.Context, nodes *cluster.Cluster) error {
	var asks []*client.Client
	for _, i := range nodes.Running() {
		c, err := nodes.Poll(i)
		if err != nil {
			return err
		}
		defer c.Close()
		asks = append(asks, c)
	}
	request := client.TableReadRequest{Query: queryName, Table: tableName, Key: []string{watchedKey}}
	for last := topology.Epoch(0); ; m.epochs++ {
		at := m.epochs / turn % len(asks)
		got, err := asks[at].ReadTable(ctx, request)
		now := time.Now()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the table at %s: %w", nodes.Agent(nodes.Running()[at]).Name, err)
		}
		if last > 0 && got.Epoch <= last {
			return fmt.Errorf("reading the table at %s: epoch %d after epoch %d", nodes.Agent(nodes.Running()[at]).Name, got.Epoch, last)
		}
		if last > 0 {
			m.seen = append(m.seen, visible(last, got.Epoch, got.Time, m.epoch, now)...)
		}
		last = got.Epoch
		request.MinEpoch = last + 1
	}
}

// visible are the ages, at an instant, of rows created in regular distances in the epochs behind last up to epoch, whose time is at.
func visible(last, epoch topology.Epoch, at time.Time, length time.Duration, now time.Time) sample.Sample {
	var ages sample.Sample
	for created := at.Add(-time.Duration(epoch-last)*length + instant/2); created.Before(at); created = created.Add(instant) {
		ages = append(ages, now.Sub(created))
	}
	return ages
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
