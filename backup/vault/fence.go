package vault

import (
	"context"
	"errors"
	"sync"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// FencedLog is a seal log as it was when its vault promised to refuse lower terms. Close it.
type FencedLog struct {
	State LogState
	vault *Vault
	query topology.QueryID
	parts []part
}

// Fence makes the vault refuse terms below the request's for good, and calls take with the seals of the log as it is from then
// on, ascending: every seal that was ever released is in it when the vault counted (LogState.Joined). Promise and log are
// durable before the first call. A term may fence twice.
//
// Errors: *FencedError, *DiskFullError, *FailedError, *CorruptError, ErrDropped, those of take and ctx.
func (v *Vault) Fence(ctx context.Context, r FenceRequest, take func(s *Seal) error) (LogState, error) {
	log, err := v.FenceLog(ctx, r)
	if err != nil {
		return LogState{}, err
	}
	return log.State, errors.Join(log.Each(take), log.Close())
}

// FenceLog is Fence for whoever reads the log later.
func (v *Vault) FenceLog(ctx context.Context, r FenceRequest) (*FencedLog, error) {
	var mu sync.Mutex
	var log *FencedLog
	var err error
	var left bool // nobody waits any more
	answered := make(chan struct{})
	v.fence(ctx, r, func(l *FencedLog, e error) {
		mu.Lock()
		defer mu.Unlock()
		log, err = l, e
		if left && l != nil {
			v.closeLog(l)
		}
		close(answered)
	})
	select {
	case <-answered:
		return log, err
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	left = true
	if log != nil {
		v.closeLog(log)
	}
	return nil, ctx.Err()
}

func (v *Vault) closeLog(l *FencedLog) {
	if err := l.Close(); err != nil {
		v.log.Warn("vault cannot close a file", "error", err)
	}
}

func (v *Vault) fence(ctx context.Context, r FenceRequest, done func(*FencedLog, error)) {
	var log *FencedLog
	w := waiter{done: func(o outcome) {
		if o.err != nil {
			log = nil
		}
		done(log, o.err)
	}}
	v.run(ctx, &v.control, 0, w, func(w waiter) (bool, error) {
		l, err := v.sealLog(r.Query, r.Source)
		if err != nil {
			return false, err
		}
		if err := l.refuse(r.Term); err != nil {
			return false, err
		}
		v.raise(l, r.Term, w, func() outcome {
			if l.dropped {
				return outcome{err: ErrDropped}
			}
			if err := l.refuse(r.Term); err != nil {
				return outcome{err: err}
			}
			log = v.fenced(l)
			return outcome{}
		})
		return true, nil
	})
}

// fenced takes down a log all of which is fsynced; v.mu is held.
func (v *Vault) fenced(l *sealLog) *FencedLog {
	f := &FencedLog{vault: v, query: l.query, State: v.logState(l)}
	for i := range l.entries {
		e := &l.entries[i]
		if e.ref.none() { // put by the fencing term itself since
			if i == 0 {
				f.State.Next = e.first
			}
			break
		}
		s := v.byNumber[e.ref.segment]
		s.pin()
		f.parts = append(f.parts, part{segment: s, ref: e.ref})
		f.State.Next = e.last + 1
	}
	f.State.Seals = len(f.parts)
	return f
}

func (v *Vault) logState(l *sealLog) LogState {
	s := LogState{Boot: v.config.Boot, LogBoot: l.join.boot, JoinTerm: l.join.term, Joined: l.joined, Next: l.next, Seals: len(l.entries)}
	if q := v.queries[l.query]; q != nil {
		s.Trim = q.trim
	}
	return s
}

// Each calls take with every seal, ascending. Take must not keep the seal's bytes.
func (f *FencedLog) Each(take func(s *Seal) error) error {
	var buf []byte
	for _, p := range f.parts {
		var x record
		var err error
		if buf, x, err = p.segment.read(p.ref, buf); err != nil {
			return err
		}
		if x.typ != recordSeal || x.query != f.query {
			return &CorruptError{p.segment.path, int64(p.ref.offset), "it holds another record than was written there"}
		}
		if err := take(&Seal{x.first, x.last, x.payload}); err != nil {
			return err
		}
	}
	return nil
}

// Close gives back the files that the log is read from. Closing twice is fine.
func (f *FencedLog) Close() error {
	var errs []error
	for _, p := range f.parts {
		errs = append(errs, p.segment.unpin())
	}
	f.parts = nil
	return errors.Join(errs...)
}

// Log says what is held of a seal log, and the term below which it refuses. Unlike Fence it promises nothing.
func (v *Vault) Log(id topology.QueryID, source SourceKey) (state LogState, promise uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	q := v.queries[id]
	if q == nil || q.logs[source] == nil {
		return LogState{Boot: v.config.Boot}, 0
	}
	l := q.logs[source]
	return v.logState(l), l.promise
}
