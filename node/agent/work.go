package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// work is what a member does: it keeps others' state, is connected with its peers and runs its parts of queries.
type work struct {
	agent *Agent
	*stores
	pool     *backup.Pool
	node     *engine.Node
	peers    *peers
	queries  *queries
	reporter *reporter
	// processors of this process; used by reports, one at a time.
	processors processors
}

// stores are what this node keeps in its data directory beside the metadata.
type stores struct {
	vault *vault.Vault
	spill *dataplane.Spill
}

func (s *stores) close() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.spill.Close(), s.vault.Close())
}

func (a *Agent) openStores(cluster uint64) (*stores, error) {
	s := &stores{}
	var err error
	if s.vault, err = vault.Open(a.vaultConfig(cluster)); err != nil {
		return nil, explainVault(err)
	}
	if s.spill, err = dataplane.NewSpill(a.spillConfig()); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: remove what is there, or give this node another --data-dir", err), s.vault.Close())
	}
	return s, nil
}

// tellOpening is after how long it is told that the vault is still being opened.
const tellOpening = time.Second

// openOldStores opens what a former process of this node has left, before this one joins: who has joined is to answer at once, or is taken for
// lost, and to read a vault that holds much takes a while. nil when there was none.
func (a *Agent) openOldStores() (*stores, error) {
	if a.old == 0 {
		return nil, nil
	}
	slow := time.AfterFunc(tellOpening, func() { a.log.Info("the vault is being read; the node joins when that is done") })
	defer slow.Stop()
	return a.openStores(a.old)
}

// doWork waits until this process has joined, then works until the agent is closed. An error is why it cannot. It closes the stores, nil when
// they are not open yet.
func (a *Agent) doWork(st *stores) error {
	s, err := a.member.Machine().Wait(a.ctx, func(s *raftfsm.State) bool { return s.Cluster.ID != 0 })
	if err != nil {
		return errors.Join(err, st.close())
	}
	// From here on strangers are told so, also before this process has joined.
	a.mux.SetCluster(s.Cluster.ID)
	if err := a.gossip.setCluster(s.Cluster.ID); err != nil {
		a.log.Warn("telling gossip which cluster this node is in", "error", err)
	}
	if s, err = a.member.Joined(a.ctx); err != nil {
		return errors.Join(err, st.close())
	}
	if st == nil {
		if st, err = a.openStores(s.Cluster.ID); err != nil {
			return err
		}
	}
	w, err := a.openWork(s.Cluster.ID, st)
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.work = w
	a.mu.Unlock()
	a.log.Info("joined", "cluster", port.ClusterName(s.Cluster.ID), "nodes", len(s.Nodes), "queries", len(s.Queries))
	err = w.run()
	a.mu.Lock()
	a.work = nil
	a.mu.Unlock()
	return err
}

// working is the work under way, nil while there is none.
func (a *Agent) working() *work {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.work
}

// openWork takes the stores over, also when it fails.
func (a *Agent) openWork(cluster uint64, st *stores) (*work, error) {
	w := &work{agent: a, stores: st}
	machine := a.member.Machine()
	w.pool = backup.NewPool(a.self, w.vault, w.dialVault)
	w.node = engine.NewNode(engine.NodeConfig{ID: a.self.Node, Boot: a.self.Boot, Cluster: cluster, Limits: engineLimits(memoryLimit(a.config.MemoryLimit)),
		Spill: w.spill, Connectors: a.binary.connectors, Operators: a.binary.operators, Logger: a.log, Stdout: a.world.stdout, Clock: a.clock.now, Tails: a.tables.Hub()})
	w.reporter = newReporter(a.member.Group(), a.member.Control(), a.reports, w.report, lookAt(a.self.Node, a.clock.now), a.log)
	w.queries = newQueries(a.self, machine, w.node, w.pool, w.vault.Quiet, a.member.Propose, w.reporter.changed, a.log, a.clock.now)
	var err error
	if w.peers, err = startPeers(a, w.node, w.peersChanged); err != nil {
		return nil, errors.Join(err, w.pool.Close(), st.close())
	}
	return w, nil
}

// quietAfterLoss is how long the vault gives way when a peer is lost or comes back: states are restored in that time.
const quietAfterLoss = time.Second

// peersChanged reports a peer that is lost, or is there again.
func (w *work) peersChanged() {
	w.reporter.urgent()
	time.AfterFunc(quietAfterLoss, w.vault.Quiet())
}

// explainVault adds what to do to an error of opening the vault.
func explainVault(err error) error {
	var locked *vault.LockedError
	var foreign *vault.ForeignError
	var corrupt *vault.CorruptError
	switch {
	case errors.As(err, &locked):
		return fmt.Errorf("%w: another agent runs with this --data-dir; stop it, or give this one another directory", err)
	case errors.As(err, &foreign):
		return fmt.Errorf("%w: give this node another --data-dir, or remove this one's vault directory", err)
	case errors.As(err, &corrupt):
		return fmt.Errorf("%w: other nodes have copies, so remove this node's vault directory and start it again", err)
	}
	return err
}

// run works until the agent is closed, then ends everything in order: queries first, which use all the rest.
func (w *work) run() error {
	a := w.agent
	incoming, err := a.mux.Listen(port.Vault)
	if err != nil {
		return errors.Join(err, w.peers.close(), w.pool.Close(), w.stores.close())
	}
	var parts sync.WaitGroup
	parts.Go(func() { w.serveVault(incoming) })
	parts.Go(func() { w.keepVault(a.ctx) })
	parts.Go(func() { w.reporter.run(a.ctx) })
	select {
	case <-a.clock.known:
		w.queries.run(a.ctx)
	case <-a.ctx.Done():
	}
	err = errors.Join(w.peers.close(), incoming.Close())
	parts.Wait()
	return errors.Join(err, w.pool.Close(), w.stores.close())
}

// dialVault opens a connection to the vault of a node, whichever process runs there.
func (w *work) dialVault(ctx context.Context, p topology.Process) (vault.Conn, error) {
	n := w.agent.member.Machine().View().Node(p.Node)
	if n == nil {
		return nil, fmt.Errorf("node %s is not known", p.Node)
	}
	conn, err := w.agent.mux.Dial(ctx, port.Vault, n.Addresses.Data)
	if err != nil {
		return nil, err
	}
	return transport.Wrap(conn, w.vaultOptions()), nil
}

// vaultStalledMax is how long a vault or its user may take nothing that it is sent. A vault that has much to fsync takes nothing for a while; seals
// and checkpoints wait for one that is stuck, though all else of its process works.
const vaultStalledMax = 20 * time.Second

func (w *work) vaultOptions() transport.Options {
	return transport.Options{Meter: &w.agent.meter, StalledMax: vaultStalledMax}
}

// serveVault answers other nodes until incoming is closed, and returns when all connections have ended.
func (w *work) serveVault(incoming net.Listener) {
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		conn, err := incoming.Accept()
		if err != nil {
			return
		}
		serving.Go(func() {
			if err := w.vault.Serve(w.agent.ctx, transport.Wrap(conn, w.vaultOptions())); err != nil && w.agent.ctx.Err() == nil {
				w.agent.log.Debug("a vault connection ended", "from", conn.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// report is what this process tells the leader.
func (w *work) report() *coordinator.Report {
	a := w.agent
	r := &coordinator.Report{Process: a.self, Applied: a.member.Machine().View().Version, Queries: w.queries.report()}
	r.Complaints = append(w.peers.complaints(), a.gossip.complaints(a.member.Machine().View())...)
	ahead, known := a.clock.offset()
	r.ClockOffsetMs, r.ClockUnknown = ahead.Milliseconds(), !known
	if a.world.alone {
		r.CPUNs, r.Cores = w.processors.used(), w.processors.cores(a.world.now())
	}
	if stats := w.vault.Stats(); stats.Failed != nil {
		r.DiskFull = stats.Failed.Error()
	} else if stats.Full != nil {
		r.DiskFull = stats.Full.Error()
	}
	logs := w.spill.Stats()
	if r.LogBytes, r.SpilledBytes = logs.MemoryBytes, logs.DiskBytes; logs.Full != nil {
		r.SpillFull = short(logs.Full.Error())
	}
	return r
}

// DefaultLogMemory is what output logs may keep in memory of a limit for the whole process, 0 for none: at most a quarter.
func DefaultLogMemory(memory int64) int64 {
	if memory > 0 {
		return min(256<<20, memory/4)
	}
	return 256 << 20
}

// spillReserve is what output logs leave free on their file system, which is the vault's, too: many times what that needs to take anything again
// after it was full. If it took nothing, no checkpoint would be complete, and nothing of the logs would go.
const spillReserve = 256 << 20

// spillConfig is where and how much of output logs this node keeps.
func (a *Agent) spillConfig() dataplane.SpillConfig {
	c := dataplane.SpillConfig{Dir: filepath.Join(a.config.DataDir, "spill"), MemoryBytes: a.config.LogMemory, DiskBytes: a.config.SpillLimit, Logger: a.log}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = DefaultLogMemory(memoryLimit(a.config.MemoryLimit))
	}
	c.Free, c.ReserveBytes = func() (uint64, error) { return vault.OS{}.Free(c.Dir) }, spillReserve
	c.Damaged = func(err error) {
		a.fail(fmt.Errorf("another partition needs what this node emitted and can no longer read: %w; check the disk under --data-dir and start the node again, others do its work meanwhile", err))
	}
	return c
}

// engineLimits are what the engine may keep in memory of a limit for the whole process; 0 is the engine's own default.
func engineLimits(memory int64) engine.Limits {
	l := engine.DefaultLimits()
	if memory > 0 {
		// A quarter for output logs; one log alone has no more than the default.
		l.Log.Bytes = min(l.Log.Bytes, max(memory/4, 1<<20))
	}
	return l
}
