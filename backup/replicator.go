package backup

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// copiesMax is how many blocks of a query are looked after at a time.
	copiesMax = 8
	// copyBytesPerSecond is how fast the blocks of a query are copied together: a full copy must not take the disks from the seals.
	copyBytesPerSecond = 64 << 20
)

// ReplicatorConfig says whose chains are looked after and who is told. The callbacks come from any goroutine and must not wait for the
// Replicator.
type ReplicatorConfig struct {
	Vaults Vaults
	// Current is a node's process now; false when the node has left for good. nil: processes are as they are named.
	Current func(n topology.NodeID) (topology.Process, bool)
	// NeedBase: no vault has these key groups' state, so the next checkpoint of the instance must hold it whole. Ascending.
	NeedBase func(stage topology.StageID, instance uint64, groups []topology.KeyGroup)
	Changed  func()       // a Copied has risen that somebody may wait for; nil is fine
	Logger   *slog.Logger // nil says nothing
}

// Duty is what the metadata says, in one version of it, of what a process's active partitions must have where. It must not be changed
// once it was given away.
type Duty struct {
	Version  uint64
	Complete topology.Epoch   // the latest complete checkpoint
	Query    topology.QueryID // under whose generation vaults have the state at Complete
	Stages   []DutyStage
	Parts    []DutyPart // active partitions of this process
}

// DutyStage is what the metadata says of a stage.
type DutyStage struct {
	Groups int
	Sets   []topology.VaultSet // by block
	Empty  []topology.BlockID  // without state at Complete
}

// DutyPart is one active partition.
type DutyPart struct {
	Stage    topology.StageID
	Range    topology.Range
	Instance uint64
}

// Replicator sees to it that every member of the vault sets of a process's active partitions holds their state at the complete
// checkpoint, whether or not another checkpoint comes: it copies the chains of blocks, as they are, from members or former members to
// those that lack them.
type Replicator struct {
	config  ReplicatorConfig
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
	slots   chan struct{}
	pace    pacer

	mu     sync.Mutex
	duty   Duty
	proofs map[replica][]proof
	tasks  map[replica]*task
	copied map[instanceKey]copiedPart
	stats  ReplicatorStats
	closed bool
}

// replica is a block's part of a partition at a vault.
type replica struct {
	instanceKey
	block   topology.BlockID
	process topology.Process
}

// proof is what a vault has fsynced: the state of key groups at an epoch, or, ended, at every later one too.
type proof struct {
	groups topology.Range
	epoch  topology.Epoch
	ended  bool
}

// task brings one replica up to the complete checkpoint.
type task struct{ cancel context.CancelFunc }

type copiedPart struct {
	rng     topology.Range
	version uint64
}

// ReplicatorStats are a Replicator's figures since it was made.
type ReplicatorStats struct {
	Copied  int64 // blocks, at one vault each
	Bytes   int64 // as stored
	Failed  int64 // attempts
	Lacking int   // blocks that a vault does not have at present, or has not answered for yet
}

// NewReplicator makes a Replicator that has nothing to do before the first Update. Close it.
func NewReplicator(config ReplicatorConfig) *Replicator {
	r := &Replicator{config: config, log: loggerOr(config.Logger), slots: make(chan struct{}, copiesMax), pace: pacer{rate: copyBytesPerSecond},
		proofs: map[replica][]proof{}, tasks: map[replica]*task{}, copied: map[instanceKey]copiedPart{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Update says how things are now. It does not block. Versions that are known already are ignored.
func (r *Replicator) Update(d Duty) {
	r.mu.Lock()
	if d.Version < r.duty.Version {
		r.mu.Unlock()
		return
	}
	r.duty = d
	r.unlock(r.reconcile())
}

// Copied is the greatest version of the metadata known such that every member of the vault sets that it has for a range of an instance
// has fsynced the state at its complete checkpoint; 0 when none is.
func (r *Replicator) Copied(stage topology.StageID, rng topology.Range, instance uint64) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.copied[instanceKey{stage, instance}]
	if rng.From < c.rng.From || rng.To > c.rng.To {
		return 0
	}
	return c.version
}

// Stats gives the figures.
func (r *Replicator) Stats() ReplicatorStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.stats
	out.Lacking = len(r.tasks)
	return out
}

// Close gives up what is under way and waits until that has ended. Closing twice is fine.
func (r *Replicator) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.workers.Wait()
	return nil
}

// unlock gives r.mu back and tells whoever waits for a Copied that has risen.
func (r *Replicator) unlock(risen bool) {
	r.mu.Unlock()
	if risen && r.config.Changed != nil {
		r.config.Changed()
	}
}

// saved notes that a checkpoint has been fsynced at a vault of a block. r may be nil.
func (r *Replicator) saved(c *Checkpoint, b topology.BlockID, at topology.Process) {
	if r == nil {
		return
	}
	all := b.Range(topology.MaxKeyGroups)
	p := proof{topology.Range{From: max(all.From, c.Range.From), To: min(all.To, c.Range.To)}, c.Epoch, c.Ended}
	r.mu.Lock()
	r.unlock(r.prove(replica{instanceKey{c.Stage, c.Instance}, b, at}, p) && r.reconcile())
}

// prove adds what is known of a replica, and says whether that may change anything now; r.mu is held.
func (r *Replicator) prove(key replica, p proof) bool {
	kept := slices.DeleteFunc(r.proofs[key], func(old proof) bool {
		return old.epoch < r.duty.Complete && !old.ended || p.ended && old.ended || old == p
	})
	r.proofs[key] = append(kept, p)
	return p.epoch <= r.duty.Complete
}

// holds says whether it is proved that a replica has the state of groups at the complete checkpoint; r.mu is held.
func (r *Replicator) holds(key replica, groups topology.Range) bool {
	c := r.duty.Complete
	return c == 0 || slices.ContainsFunc(r.proofs[key], func(p proof) bool {
		return p.groups.From <= groups.From && p.groups.To >= groups.To && (p.epoch == c || p.ended && p.epoch <= c)
	})
}

// reconcile begins what is to be done and ends what is not, and says whether a Copied has risen that may be waited for; r.mu is held.
func (r *Replicator) reconcile() (risen bool) {
	if r.closed {
		return false
	}
	wanted := make(map[replica]bool, len(r.proofs))
	here := make(map[instanceKey]bool, len(r.duty.Parts))
	for _, p := range r.duty.Parts {
		key := instanceKey{p.Stage, p.Instance}
		here[key] = true
		all, changed := true, uint64(0)
		r.eachReplica(p, func(key replica, groups topology.Range, set *topology.VaultSet) {
			wanted[key] = true
			changed = max(changed, set.Changed)
			if r.holds(key, groups) {
				return
			}
			all = false
			r.begin(key)
		})
		if before := r.copied[key]; all {
			r.copied[key] = copiedPart{p.Range, r.duty.Version}
			risen = risen || before.version < changed || before.rng != p.Range
		}
	}
	for key, t := range r.tasks {
		if !wanted[key] {
			t.cancel()
			delete(r.tasks, key)
		}
	}
	for key := range r.proofs {
		if !wanted[key] {
			delete(r.proofs, key)
		}
	}
	for key := range r.copied {
		if !here[key] {
			delete(r.copied, key)
		}
	}
	return risen
}

// eachReplica calls visit with what a partition must have where; r.mu is held.
func (r *Replicator) eachReplica(p DutyPart, visit func(key replica, groups topology.Range, set *topology.VaultSet)) {
	if int(p.Stage) >= len(r.duty.Stages) || p.Range.Len() <= 0 {
		return
	}
	st := &r.duty.Stages[p.Stage]
	for b := topology.BlockOf(p.Range.From); b <= topology.BlockOf(p.Range.To-1) && int(b) < len(st.Sets); b++ {
		if slices.Contains(st.Empty, b) {
			continue
		}
		groups := b.Range(st.Groups)
		groups = topology.Range{From: max(groups.From, p.Range.From), To: min(groups.To, p.Range.To)}
		for _, m := range st.Sets[b].Members {
			visit(replica{instanceKey{p.Stage, p.Instance}, b, m}, groups, &st.Sets[b])
		}
	}
}

// begin starts the task of a replica unless there is one; r.mu is held.
func (r *Replicator) begin(key replica) {
	if r.tasks[key] != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	t := &task{cancel: cancel}
	r.tasks[key] = t
	r.workers.Go(func() {
		defer cancel()
		r.work(ctx, key, t)
	})
}

// work looks after a replica until it has what it must, or need not.
func (r *Replicator) work(ctx context.Context, key replica, t *task) {
	var retry backoff
	for {
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		j, ok := r.job(key, t)
		if !ok {
			<-r.slots
			return
		}
		p, err := j.run(ctx)
		<-r.slots
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			r.mu.Lock()
			r.unlock(r.prove(key, p) && r.reconcile())
			continue // the complete checkpoint may be a later one by now
		}
		r.mu.Lock()
		r.stats.Failed++
		r.mu.Unlock()
		if retry.next == 0 {
			r.log.Warn("a vault does not have what it should yet", "query", j.query, "stage", key.stage, "block", key.block, "vault", key.process, "epoch", j.epoch, "error", err)
		}
		if retry.wait(ctx) != nil {
			return
		}
	}
}

// job is what is to be done for a replica now; false, and the task has ended, when it is nothing.
func (r *Replicator) job(key replica, t *task) (*copyJob, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tasks[key] != t {
		return nil, false
	}
	var j *copyJob
	for _, p := range r.duty.Parts {
		if p.Stage != key.stage || p.Instance != key.instance {
			continue
		}
		r.eachReplica(p, func(k replica, groups topology.Range, set *topology.VaultSet) {
			if k == key && !r.holds(k, groups) {
				j = &copyJob{r: r, key: key, query: r.duty.Query, groups: groups, epoch: r.duty.Complete, set: set}
			}
		})
	}
	if j == nil {
		delete(r.tasks, key)
	}
	return j, j != nil
}
