package backup

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// savesWaitingMax is how many checkpoints of an instance wait behind the one that is being sent. Older ones are dropped: the
	// deltas of later ones go back as far.
	savesWaitingMax = 2
	// saveTimeout is how long the vaults may take for one checkpoint.
	saveTimeout = 30 * time.Second
	// logInterval is the least time between two messages about the same thing.
	logInterval = 10 * time.Second
)

// SaverConfig says where a query's checkpoints go and who is told. The callbacks come from any goroutine, those for one instance
// one after the other; they must not wait for the Saver.
type SaverConfig struct {
	Query  topology.QueryID
	Vaults Vaults
	// Acked: all vaults of the instance's blocks have fsynced its checkpoint epoch, whose deltas took so many bytes as stored, each counted
	// once. The vaults are those of a version of the metadata. Epochs of an instance grow.
	Acked func(stage topology.StageID, instance uint64, epoch topology.Epoch, bytes int64, version uint64)
	// NeedBase: the next checkpoint of the instance must hold these key groups' whole states. Ascending, without doubles.
	NeedBase func(stage topology.StageID, instance uint64, groups []topology.KeyGroup)
	// Replicas hears what is where, so that it need not ask; nil is fine.
	Replicas *Replicator
	Logger   *slog.Logger // nil says nothing
}

// Saver sends the checkpoints of a query's partitions on this node to the vaults of their blocks. A checkpoint that fails at any
// vault is not acknowledged and not tried again: the engine's next one goes back to the last acknowledged one. Behind one of a
// partition that has ended there is no next one: it is sent until it is acknowledged or another one is saved.
type Saver struct {
	config  SaverConfig
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu        sync.Mutex
	sets      [][]topology.VaultSet // by stage and block
	version   uint64                // of the metadata, in which they are so
	changed   chan struct{}         // closed and replaced with sets
	instances map[instanceKey]*instance
	problems  map[topology.Process]*problem
	stats     SaverStats
	closed    bool
}

type instanceKey struct {
	stage    topology.StageID
	instance uint64
}

// instance is what is known of one instance of a partition. waiting is ascending by epoch.
type instance struct {
	key     instanceKey
	waiting []Checkpoint
	busy    bool // a goroutine sends
	cancel  context.CancelFunc
	acked   time.Time // of the last one, or when the first was saved
	gone    bool
}

type problem struct {
	err    error
	logged time.Time
}

// SaverStats are a Saver's figures since it was made. Bytes are as stored, each delta counted once however many vaults it goes to.
type SaverStats struct {
	Saved        int64 // checkpoints taken from the engine
	Acknowledged int64
	Failed       int64 // given up since a vault did not take all
	Dropped      int64 // never sent since later ones came
	BaseBytes    int64
	DeltaBytes   int64
	Seconds      float64 // from Save to acknowledgement, of all acknowledged
	LastSeconds  float64
	// Age is the longest time that an instance has been without an acknowledged checkpoint, since it sent one.
	Age time.Duration
	// Problems are the vaults that did not take what was last put there, by process: a *vault.DiskFullError says a disk is full.
	Problems []Answer
}

// NewSaver makes a Saver without vaults: until SetVaults nothing is acknowledged.
func NewSaver(config SaverConfig) *Saver {
	s := &Saver{config: config, log: loggerOr(config.Logger), changed: make(chan struct{}), instances: map[instanceKey]*instance{}, problems: map[topology.Process]*problem{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func loggerOr(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// SetVaults says which vaults the blocks of each stage have in a version of the metadata. The sets must not be changed afterwards.
func (s *Saver) SetVaults(version uint64, sets [][]topology.VaultSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sets, s.version = sets, version
	close(s.changed)
	s.changed = make(chan struct{})
	for p := range s.problems {
		if !names(sets, p) {
			delete(s.problems, p)
		}
	}
}

func names(sets [][]topology.VaultSet, p topology.Process) bool {
	return slices.ContainsFunc(sets, func(blocks []topology.VaultSet) bool {
		return slices.ContainsFunc(blocks, func(v topology.VaultSet) bool { return slices.Contains(v.Members, p) })
	})
}

// Save takes a checkpoint, whose data must not change any more. It does not block.
func (s *Saver) Save(c Checkpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	key := instanceKey{c.Stage, c.Instance}
	i := s.instances[key]
	if i == nil {
		i = &instance{key: key, acked: time.Now()}
		s.instances[key] = i
	}
	s.stats.Saved++
	i.waiting = append(i.waiting, c)
	if n := len(i.waiting) - savesWaitingMax; n > 0 {
		s.stats.Dropped += int64(n)
		i.waiting = slices.Delete(i.waiting, 0, n)
	}
	if !i.busy {
		i.busy = true
		ctx, cancel := context.WithCancel(s.ctx)
		i.cancel = cancel
		s.workers.Go(func() {
			defer cancel()
			s.work(ctx, i)
		})
	}
}

// Forget drops what is left of an instance that has stopped. It is not waited for.
func (s *Saver) Forget(stage topology.StageID, id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := instanceKey{stage, id}
	i := s.instances[key]
	if i == nil {
		return
	}
	delete(s.instances, key)
	i.waiting, i.gone = nil, true
	if i.cancel != nil {
		i.cancel()
	}
}

// Close gives up what is under way and waits until that has ended. Closing twice is fine.
func (s *Saver) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.workers.Wait()
	return nil
}

// Stats gives the figures.
func (s *Saver) Stats() SaverStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	now := time.Now()
	for _, i := range s.instances {
		if i.busy {
			out.Age = max(out.Age, now.Sub(i.acked))
		}
	}
	for p, problem := range s.problems {
		out.Problems = append(out.Problems, Answer{p, problem.err})
	}
	slices.SortFunc(out.Problems, func(a, b Answer) int { return compareProcesses(a.Process, b.Process) })
	return out
}

func compareProcesses(a, b topology.Process) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Boot, b.Boot))
}

// work sends what waits of an instance until nothing does.
func (s *Saver) work(ctx context.Context, i *instance) {
	var retry backoff
	for {
		s.mu.Lock()
		if len(i.waiting) == 0 || ctx.Err() != nil {
			i.busy, i.waiting = false, nil
			s.mu.Unlock()
			return
		}
		c := i.waiting[0]
		i.waiting = slices.Delete(i.waiting, 0, 1)
		s.mu.Unlock()
		if again := s.send(ctx, i, &c); !again || retry.wait(ctx) != nil {
			continue
		}
		s.mu.Lock()
		if len(i.waiting) == 0 && !i.gone {
			i.waiting = append(i.waiting, c)
		}
		s.mu.Unlock()
	}
}

// send brings one checkpoint to its vaults and says how that went, and whether it is to be sent again as it is.
func (s *Saver) send(ctx context.Context, i *instance, c *Checkpoint) (again bool) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	t := transfer{saver: s, checkpoint: c}
	err := t.run(ctx)
	bases := t.bases()
	s.mu.Lock()
	if i.gone || s.closed {
		s.mu.Unlock()
		return false
	}
	s.stats.BaseBytes += t.baseBytes
	s.stats.DeltaBytes += t.deltaBytes
	if err == nil {
		s.stats.Acknowledged++
		s.stats.LastSeconds = time.Since(start).Seconds()
		s.stats.Seconds += s.stats.LastSeconds
		i.acked = time.Now()
	} else {
		s.stats.Failed++
	}
	s.mu.Unlock()
	if err == nil {
		s.config.Acked(c.Stage, c.Instance, c.Epoch, t.baseBytes+t.deltaBytes, t.version)
	}
	if len(bases) > 0 {
		s.config.NeedBase(c.Stage, c.Instance, bases)
	}
	return err != nil && len(bases) == 0
}

// note remembers how a vault answered, and says so now and then.
func (s *Saver) note(p topology.Process, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.problems, p)
		return
	}
	if errors.Is(err, context.Canceled) || !names(s.sets, p) {
		return
	}
	known := s.problems[p]
	if known == nil {
		known = &problem{}
		s.problems[p] = known
	}
	known.err = err
	if now := time.Now(); now.Sub(known.logged) >= logInterval {
		known.logged = now
		s.log.Warn("a vault takes no checkpoints", "query", s.config.Query, "vault", p, "error", err)
	}
}

// set gives the vaults of a block as they are now; s.mu is held.
func (s *Saver) set(stage topology.StageID, block topology.BlockID) (members []topology.Process, ok bool) {
	if int(stage) >= len(s.sets) || int(block) >= len(s.sets[stage]) {
		return nil, false
	}
	members = s.sets[stage][block].Members
	return members, len(members) > 0
}

// needsBase says whether err asks for a base.
func needsBase(err error) bool {
	var need *vault.NeedBaseError
	return errors.As(err, &need)
}
