package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/cluster"
)

const (
	Voters = 3
	// coresMost is the most that all workers get, so that the voters and the readers are not starved on two cores.
	coresMost = 1.6
	// LagMost is the most that a query lags which has caught up.
	LagMost = 200 * time.Millisecond
	// settleBudget bounds the time that a query takes to run as it should, with FilledIn for each of its keys.
	settleBudget = 2 * time.Minute
	// FilledIn is how long a small computer takes to fill a key in, with room.
	FilledIn = 250 * time.Microsecond
	// farewellWait is how long a worker that is ended has for its goodbye.
	farewellWait = 5 * time.Second
)

// Config says what a fleet is.
type Config struct {
	Program  string // the seepnode binary
	KeepLogs bool
	Workers  int
	Cores    float64  // of each worker; 0: they are not limited
	Flags    []string // of all agents
}

// Fleet is a cluster of voters, which are not limited and run no partitions, and of small computers.
type Fleet struct {
	*cluster.Cluster
	Asks   *client.Client // of the voters
	Clock  sample.Clock   // of the query, once it is started
	config Config
}

// New starts a fleet.
func New(ctx context.Context, c Config) (*Fleet, error) {
	if all := float64(c.Workers) * c.Cores; all > coresMost+1e-9 {
		return nil, fmt.Errorf("%d workers of %g cores are more than %g", c.Workers, c.Cores, coresMost)
	}
	f, err := Prepare(c)
	if err != nil {
		return nil, err
	}
	if err := f.Lead(ctx); err != nil {
		return nil, f.Close(err)
	}
	if err := f.Grow(ctx, c.Workers); err != nil {
		return nil, f.Close(err)
	}
	return f, nil
}

// Prepare makes a fleet's directory and starts nothing. Lead follows, and Close.
func Prepare(c Config) (*Fleet, error) {
	nodes, err := cluster.New(cluster.Config{Program: c.Program, KeepLogs: c.KeepLogs, Flags: c.Flags})
	if err != nil {
		return nil, err
	}
	return &Fleet{Cluster: nodes, config: c}, nil
}

// Lead starts the voters, with flags that only who may lead needs, and waits until they are a cluster.
func (f *Fleet) Lead(ctx context.Context, flags ...string) (err error) {
	var machines []cluster.Machine
	for range Voters {
		machines = append(machines, cluster.Machine{Flags: append([]string{"--tag", "role=control"}, flags...)})
	}
	if err := f.StartOn(ctx, machines...); err != nil {
		return err
	}
	f.Asks, err = f.Client(0, 1, 2)
	return err
}

// Grow adds workers.
func (f *Fleet) Grow(ctx context.Context, workers int) error {
	var machines []cluster.Machine
	for range workers {
		machines = append(machines, f.worker())
	}
	return f.StartOn(ctx, machines...)
}

func (f *Fleet) worker(flags ...string) cluster.Machine {
	return cluster.Machine{Cores: f.config.Cores, Flags: append([]string{"--tag", "role=worker"}, flags...)}
}

// LaunchWorker starts one more worker, with flags of its own, gives its name and does not wait for it. It ends when it is told to leave
// the cluster.
func (f *Fleet) LaunchWorker(flags ...string) (string, error) {
	if f.Len() < Voters {
		return "", errors.New("the voters are not all started: the first agents of a fleet are these")
	}
	workers := 1
	for _, i := range f.Running() {
		if i >= Voters {
			workers++
		}
	}
	if all := float64(workers) * f.config.Cores; all > coresMost+1e-9 {
		return "", fmt.Errorf("%d workers of %g cores are more than %g", workers, f.config.Cores, coresMost)
	}
	machine := f.worker(flags...)
	machine.Leaves = true
	i, err := f.Launch(machine)
	if err != nil {
		return "", err
	}
	return f.Agent(i).Name, nil
}

// EndWorker ends a worker, which gets a moment to say goodbye unless ctx ends, and gives up what it had. One that is gone already is fine.
func (f *Fleet) EndWorker(ctx context.Context, name string) error {
	i := f.Find(name)
	if i < Voters {
		return fmt.Errorf("there is no worker %s", name)
	}
	if f.PID(i) != 0 {
		farewell, cancel := context.WithTimeout(ctx, farewellWait)
		defer cancel()
		if f.Terminate(farewell, i) != nil && f.PID(i) != 0 {
			if err := f.Kill(i); err != nil && f.PID(i) != 0 {
				return err
			}
		}
	}
	return f.Release(i)
}

// WorkerRuns says whether a worker's process runs.
func (f *Fleet) WorkerRuns(name string) bool {
	i := f.Find(name)
	return i >= Voters && f.PID(i) != 0
}

// Close ends everything; failure is why, and part of the answer.
func (f *Fleet) Close(failure error) error {
	if f.Asks != nil {
		f.Asks.Close()
	}
	return f.Stop(failure)
}

// Start adds a query.
func (f *Fleet) Start(ctx context.Context, w Workload) error {
	q, err := f.Asks.AddQuery(ctx, client.AddQueryRequest{Name: QueryName, SQL: w.Text()})
	if err != nil {
		return fmt.Errorf("adding the query: %w", err)
	}
	f.Clock, err = clockOf(ctx, f.Asks, q.EpochMs)
	return err
}

// Add adds a query and waits until it runs, what fills its state has been taken in, and it has caught up.
func (f *Fleet) Add(ctx context.Context, w Workload) error {
	if err := f.Start(ctx, w); err != nil {
		return err
	}
	return f.settle(ctx, settleBudget+time.Duration(w.Keys)*FilledIn, filled)
}

// filled says that the first source, which fills the state, has ended. That the state has as many bytes as the texts says less: keys have some, too.
func filled(q *client.QueryDetail) bool {
	return !slices.ContainsFunc(q.Parts, func(p client.Partition) bool { return p.Stage == q.Stages[0].Stage && p.Phase != client.PhaseEnded })
}

// Settle waits until the query runs without a lag, all its state has its copies, and more.
func (f *Fleet) Settle(ctx context.Context, more func(*client.QueryDetail) bool) error {
	return f.settle(ctx, settleBudget, more)
}

func (f *Fleet) settle(ctx context.Context, within time.Duration, more func(*client.QueryDetail) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("not there after %s", within))
	defer cancel()
	return f.Await(ctx, "the query to run without a lag", func(ctx context.Context) (bool, string, error) {
		q, err := f.Query(ctx)
		if err != nil {
			return false, err.Error(), nil
		}
		if q.State == client.StateFailed {
			return false, "", errors.New(q.Reason)
		}
		done := q.State == client.StateRunning && CaughtUp(q) && q.BlocksBelowK == 0 && more(q)
		return done, fmt.Sprintf("%s %s, %d of %d partitions run, lag %d ms, %d blocks below k, %d bytes of state", q.State, q.Reason, q.PartitionsRunning, q.Partitions,
			q.EpochLagMs, q.BlocksBelowK, q.StateBytes), nil
	})
}

// Query asks for all of the query.
func (f *Fleet) Query(ctx context.Context) (*client.QueryDetail, error) {
	return f.Asks.Query(ctx, QueryName)
}

// CaughtUp says whether all partitions of a query run and it does not lag.
func CaughtUp(q *client.QueryDetail) bool {
	return q.Partitions > 0 && q.PartitionsRunning == q.Partitions && q.EpochLagMs < LagMost.Milliseconds()
}

// KeyedStage is the stage that reads no source, which is the last.
func KeyedStage(q *client.QueryDetail) client.StageInfo { return q.Stages[len(q.Stages)-1] }

// Layout is how many nodes run something of a query, and how many of them something of its keyed stage: a node that has taken neighbours over
// may run several partitions beside each other.
func Layout(q *client.QueryDetail) (nodes, keyed int) {
	all, of := map[string]bool{}, map[string]bool{}
	stage := KeyedStage(q).Stage
	for _, p := range q.Parts {
		if p.Role != client.RoleActive {
			continue
		}
		all[p.Node] = true
		if p.Stage == stage {
			of[p.Node] = true
		}
	}
	return len(all), len(of)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
