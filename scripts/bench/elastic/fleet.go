package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/scripts/cluster"
)

const (
	voters = 3
	// coresMost is the most that all workers get, so that the voters and the readers are not starved on two cores.
	coresMost = 1.6
	// lagMost is the most that a query lags which has caught up.
	lagMost = 200 * time.Millisecond
	// settleBudget bounds the time that a query takes to run as it should.
	settleBudget = 2 * time.Minute
)

// fleet is a cluster of voters and small computers.
type fleet struct {
	*cluster.Cluster
	program string
	asks    *client.Client // of the voters
	clock   clock
}

// newFleet starts a cluster with workers of so many cores each.
func (b *bench) newFleet(ctx context.Context, workers int, cores float64, flags ...string) (*fleet, error) {
	if all := float64(workers) * cores; all > coresMost+1e-9 {
		return nil, fmt.Errorf("%d workers of %g cores are more than %g", workers, cores, coresMost)
	}
	nodes, err := cluster.New(cluster.Config{Program: b.program, KeepLogs: b.logs, Flags: flags})
	if err != nil {
		return nil, err
	}
	f := &fleet{Cluster: nodes, program: b.program}
	var machines []cluster.Machine
	for range voters {
		machines = append(machines, cluster.Machine{Flags: []string{"--tag", "role=control"}})
	}
	if err := nodes.StartOn(ctx, machines...); err != nil {
		return nil, f.close(err)
	}
	if err := f.grow(ctx, workers, cores); err != nil {
		return nil, f.close(err)
	}
	if f.asks, err = nodes.Client(0, 1, 2); err != nil {
		return nil, f.close(err)
	}
	return f, nil
}

// grow adds workers.
func (f *fleet) grow(ctx context.Context, workers int, cores float64) error {
	var machines []cluster.Machine
	for range workers {
		machines = append(machines, cluster.Machine{Cores: cores, Flags: []string{"--tag", "role=worker"}})
	}
	return f.StartOn(ctx, machines...)
}

func (f *fleet) close(failure error) error {
	if f.asks != nil {
		f.asks.Close()
	}
	return f.Stop(failure)
}

// start adds a query.
func (f *fleet) start(ctx context.Context, w workload) error {
	q, err := f.asks.AddQuery(ctx, client.AddQueryRequest{Name: queryName, SQL: w.text()})
	if err != nil {
		return fmt.Errorf("adding the query: %w", err)
	}
	f.clock, err = clockOf(ctx, f.asks, q.EpochMs)
	return err
}

// add adds a query and waits until it runs, what fills its state has been taken in, and it has caught up.
func (f *fleet) add(ctx context.Context, w workload) error {
	if err := f.start(ctx, w); err != nil {
		return err
	}
	return f.settle(ctx, func(q *client.QueryDetail) bool { return q.StateBytes >= int64(w.keys)*int64(w.stateBytes) })
}

// settle waits until the query runs without a lag, all its state has its copies, and more.
func (f *fleet) settle(ctx context.Context, more func(*client.QueryDetail) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleBudget, fmt.Errorf("not there after %s", settleBudget))
	defer cancel()
	return f.Await(ctx, "the query to run without a lag", func(ctx context.Context) (bool, string, error) {
		q, err := f.query(ctx)
		if err != nil {
			return false, err.Error(), nil
		}
		if q.State == client.StateFailed {
			return false, "", errors.New(q.Reason)
		}
		done := q.State == client.StateRunning && caughtUp(q) && q.BlocksBelowK == 0 && more(q)
		return done, fmt.Sprintf("%s %s, %d of %d partitions run, lag %d ms, %d blocks below k, %d bytes of state", q.State, q.Reason, q.PartitionsRunning, q.Partitions,
			q.EpochLagMs, q.BlocksBelowK, q.StateBytes), nil
	})
}

func (f *fleet) query(ctx context.Context) (*client.QueryDetail, error) {
	return f.asks.Query(ctx, queryName)
}

func caughtUp(q *client.QueryDetail) bool {
	return q.Partitions > 0 && q.PartitionsRunning == q.Partitions && q.EpochLagMs < lagMost.Milliseconds()
}
