package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	retryMin = 10 * time.Millisecond
	retryMax = 500 * time.Millisecond
	// ailingMax is how long a vault may answer with errors only before another one takes its place.
	ailingMax = 2 * time.Second
	// windowMax is how many records may be on their way to one vault.
	windowMax = 512
)

// backoff is the growing wait between attempts.
type backoff struct{ next time.Duration }

func (b *backoff) wait(ctx context.Context) error {
	b.next = min(max(2*b.next, retryMin), retryMax)
	return pause(ctx, b.next)
}

// sealMember is one vault that holds the log or is to hold it. One goroutine writes to it.
type sealMember struct {
	writer  *SealWriter
	process topology.Process
	cancel  context.CancelFunc
	more    chan struct{} // records have come

	// Under the writer's mu.
	joined     bool           // it has said that it holds an adopted log
	held, done topology.Epoch // all records up to there are held, are fsynced
	err        error          // how the last session ended
	broken     bool           // it will never do: replace it
	restart    func(error)    // ends the session under way; nil before the first
	ailing     time.Time      // when it began to answer with errors only; zero when it does not
}

// run writes to the vault until ctx ends or the vault turns out to be of no use.
func (m *sealMember) run(ctx context.Context) {
	w := m.writer
	var retry backoff
	for {
		w.mu.Lock()
		before := m.held
		w.mu.Unlock()
		err := m.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if w.fatal(m, err) {
			return
		}
		if errors.Is(err, errTermRaised) {
			retry = backoff{}
			continue
		}
		w.mu.Lock()
		m.err = err
		if w.outdated(err) {
			w.mu.Unlock()
			wake(w.wake)
			if !m.pause(ctx, &retry) {
				return
			}
			continue
		}
		first := m.ailing.IsZero()
		if first {
			m.ailing = time.Now()
		}
		m.broken = useless(err)
		broken := m.broken
		if m.held > before {
			retry = backoff{}
		}
		w.mu.Unlock()
		if first || broken {
			w.log.Warn("a vault takes no seals", "query", w.config.Query, "log", w.config.Set.Log, "vault", m.process, "error", err)
			wake(w.wake)
		}
		if broken || retry.wait(ctx) != nil {
			return
		}
	}
}

// fatal stops the writer when err says that nothing it writes can count.
func (w *SealWriter) fatal(m *sealMember, err error) bool {
	var conflict *vault.SealConflictError
	switch {
	case errors.As(err, &conflict), errors.Is(err, vault.ErrDropped), errors.Is(err, vault.ErrTooLarge):
		w.fail(fmt.Errorf("backup: vault %v refuses seal log %d for good: %w", m.process, w.config.Set.Log, err))
	default:
		return false
	}
	return true
}

// pause waits between attempts, but no longer than until the log has a higher term; false when ctx ends.
func (m *sealMember) pause(ctx context.Context, retry *backoff) bool {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m.writer.mu.Lock()
	m.restart = cancel
	again := m.writer.promised <= m.writer.term
	m.writer.mu.Unlock()
	if again {
		return ctx.Err() == nil
	}
	return retry.wait(ctx) == nil || errors.Is(context.Cause(ctx), errTermRaised)
}

// outdated says whether err is the answer of a vault that a successor has fenced. The cluster knows whether the log goes on under a
// higher term or is another's: nothing is released until it has said so. w.mu is held.
func (w *SealWriter) outdated(err error) bool {
	var fenced *vault.FencedError
	if !errors.As(err, &fenced) {
		return false
	}
	w.promised = max(w.promised, topology.Term(fenced.Promise))
	return true
}

// ails says whether the vault should give its place to another one when there is one: its disk is full, or nothing has come of
// writing to it for a while. The writer's mu is held.
func (m *sealMember) ails(now time.Time) bool {
	return m.broken || m.full() || !m.ailing.IsZero() && now.Sub(m.ailing) > ailingMax
}

// full says whether the vault's disk has no room. The writer's mu is held.
func (m *sealMember) full() bool {
	var full *vault.DiskFullError
	return !m.ailing.IsZero() && errors.As(m.err, &full)
}

// useless says whether a vault that has answered so will never hold the log again.
func useless(err error) bool {
	var gone *GoneError
	var failed *vault.FailedError
	var corrupt *vault.CorruptError
	var gap *vault.SealGapError
	var joined *vault.NotJoinedError
	return errors.As(err, &gone) || errors.As(err, &failed) || errors.As(err, &corrupt) || errors.As(err, &gap) || errors.As(err, &joined)
}

// session writes over one connection until something fails.
func (m *sealMember) session(ctx context.Context) error {
	w := m.writer
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.mu.Lock()
	term := w.term
	m.restart = cancel
	w.mu.Unlock()
	access, err := w.config.Vaults.Vault(ctx, m.process)
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	holds, dones := make(chan ack, windowMax), make(chan ack, windowMax)
	var followers sync.WaitGroup
	followers.Go(func() { m.takeHeld(ctx, holds, dones, cancel) })
	followers.Go(func() { m.takeDone(ctx, dones, cancel) })
	err = m.write(ctx, access, term, holds)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(err)
	followers.Wait()
	return err
}

// ack is the future of all records up to an epoch, as written with a term.
type ack struct {
	term    topology.Term
	through topology.Epoch
	commit  *vault.Commit
	adopts  bool
}

// write puts what the vault lacks, and what comes, in order. What it holds without having fsynced it is put again: the vault
// knows it and answers when it is.
func (m *sealMember) write(ctx context.Context, access vault.Access, term topology.Term, acks chan<- ack) error {
	w := m.writer
	w.mu.Lock()
	joined, sent := m.joined, m.done
	w.mu.Unlock()
	for {
		records, start := w.behind(sent)
		switch {
		case start == 0, joined && len(records) == 0:
			select {
			case <-m.more:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		case !joined:
			a, err := w.adoption(ctx, access, term, records, start)
			if err != nil {
				return err
			}
			if a.adopts, joined = true, true; !offer(ctx, acks, a) {
				return ctx.Err()
			}
			sent = a.through
			continue
		}
		for _, r := range records {
			payload, err := r.pack()
			if err != nil {
				return err
			}
			c := access.PutSeal(ctx, vault.SealPut{Query: w.config.Query, Source: w.source, Term: uint64(term), Seal: vault.Seal{First: r.first, Last: r.last, Data: payload}})
			if !offer(ctx, acks, ack{term: term, through: r.last, commit: c}) {
				return ctx.Err()
			}
			sent = r.last
		}
	}
}

func offer(ctx context.Context, to chan<- ack, a ack) bool {
	select {
	case to <- a:
		return true
	case <-ctx.Done():
		return false
	}
}

// behind gives the records behind epoch e, and where the log starts; 0 when it has not.
func (w *SealWriter) behind(e topology.Epoch) ([]*sealRecord, topology.Epoch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := sort.Search(len(w.records), func(i int) bool { return w.records[i].last > e })
	return append([]*sealRecord(nil), w.records[i:]...), w.start
}

// adoption makes the vault adopt the log as it is.
func (w *SealWriter) adoption(ctx context.Context, access vault.Access, term topology.Term, records []*sealRecord, start topology.Epoch) (ack, error) {
	a := vault.Adoption{Query: w.config.Query, Source: w.source, Term: uint64(term), Start: start}
	through := start - 1
	for _, r := range records {
		payload, err := r.pack()
		if err != nil {
			return ack{}, err
		}
		a.Seals = append(a.Seals, vault.Seal{First: r.first, Last: r.last, Data: payload})
		through = r.last
	}
	return ack{term: term, through: through, commit: vault.AdoptLog(ctx, access, a)}, nil
}

// takeHeld raises what is held, in the order in which it was put.
func (m *sealMember) takeHeld(ctx context.Context, from <-chan ack, to chan<- ack, fail func(error)) {
	for {
		select {
		case a := <-from:
			if err := a.commit.WaitHeld(ctx); err != nil {
				fail(err)
				return
			}
			m.advance(a.term, func() {
				m.joined = m.joined || a.adopts
				m.held = max(m.held, a.through)
			})
			if !offer(ctx, to, a) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// takeDone raises what is fsynced.
func (m *sealMember) takeDone(ctx context.Context, from <-chan ack, fail func(error)) {
	for {
		select {
		case a := <-from:
			if err := a.commit.Wait(ctx); err != nil {
				fail(err)
				return
			}
			m.advance(a.term, func() {
				m.done = max(m.done, a.through)
				m.err, m.ailing = nil, time.Time{}
			})
		case <-ctx.Done():
			return
		}
	}
}

// advance changes what is known of the member under a term and raises the marks.
func (m *sealMember) advance(term topology.Term, change func()) {
	w := m.writer
	w.mu.Lock()
	if w.members[m.process] != m || w.term != term {
		w.mu.Unlock()
		return // it was left, or is to join again
	}
	change()
	raised := w.raise()
	joining := !containsProcess(w.set.Members, m.process)
	w.mu.Unlock()
	raised()
	if joining {
		wake(w.wake)
	}
}
