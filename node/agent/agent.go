package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/agent/member"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/api/metrics"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/node/table"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Agent is one node of a cluster.
type Agent struct {
	config Config
	world  *surroundings
	clock  *clock
	log    *slog.Logger

	self    topology.Process
	old     uint64 // the cluster that the data directory is of; 0: it is new
	record  raftfsm.Node
	started time.Time
	// binary is what this node can run: the configured connectors and its own tables.
	binary catalog
	tables *table.Store
	plans  plans

	mux     *port.Mux
	gossip  *gossiping
	member  *member.Member
	reports *coordinator.ReportTable
	rates   rates
	scaler  *scaler
	reader  *table.Reader
	metrics *metrics.Metrics
	meter   transport.Meter // of the dataplane and the vaults
	control *webServer
	public  *webServer
	web     net.Listener // of the API for people, until it is served

	ctx     context.Context // of all work
	cancel  context.CancelCauseFunc
	running sync.WaitGroup
	failed  chan struct{} // closed when the agent can go on no more, with err

	mu      sync.Mutex
	err     error
	work    *work // nil before this process has joined
	leaving bool
	// children are the nodes that this process has started, nil before the first.
	children offspring
	// completed are the latest checkpoints that this node, as the leader, has committed, by query.
	completed map[string]completed

	verifying sync.Mutex // held by a verification: one at a time

	close    sync.Once
	closeErr error
}

// Run is an agent from its start to its end. It returns nil when ctx has ended and the agent with it: with ErrStop as the cause it
// first hands over what it holds, until hard ends too or a limit of time is reached.
func Run(ctx context.Context, c Config, options ...Option) error {
	a, err := Start(ctx, c, options...)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-a.failed:
		return errors.Join(a.Err(), a.Close())
	}
	if errors.Is(context.Cause(ctx), ErrStop) {
		a.Leave(context.WithoutCancel(ctx))
	}
	return a.Close()
}

// Start opens the data directory and the ports and begins to found, join or go on. It returns when the ports serve: whether the node is
// in a cluster by then is what Ready says. ctx bounds nothing but the starting.
func Start(ctx context.Context, c Config, options ...Option) (*Agent, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	a := &Agent{config: c, world: outside(options), failed: make(chan struct{}), tables: table.NewStore()}
	a.clock = newClock(a.world.now)
	a.scaler = &scaler{a: a}
	a.started, a.reports, a.reader = a.clock.own(), coordinator.NewReportTable(a.clock.now), newReader(a)
	a.log = a.world.logger
	if a.log == nil {
		a.log = newLogger(&c, a.world.stderr)
	}
	a.ctx, a.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := a.start(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Agent) start() error {
	cluster, err := a.claim()
	if err != nil {
		return err
	}
	a.old = cluster
	if a.binary, err = newCatalog(&a.config, a.tables); err != nil {
		return err
	}
	if err := a.listen(cluster); err != nil {
		return err
	}
	if err := a.describe(); err != nil {
		return err
	}
	if a.gossip, err = startGossip(a, cluster); err != nil {
		return err
	}
	if err := a.openMember(cluster); err != nil {
		return err
	}
	if err := a.serve(); err != nil {
		return err
	}
	a.limitMemory()
	a.running.Go(a.live)
	a.running.Go(func() { a.watchNotice(a.ctx) })
	a.running.Go(func() { a.rates.run(a.ctx, a.reports, a.clock.now) })
	a.log.Info("agent started", "node", a.self.Node, "boot", fmt.Sprintf("%x", uint64(a.self.Boot)), "data", a.record.Addresses.Data,
		"gossip", a.record.Addresses.Gossip, "http", a.record.Addresses.HTTP, "data_dir", a.config.DataDir)
	return nil
}

// claim takes the data directory for this node and draws the boot id. It gives the cluster that the directory belongs to, 0 for none.
func (a *Agent) claim() (cluster uint64, err error) {
	a.self.Node = topology.NodeID(a.config.Name)
	boot, err := a.world.chance()
	if err != nil {
		return 0, err
	}
	a.self.Boot = topology.BootID(boot)
	if _, err := raftfsm.ClaimDir(a.config.DataDir, a.self.Node, 0); err != nil {
		return 0, explainDir(a.config.DataDir, err)
	}
	id, err := raftfsm.ReadIdentity(a.raftDir())
	if err != nil {
		return 0, explainDir(a.config.DataDir, err)
	}
	return id.Cluster, nil
}

func (a *Agent) raftDir() string { return filepath.Join(a.config.DataDir, "raft") }

// explainDir adds what to do to an error about the data directory.
func explainDir(dir string, err error) error {
	switch {
	case errors.Is(err, raftfsm.ErrDirInUse):
		return fmt.Errorf("%w: another agent runs with --data-dir %s; stop it, or give this one another directory", err, dir)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: give a directory that this user may write, with --data-dir", err)
	}
	return err
}

// listen opens the data port and the one for people.
func (a *Agent) listen(cluster uint64) error {
	network := a.world.network
	var secret *port.Credentials
	if a.config.TLS != (port.CredentialFiles{}) {
		var err error
		if secret, err = port.OpenCredentials(a.config.TLS, a.log); err != nil {
			return fmt.Errorf("TLS (--tls-cert, --tls-key, --tls-ca): %w", err)
		}
		network = port.TLS{Network: network, Credentials: secret}
	}
	l, err := listen(network, hostPort(a.config.Bind, a.config.DataPort), "data-port")
	if err != nil {
		return err
	}
	a.mux = port.NewMux(port.Config{Listener: l, Network: network, Cluster: cluster, HTTP: a.config.HTTP, Logger: a.log})
	if a.web, err = listen(a.world.network, a.config.HTTP, "http"); err != nil {
		return err
	}
	if secret != nil && !a.config.HTTPIsLoopback() {
		a.web = tls.NewListener(a.web, secret.HTTPS())
	}
	return nil
}

// describe makes the record that this process joins with.
func (a *Agent) describe() error {
	host, err := advertised(&a.config)
	if err != nil {
		return err
	}
	operators := a.binary.operators.Names()
	slices.Sort(operators)
	print, err := fingerprint(len(operators) > 0)
	if err != nil {
		return err
	}
	a.record = raftfsm.Node{
		ID: a.self.Node, Boot: a.self.Boot, Fingerprint: print, Operators: operators,
		Addresses: raftfsm.Addresses{Data: net.JoinHostPort(host, portOf(a.mux.Addr())), HTTP: a.web.Addr().String()},
		Zone:      a.config.Tags["zone"], Spot: a.config.Tags["spot"] == "true",
		Cores: runtime.GOMAXPROCS(0), MemoryBytes: memoryLimit(a.config.MemoryLimit),
	}
	for key, value := range a.config.Tags {
		a.record.Tags = append(a.record.Tags, raftfsm.KV{Key: key, Value: value})
	}
	if at, err := a.instance(); err != nil {
		return err
	} else if at != "" {
		a.record.Tags = append(a.record.Tags, raftfsm.KV{Key: tagInstance, Value: at})
	}
	slices.SortFunc(a.record.Tags, func(x, y raftfsm.KV) int { return strings.Compare(x.Key, y.Key) })
	return nil
}

// openMember opens this process's part in the Raft group.
func (a *Agent) openMember(cluster uint64) error {
	incoming, err := a.mux.Listen(port.Raft)
	if err != nil {
		return err
	}
	rc := raftfsm.DefaultConfig()
	rc.Dir = a.raftDir()
	a.world.raft(&rc)
	dial := func(k port.Kind) func(context.Context, string) (net.Conn, error) {
		return func(ctx context.Context, address string) (net.Conn, error) { return a.mux.Dial(ctx, k, address) }
	}
	a.member, err = member.Open(member.Config{
		Node: a.record, Raft: rc, Joins: a.config.Join, Expect: a.config.BootstrapExpect, Others: a.gossip.candidates,
		Incoming: reachedAt{incoming, a.record.Addresses.Data}, DialRaft: dial(port.Raft), DialControl: dial(port.Control),
		Loop: a.lead, Logger: a.log, Now: a.clock.now, Chance: a.world.chance,
	})
	if err != nil {
		return explainDir(a.config.DataDir, err)
	}
	return nil
}

// reachedAt is a listener that says where others reach it: Raft tells them.
type reachedAt struct {
	net.Listener
	address string
}

func (l reachedAt) Addr() net.Addr { return dataAddress(l.address) }

type dataAddress string

func (dataAddress) Network() string  { return "tcp" }
func (a dataAddress) String() string { return string(a) }

// limitMemory makes the collector keep the process below its limit.
func (a *Agent) limitMemory() {
	if limit := memoryLimit(a.config.MemoryLimit); limit > 0 && a.world.alone {
		debug.SetMemoryLimit(limit)
	}
}

// fail ends the agent's work for good.
func (a *Agent) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err == nil && a.ctx.Err() == nil {
		a.err = err
		a.log.Error("the agent ends", "error", err)
		close(a.failed)
	}
}

// isLeaving says that this node was asked to stop: that it is no member any more is no failure then.
func (a *Agent) isLeaving() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leaving
}

// Failed is closed when the agent can go on no more; Err says why.
func (a *Agent) Failed() <-chan struct{} { return a.failed }

// Err is why the agent can go on no more, nil while it can.
func (a *Agent) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Process is this life of the node.
func (a *Agent) Process() topology.Process { return a.self }

// HTTPAddr is where the API for people listens.
func (a *Agent) HTTPAddr() string { return a.record.Addresses.HTTP }

// Machine is this node's copy of the metadata.
func (a *Agent) Machine() *raftfsm.Machine { return a.member.Machine() }

// Member is this process's part in the cluster.
func (a *Agent) Member() *member.Member { return a.member }

// Close ends the agent at once, in order: what is under way is not waited for. Twice is fine.
func (a *Agent) Close() error {
	a.close.Do(func() {
		a.cancel(errClosed)
		var errs []error
		switch {
		case a.public != nil:
			errs = append(errs, a.public.close())
		case a.web != nil:
			errs = append(errs, a.web.Close())
		}
		a.running.Wait() // the work has closed what it holds
		if a.member != nil {
			errs = append(errs, a.member.Close())
		}
		a.mu.Lock()
		children := a.children
		a.mu.Unlock()
		if children != nil {
			errs = append(errs, children.Close())
		}
		if a.control != nil {
			errs = append(errs, a.control.close())
		}
		if a.gossip != nil {
			errs = append(errs, a.gossip.close())
		}
		if a.mux != nil {
			errs = append(errs, a.mux.Close())
		}
		a.closeErr = errors.Join(errs...)
	})
	return a.closeErr
}

// errClosed is why an agent's work ends.
var errClosed = errors.New("the agent was closed")

// live keeps the process a member, and begins its work as soon as it is one.
func (a *Agent) live() {
	var parts sync.WaitGroup
	opened := make(chan *stores, 1)
	parts.Go(func() {
		st, err := a.openOldStores()
		opened <- st
		if err == nil {
			err = a.member.Run(a.ctx)
		}
		if err != nil && a.ctx.Err() == nil && !a.isLeaving() {
			a.fail(err)
		}
	})
	parts.Go(func() {
		if err := a.gossip.run(a.ctx); err != nil && a.ctx.Err() == nil {
			a.fail(err)
		}
	})
	parts.Go(func() {
		if err := a.doWork(<-opened); err != nil && a.ctx.Err() == nil {
			a.fail(err)
		}
	})
	parts.Wait()
}

// vaultConfig is where and how this node keeps others' state.
func (a *Agent) vaultConfig(cluster uint64) vault.Config {
	c := vault.DefaultConfig(filepath.Join(a.config.DataDir, "vault"), port.ClusterName(cluster), a.self.Node, a.self.Boot)
	c.Logger = a.log
	a.world.vault(&c)
	return c
}

// serve begins to answer on the control channel and for people.
func (a *Agent) serve() error {
	incoming, err := a.mux.Listen(port.Control)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	a.member.Handle(mux)
	a.handle(mux)
	a.control = serveHTTP(a.ctx, incoming, mux, a.log, a.fail)
	a.public = serveHTTP(a.ctx, a.web, a.publicHandler(), a.log, a.fail)
	return nil
}
