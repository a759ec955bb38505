package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider"
	"github.com/seepnode/seepnode/scripts/fleet"
)

// agents starts and ends the processes behind machines.
type agents interface {
	// start starts an agent that says it runs on an instance, and gives its name.
	start(instance string) (name string, err error)
	runs(name string) bool
	// end ends one, which has a moment to say goodbye while ctx lasts. It returns when the agent is gone.
	end(ctx context.Context, name string) error
}

// workers are the agents of a fleet.
type workers struct{ fleet *fleet.Fleet }

func (w workers) start(instance string) (string, error) {
	return w.fleet.LaunchWorker("--instance", instance)
}

func (w workers) runs(name string) bool { return w.fleet.WorkerRuns(name) }

func (w workers) end(ctx context.Context, name string) error { return w.fleet.EndWorker(ctx, name) }

// machines are the small computers that the pool may have, so many at once. Each is an agent, after whose name it is called. They are all
// there is of the provider: the commands that the leader runs only carry words to and from here.
type machines struct {
	agents agents
	most   int
	now    func() time.Time

	mu   sync.Mutex
	list []*machine // in the order of their start, those that have ended as well: their tokens are used
}

type machine struct {
	provider.Instance
	cluster string
	ended   bool
}

// launch starts a machine, or gives the one that the token was used for.
func (m *machines) launch(cluster, token string) (provider.Instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look()
	if err := provider.CheckToken(token); err != nil {
		return provider.Instance{}, err
	}
	running := 0
	for _, x := range m.list {
		if x.cluster == cluster && x.Token == token {
			if x.ended {
				return provider.Instance{}, fmt.Errorf("machine %s was started for %s and has ended", x.ID, token)
			}
			return x.Instance, nil
		}
		if !x.ended {
			running++
		}
	}
	if running >= m.most {
		return provider.Instance{}, &provider.Error{Kind: provider.Capacity, Err: fmt.Errorf("all %d machines are in use", m.most)}
	}
	name, err := m.agents.start(token)
	if err != nil {
		return provider.Instance{}, err
	}
	x := &machine{cluster: cluster, Instance: provider.Instance{ID: name, Token: token, State: provider.Running, LaunchedMs: m.now().UnixMilli()}}
	m.list = append(m.list, x)
	return x.Instance, nil
}

// terminate ends machines and returns when they are gone. Those that are not there are passed over.
func (m *machines) terminate(ctx context.Context, cluster string, ids []string) error {
	m.mu.Lock()
	m.look()
	var ending []*machine
	for _, x := range m.list {
		if x.cluster == cluster && !x.ended && x.State != provider.Stopping && slices.Contains(ids, x.ID) {
			x.State = provider.Stopping
			ending = append(ending, x)
		}
	}
	m.mu.Unlock()
	var all sync.WaitGroup
	errs := make([]error, len(ending))
	for i, x := range ending {
		all.Go(func() { errs[i] = m.agents.end(ctx, x.ID) })
	}
	all.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, x := range ending {
		if errs[i] != nil {
			x.State = provider.Running // it is listed and may be ended again
		}
		x.ended = errs[i] == nil
	}
	return errors.Join(errs...)
}

// instances are the machines of a cluster that have not ended.
func (m *machines) instances(cluster string) []provider.Instance {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look()
	list := []provider.Instance{}
	for _, x := range m.list {
		if x.cluster == cluster && !x.ended {
			list = append(list, x.Instance)
		}
	}
	return list
}

// running are the names of the machines that run.
func (m *machines) running() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look()
	for _, x := range m.list {
		if !x.ended {
			names = append(names, x.ID)
		}
	}
	return names
}

// look notes which machines have ended of themselves, killed ones among them. The caller holds the lock.
func (m *machines) look() {
	for _, x := range m.list {
		x.ended = x.ended || x.State != provider.Stopping && !m.agents.runs(x.ID)
	}
}
