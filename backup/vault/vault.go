package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	lockName    = "LOCK"
	reserveName = "reserve"
)

// Vault is one open log. All methods may be called by any goroutine.
type Vault struct {
	config Config
	fs     FS
	log    *slog.Logger
	lock   io.Closer

	wake    chan struct{} // something waits for its fsync
	urgent  chan struct{} // enough waits for a commit of its own, or the vault closes
	compact chan struct{} // something may be rewritten
	closing chan struct{}
	workers sync.WaitGroup
	// compacting holds one element while segments are rewritten.
	compacting chan struct{}
	chains     atomic.Int32 // that are being read, and for which it is to be quiet

	mu      sync.Mutex
	queries map[topology.QueryID]*queryIndex
	serial  uint64 // the last one given to a seal, cut or join
	control queue  // seals and all else that is held come what may
	deltas  queue
	// What is being written, in that order. Operations change under mu only.
	inflight, moving queue
	since            time.Time     // when the first operation that waits came
	freed            chan struct{} // closed and replaced when room for pending operations may be there
	full             error         // why the last commit found no room, or nil
	failed           error         // why nothing is written any more, or nil
	closed           bool
	segments         []*segment // ascending; the active one last
	byNumber         map[uint64]*segment
	reserved         bool
	stats            Stats

	// Of the committer alone.
	commits    uint64 // number of the last commit
	numbers    uint64 // the last number given to a segment
	active     *segment
	pace       pace
	prevLength int64 // of the last segment before this process wrote any

	closeOnce sync.Once
	closeErr  error
}

// queryIndex is what is held of one query.
type queryIndex struct {
	id       topology.QueryID
	chains   map[chainKey]*chain
	logs     map[SourceKey]*sealLog
	trim     topology.Epoch
	trimRef  ref
	dropping bool
	dropped  bool
	dropRef  ref
}

// Stats are figures of a vault.
type Stats struct {
	LiveBytes   int64 // of records that are needed
	DiskBytes   int64 // of segments
	Segments    int
	Commits     int64 // fsyncs of the log
	CommitBytes int64 // written by them
	Compactions int64
	PutBack     int64 // bytes that compactions have written again
	Pending     int   // operations that wait for their fsync
	Reserved    bool  // the reserve of disk space is there
	// Full and Failed say why nothing is written at present, or are nil.
	Full, Failed error
	// CompactError is how the last compaction failed, or nil.
	CompactError error
}

// Open opens the vault in config.Dir, or makes one. It reads the whole log.
//
// Errors: *LockedError, *ForeignError, *VersionError, *CorruptError, those of the file system.
func Open(config Config) (*Vault, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	v := &Vault{config: config, fs: config.FS, log: config.Logger, wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), compact: make(chan struct{}, 1),
		closing: make(chan struct{}), compacting: make(chan struct{}, 1), freed: make(chan struct{}), queries: map[topology.QueryID]*queryIndex{}, byNumber: map[uint64]*segment{}}
	if v.fs == nil {
		v.fs = OS{}
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	if err := v.fs.MkdirAll(config.Dir); err != nil {
		return nil, fmt.Errorf("vault: making %s: %w", config.Dir, err)
	}
	lock, err := v.fs.Lock(filepath.Join(config.Dir, lockName))
	if err != nil {
		return nil, err
	}
	v.lock = lock
	if err := v.recover(); err != nil {
		return nil, errors.Join(err, v.closeFiles())
	}
	v.ensureReserve()
	v.workers.Go(v.commitLoop)
	if !config.ManualCompaction {
		v.workers.Go(v.compactLoop)
	}
	return v, nil
}

// Boot is the boot id that the vault was opened under.
func (v *Vault) Boot() topology.BootID { return v.config.Boot }

// Node is the node whose vault it is.
func (v *Vault) Node() topology.NodeID { return v.config.Node }

// Close fsyncs what waits and closes the vault. Closing twice is fine.
func (v *Vault) Close() error {
	v.closeOnce.Do(func() {
		v.mu.Lock()
		v.closed = true
		v.mu.Unlock()
		close(v.closing)
		v.workers.Wait()
		v.compacting <- struct{}{} // the last Compact has ended
		v.closeErr = errors.Join(v.failed, v.closeFiles())
	})
	return v.closeErr
}

func (v *Vault) closeFiles() error {
	var errs []error
	for _, s := range v.segments {
		errs = append(errs, s.unpin())
	}
	return errors.Join(append(errs, v.lock.Close())...)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run does one request: it waits until less than the limit is pending in q, and lets act change the index. act says whether
// w waits for an operation now, or has all it wants.
func (v *Vault) run(ctx context.Context, q *queue, bytes int, w waiter, act func(w waiter) (queued bool, err error)) {
	queued, err := v.try(ctx, q, bytes, w, act)
	switch {
	case err != nil:
		if w.done != nil {
			w.done(outcome{err: err})
		}
	case !queued && w.done != nil:
		w.done(outcome{})
	}
}

func (v *Vault) try(ctx context.Context, q *queue, bytes int, w waiter, act func(w waiter) (bool, error)) (bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for {
		switch {
		case v.closed:
			return false, ErrClosed
		case v.failed != nil:
			return false, v.failed
		}
		pending := q.bytes() + v.inflight.bytes()
		if q == &v.deltas {
			pending = q.bytes() + v.moving.bytes()
		}
		if pending == 0 || pending+bytes <= v.config.PendingBytes {
			queued, err := act(w)
			if queued && err == nil && w.held != nil {
				w.held() // before anybody can say done
			}
			return queued, err
		}
		if v.full != nil {
			return false, v.full
		}
		freed := v.freed
		v.mu.Unlock()
		select {
		case <-freed:
		case <-v.closing:
		case <-ctx.Done():
		}
		v.mu.Lock()
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
}

// query finds what is held of a query, and makes it; v.mu is held.
func (v *Vault) query(id topology.QueryID) (*queryIndex, error) {
	q := v.queries[id]
	if q == nil {
		q = &queryIndex{id: id, chains: map[chainKey]*chain{}, logs: map[SourceKey]*sealLog{}}
		v.queries[id] = q
	}
	if q.dropping || q.dropped {
		return nil, fmt.Errorf("%w: incarnation %016x generation %d", ErrDropped, id.Incarnation, id.Generation)
	}
	return q, nil
}

func (v *Vault) sealLog(id topology.QueryID, source SourceKey) (*sealLog, error) {
	if err := checkSource(source); err != nil {
		return nil, err
	}
	q, err := v.query(id)
	if err != nil {
		return nil, err
	}
	return q.log(source), nil
}

func (q *queryIndex) log(source SourceKey) *sealLog {
	l := q.logs[source]
	if l == nil {
		l = &sealLog{query: q.id, source: source}
		q.logs[source] = l
	}
	return l
}

func (q *queryIndex) chain(k chainKey) *chain {
	c := q.chains[k]
	if c == nil {
		c = &chain{}
		q.chains[k] = c
	}
	return c
}

// enqueue lets r wait for its fsync; v.mu is held. What a payload points into is copied.
func (v *Vault) enqueue(r *record, w waiter, o *op) {
	if w.done != nil {
		o.dones = append(o.dones, w.done)
	}
	if len(v.control.ops)+len(v.deltas.ops) == 0 {
		v.since = time.Now()
	}
	if r.typ == recordDelta {
		v.deltas.add(r, o)
	} else {
		v.control.add(r, o)
	}
	notify(v.wake)
	if v.control.bytes()+v.deltas.bytes() >= v.config.CommitBytes {
		notify(v.urgent)
	}
}

// set makes slot refer to r, and what it referred to before dead; v.mu is held.
func (v *Vault) set(slot *ref, r ref) {
	v.forget(slot)
	*slot = r
	if s := v.byNumber[r.segment]; s != nil {
		s.live += int64(r.bytes)
	}
}

func (v *Vault) forget(slot *ref) {
	if slot.none() {
		return
	}
	if s := v.byNumber[slot.segment]; s != nil {
		s.live -= int64(slot.bytes)
	}
	*slot = ref{}
}

// refs calls visit with every place of the index that refers to a record; v.mu is held.
func (v *Vault) refs(visit func(slot *ref)) {
	some := func(slot *ref) {
		if !slot.none() {
			visit(slot)
		}
	}
	for _, q := range v.queries {
		some(&q.trimRef)
		some(&q.dropRef)
		for _, c := range q.chains {
			for i := range c.entries {
				some(&c.entries[i].ref)
			}
		}
		for _, l := range q.logs {
			some(&l.promiseRef)
			some(&l.join.ref)
			for i := range l.entries {
				some(&l.entries[i].ref)
				some(&l.entries[i].stamp)
			}
			for i := range l.cuts {
				some(&l.cuts[i].ref)
			}
		}
	}
}

// Trim says that nothing before the state at through is needed any more of a query, and no seal that ends at or before it. The
// commit waits until that is durable; space comes back later.
func (v *Vault) Trim(ctx context.Context, id topology.QueryID, through topology.Epoch) *Commit {
	c := newCommit()
	v.trim(ctx, id, through, c.waiter())
	return c
}

func (v *Vault) trim(ctx context.Context, id topology.QueryID, through topology.Epoch, w waiter) {
	v.run(ctx, &v.control, 0, w, func(w waiter) (bool, error) {
		q := v.queries[id]
		if q == nil || q.dropped || q.dropping || through <= q.trim {
			return false, nil
		}
		v.enqueue(&record{typ: recordTrim, query: id, last: through}, w, &op{applied: func(r ref) outcome {
			if through > q.trim && !q.dropped {
				q.trim = through
				v.set(&q.trimRef, r)
				v.trimQuery(q)
			}
			return outcome{}
		}})
		return true, nil
	})
}

func (v *Vault) trimQuery(q *queryIndex) {
	for _, c := range q.chains {
		if c.pending > 0 {
			c.prunes = true
			continue
		}
		v.prune(q, c)
	}
	for _, l := range q.logs {
		v.trimSeals(l, q.trim)
	}
	notify(v.compact)
}

func (v *Vault) prune(q *queryIndex, c *chain) {
	c.prunes = false
	c.prune(q.trim, func(e *deltaEntry) { v.forget(&e.ref) })
}

// Drop forgets a query for good: what is put for it later is refused.
func (v *Vault) Drop(ctx context.Context, id topology.QueryID) *Commit {
	c := newCommit()
	v.drop(ctx, id, c.waiter())
	return c
}

func (v *Vault) drop(ctx context.Context, id topology.QueryID, w waiter) {
	v.run(ctx, &v.control, 0, w, func(w waiter) (bool, error) {
		if q := v.queries[id]; q != nil && q.dropped {
			return false, nil
		}
		q, err := v.query(id)
		if errors.Is(err, ErrDropped) {
			q = v.queries[id] // the first Drop still waits; another record does no harm
		}
		q.dropping = true
		v.enqueue(&record{typ: recordDrop, query: id}, w, &op{applied: func(r ref) outcome {
			v.set(&q.dropRef, r)
			v.dropQuery(q)
			return outcome{}
		}})
		return true, nil
	})
}

func (v *Vault) dropQuery(q *queryIndex) {
	q.dropped = true
	v.forget(&q.trimRef)
	for _, c := range q.chains {
		for i := range c.entries {
			v.forget(&c.entries[i].ref)
		}
	}
	for _, l := range q.logs {
		v.forget(&l.promiseRef)
		v.forget(&l.join.ref)
		for i := range l.entries {
			v.forget(&l.entries[i].ref)
			v.forget(&l.entries[i].stamp)
		}
		for i := range l.cuts {
			v.forget(&l.cuts[i].ref)
		}
		// Operations under way find nothing that they are for: their records are dead.
		l.entries, l.cuts, l.join, l.dropped = nil, nil, joinEntry{}, true
	}
	q.chains, q.logs = nil, nil
	notify(v.compact)
}

// Queries lists the queries that anything is held of, ascending.
func (v *Vault) Queries() []topology.QueryID {
	v.mu.Lock()
	defer v.mu.Unlock()
	var ids []topology.QueryID
	for id, q := range v.queries {
		if !q.dropped {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b topology.QueryID) int {
		if a.Incarnation != b.Incarnation {
			return cmp.Compare(a.Incarnation, b.Incarnation)
		}
		return cmp.Compare(a.Generation, b.Generation)
	})
	return ids
}

// Stats gives the vault's figures.
func (v *Vault) Stats() Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.stats
	s.Segments, s.Reserved, s.Full, s.Failed = len(v.segments), v.reserved, v.full, v.failed
	for _, g := range v.segments {
		s.LiveBytes += g.live
		s.DiskBytes += g.size
	}
	for _, q := range []*queue{&v.control, &v.deltas, &v.inflight, &v.moving} {
		s.Pending += len(q.ops)
	}
	return s
}
