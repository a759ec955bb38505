package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// ErrFenced is wrapped by SealWriter.Err when another node has taken over: nothing of this process counts any more.
var ErrFenced = errors.New("backup: the seal log was taken over by another node")

// SealConfig says whose log a SealWriter keeps and how it hears and changes what the cluster says. The callbacks may be called by
// any goroutine, also several at once; those without a context must not wait.
type SealConfig struct {
	Query  topology.QueryID
	Set    topology.SealSet // the log's, of which Self is the owner
	Self   topology.Process
	Copies int // wanted members of the set; 0: as many as Set has
	Vaults Vaults
	// ChangeSet proposes members for the log, conditional on term and version, and gives the set that the cluster has then. After an
	// error the change may have been made or not, or be made later.
	ChangeSet func(ctx context.Context, log topology.SealLog, term topology.Term, version uint64, members []topology.Process) (topology.SealSet, error)
	// Adopted tells the cluster that logs are part of this one now. It is called until it gives nil: also when nobody wants to know
	// any more.
	Adopted func(ctx context.Context, stage topology.StageID, instance uint64, logs []topology.SealLog) error
	// Sets is the set of any log of the query as last known; false when the cluster has no such log (any more).
	Sets func(log topology.SealLog) (topology.SealSet, bool)
	// Alive says that a process is its node's current one and not taken for lost.
	Alive func(p topology.Process) bool
	// Current is a node's last known process, lost or not; false when the node has left for good.
	Current func(n topology.NodeID) (topology.Process, bool)
	// Candidates are all processes that may be vaults, this one and present members included. A member that is none any more is
	// replaced once somebody else can take its place.
	Candidates func() []topology.Process
	OnFailed   func(error)  // called once when the writer stops for good; nil is fine
	Logger     *slog.Logger // nil says nothing
}

// SealWriter keeps one process's seal log of a query at all vaults of its set, and adopts the logs of former owners.
//
// A record is released when every vault of the set holds it and durable when every one has fsynced it. While the set changes the
// new members count too: from the start of the copy until the cluster shows a later version of the set. Members that were ever
// proposed for the present version count until then, since a proposal whose answer was lost may still be accepted.
//
// A vault joins the log once for each term, with Adopt, when it first gets to hold it. After a connection broke the same process goes
// on where it was; a process that is gone, whose log has a gap or that cannot write is replaced, never joined again. So a member of
// the set as the cluster knows it that is still the process that was named and has not joined proves that nothing was ever released.
//
// When some of the process's sources are given to another one, the log gets a higher term, with which the successor fences it, and
// which Follow brings here. Every member joins again under it, with all records that are not trimmed, and the marks rise by what is
// acknowledged under the new term alone. What was released before is in every member's log and so in what the successor takes; what
// is released later may have been put before, and hold seals of sources that are another's by now: nobody may act on those. Hence
// the order: first the sources stop, then Follow is called, and a seal that is found released counts only for who is no former owner.
type SealWriter struct {
	config  SealConfig
	source  vault.SourceKey
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
	wake    chan struct{} // Repair looks again

	mu       sync.Mutex
	set      topology.SealSet // as last seen, but for Term
	term     topology.Term    // with which is written
	promised topology.Term    // the highest below which a vault refuses
	members  map[topology.Process]*sealMember
	proposed map[topology.Process]bool // for set.Version, set's own left out
	records  []*sealRecord             // ascending, contiguous, not trimmed
	start    topology.Epoch            // First of records, or next without any; 0 before the first Put
	next     topology.Epoch
	trimmed  topology.Epoch // up to where records were dropped
	released topology.Epoch
	durable  topology.Epoch
	risen    chan struct{} // closed and replaced when durable has risen
	onMarks  func()
	waiting  map[topology.SealLog]string
	err      error
	closed   bool
}

// sealRecord is one record; it is packed by whoever sends it first.
type sealRecord struct {
	first, last topology.Epoch
	raw         []byte
	packing     sync.Once
	payload     vault.Payload
	err         error
}

func (r *sealRecord) pack() (vault.Payload, error) {
	r.packing.Do(func() {
		r.payload, r.err = vault.Pack(r.raw)
		r.raw = nil
	})
	return r.payload, r.err
}

// SourceOf is a log's name at its vaults.
func SourceOf(log topology.SealLog) vault.SourceKey {
	return vault.SourceKey("seals-" + strconv.FormatUint(uint64(log), 10))
}

// NewSealWriter begins to keep a log that nobody has written to. Close it.
func NewSealWriter(config SealConfig) *SealWriter {
	w := &SealWriter{config: config, source: SourceOf(config.Set.Log), log: loggerOr(config.Logger), wake: make(chan struct{}, 1), set: config.Set, term: config.Set.Term,
		members: map[topology.Process]*sealMember{}, proposed: map[topology.Process]bool{}, risen: make(chan struct{}), waiting: map[topology.SealLog]string{}}
	if w.config.Copies == 0 {
		w.config.Copies = len(config.Set.Members)
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.mu.Lock()
	for _, p := range w.set.Members {
		w.follow(p)
	}
	w.mu.Unlock()
	w.workers.Go(w.repairLoop)
	return w
}

// Put appends a record. It does not block. A record that does not follow the last one is a defect of the caller, after which the
// writer fails.
func (w *SealWriter) Put(r SealRecord) {
	w.mu.Lock()
	if w.closed || w.err != nil {
		w.mu.Unlock()
		return
	}
	if w.start == 0 {
		w.start, w.next = r.First, r.First
	}
	if r.First != w.next || r.First < 1 || r.Last < r.First {
		next := w.next
		w.mu.Unlock()
		w.fail(fmt.Errorf("backup: seal of epochs [%d,%d] does not follow epoch %d", r.First, r.Last, next-1))
		return
	}
	w.records = append(w.records, &sealRecord{first: r.First, last: r.Last, raw: r.Data})
	w.next = r.Last + 1
	for _, m := range w.members {
		wake(m.more)
	}
	w.mu.Unlock()
}

// wake leaves a note for whoever receives from c.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Marks gives the last epochs that are released and durable, of what was put; 0 before. They never fall.
func (w *SealWriter) Marks() (released, durable topology.Epoch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.released, w.durable
}

// OnMarks sets what is called, from any goroutine, when a mark has risen. It must not block.
func (w *SealWriter) OnMarks(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onMarks = f
}

// Err is why the writer has stopped for good: ErrFenced, a defect of its user, a dropped query; nil while it goes on.
func (w *SealWriter) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Trim drops records up to through, which nobody will ask for: a complete checkpoint covers them. So they count as durable, also when a vault
// is lost sight of that has not said so yet: nobody could put them there again.
func (w *SealWriter) Trim(through topology.Epoch) {
	w.mu.Lock()
	through = min(through, w.released) // what is not released is still needed by members
	n := sort.Search(len(w.records), func(i int) bool { return w.records[i].last > through })
	if n == 0 {
		w.mu.Unlock()
		return
	}
	w.start = w.records[n-1].last + 1
	w.records = slices.Delete(w.records, 0, n)
	w.trimmed = w.start - 1
	raised := w.raise()
	w.mu.Unlock()
	raised()
}

// Follow takes the log's set as the cluster shows it; what is known already is ignored. A higher term is taken over: whoever calls has
// stopped the sources that are another process's by now. It does not block.
func (w *SealWriter) Follow(set topology.SealSet) { w.take(set, true) }

// take is Follow; without raise a higher term waits for Follow.
func (w *SealWriter) take(set topology.SealSet, raise bool) {
	if set.Log != w.config.Set.Log {
		return
	}
	if set.Fenced {
		w.fail(fmt.Errorf("%w: seal log %d of query %v has term %d by now", ErrFenced, set.Log, w.config.Query, set.Term))
		return
	}
	w.mu.Lock()
	higher := set.Term > w.term
	if w.closed || w.err != nil || set.Term < w.term || higher && !raise || !higher && set.Version <= w.set.Version {
		w.mu.Unlock()
		return
	}
	w.set = set
	clear(w.proposed) // a proposal for an earlier version or term is not accepted any more
	if higher {
		w.rejoin(set.Term)
	}
	for _, p := range set.Members {
		w.follow(p)
	}
	w.leave()
	raised := w.raise()
	w.mu.Unlock()
	wake(w.wake)
	raised()
}

// rejoin goes on under a higher term: nothing counts but what members acknowledge under it. w.mu is held.
func (w *SealWriter) rejoin(term topology.Term) {
	w.term = term
	for _, m := range w.members {
		m.joined, m.held, m.done, m.err, m.ailing = false, 0, 0, nil, time.Time{}
		if m.restart != nil {
			m.restart(errTermRaised)
		}
		wake(m.more)
	}
}

// errTermRaised ends a member's session so that the next one begins with the new term.
var errTermRaised = errors.New("the log has a new term")

// Repair looks at once whether members are to be replaced: call it when what Alive or Candidates say has changed.
func (w *SealWriter) Repair() { wake(w.wake) }

// follow begins to write to p, unless that is done already; w.mu is held.
func (w *SealWriter) follow(p topology.Process) {
	if w.members[p] != nil || w.closed || w.err != nil {
		return
	}
	m := &sealMember{writer: w, process: p, more: make(chan struct{}, 1)}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(w.ctx)
	w.members[p] = m
	w.workers.Go(func() { m.run(ctx) })
}

// leave stops writing to those that are no longer needed; w.mu is held.
func (w *SealWriter) leave(keep ...topology.Process) {
	for p, m := range w.members {
		if !slices.Contains(w.set.Members, p) && !w.proposed[p] && !slices.Contains(keep, p) {
			m.cancel()
			delete(w.members, p)
		}
	}
}

// raise sets the marks to what all members have, and gives what is to be called without w.mu, which is held here.
func (w *SealWriter) raise() func() {
	if len(w.members) == 0 || w.err != nil {
		return func() {}
	}
	held, done := topology.EpochForever, topology.EpochForever
	for _, m := range w.members {
		held, done = min(held, m.held), min(done, m.done)
	}
	old := [2]topology.Epoch{w.released, w.durable}
	w.released, w.durable = max(w.released, held), max(w.durable, done, w.trimmed)
	if w.durable > old[1] {
		close(w.risen)
		w.risen = make(chan struct{})
	}
	if old == [2]topology.Epoch{w.released, w.durable} || w.onMarks == nil {
		return func() {}
	}
	return w.onMarks
}

// Adopted waits, in the background, until the records up to through are durable, and tells the cluster then. It does not block.
func (w *SealWriter) Adopted(stage topology.StageID, instance uint64, logs []topology.SealLog, through topology.Epoch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.err != nil || len(logs) == 0 {
		return
	}
	logs = slices.Clone(logs)
	w.workers.Go(func() {
		for {
			w.mu.Lock()
			reached, risen := w.durable >= through, w.risen
			w.mu.Unlock()
			if reached {
				break
			}
			select {
			case <-risen:
			case <-w.ctx.Done():
				return
			}
		}
		retry := backoff{}
		for {
			err := w.config.Adopted(w.ctx, stage, instance, logs)
			if err == nil || w.ctx.Err() != nil {
				return
			}
			w.log.Warn("the cluster does not know yet that seals were adopted", "query", w.config.Query, "stage", stage, "logs", logs, "error", err)
			if retry.wait(w.ctx) != nil {
				return
			}
		}
	})
}

// fail stops the writer for good. What has been released stays so.
func (w *SealWriter) fail(err error) {
	w.mu.Lock()
	if w.err != nil || w.closed {
		w.mu.Unlock()
		return
	}
	w.err = err
	w.mu.Unlock()
	w.cancel()
	w.log.Error("the seal log is written no more", "query", w.config.Query, "log", w.config.Set.Log, "error", err)
	if w.config.OnFailed != nil {
		w.config.OnFailed(err)
	}
}

// Close stops writing and waits until that has ended. Closing twice is fine.
func (w *SealWriter) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.workers.Wait()
	return nil
}

// SealStats are a SealWriter's figures.
type SealStats struct {
	Set                     topology.SealSet // as last seen
	Records                 int              // not trimmed
	Next, Released, Durable topology.Epoch
	Members                 []SealMemberStats // by process
}

// SealMemberStats is one vault of the log, or one that is to become one.
type SealMemberStats struct {
	Process    topology.Process
	Held, Done topology.Epoch
	Err        error // why the last attempt to write there ended; a *vault.DiskFullError says that its disk is full
}

// Stats gives the figures.
func (w *SealWriter) Stats() SealStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := SealStats{Set: w.set, Records: len(w.records), Next: w.next, Released: w.released, Durable: w.durable}
	for p, m := range w.members {
		s.Members = append(s.Members, SealMemberStats{p, m.held, m.done, m.err})
	}
	slices.SortFunc(s.Members, func(a, b SealMemberStats) int { return compareProcesses(a.Process, b.Process) })
	return s
}
