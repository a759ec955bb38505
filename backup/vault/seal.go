package vault

import (
	"context"
	"fmt"
	"sort"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Seal is what an owner put into the epochs First..Last.
type Seal struct {
	First, Last topology.Epoch
	Data        Payload
}

// SealPut is the next seal of a log, by the owner of a term.
type SealPut struct {
	Query  topology.QueryID
	Source SourceKey
	Term   uint64
	Seal
}

// Adoption makes a vault hold an owner's log, which counts for it from then on. A log too large for one call is put in
// several, in order, Begin in the first and End in the last; Start of each is where the seals of the one before end.
type Adoption struct {
	Query  topology.QueryID
	Source SourceKey
	Term   uint64
	Start  topology.Epoch // First of the first seal, or where the log will go on when there is none
	Seals  []Seal         // contiguous
	Begin  bool
	End    bool
}

// FenceRequest asks a vault to refuse terms below Term from now on.
type FenceRequest struct {
	Query  topology.QueryID
	Source SourceKey
	Term   uint64
}

// LogState says what a fenced log is worth.
type LogState struct {
	Boot     topology.BootID // of the vault's process
	LogBoot  topology.BootID // under which the log was joined last, 0 when never
	JoinTerm uint64          // with which it was joined
	// Joined says that the log was joined in this process and has lost nothing since.
	Joined bool
	Trim   topology.Epoch // no seal that ends at or before it is held
	Next   topology.Epoch // behind the last epoch held, 0 when no seal is and the log was never joined
	Seals  int
}

// sealEntry is one seal in the index. It is pending while ref is none.
type sealEntry struct {
	first, last topology.Epoch
	term        uint64
	serial      uint64
	print       fingerprint
	ref         ref
	stamp       ref // the record that gave it its term, when it is not its own
}

// cutEntry says that seals within first..last with a lower serial are no part of the log. It is kept while such seals may be
// found in the log's files: until the trim point has passed them.
type cutEntry struct {
	first, last topology.Epoch
	serial      uint64
	ref         ref
}

// sealLog is what is held for one source: contiguous seals, ascending.
type sealLog struct {
	query  topology.QueryID
	source SourceKey

	promise    uint64 // lower terms are refused
	promised   uint64 // the part of it that is fsynced
	promiseRef ref

	entries []sealEntry
	cuts    []cutEntry
	next    topology.Epoch // where the next seal begins

	join     joinEntry
	joined   bool // in this process
	adopting adopting
	dropped  bool // with its query
}

type joinEntry struct {
	boot        topology.BootID
	term        uint64
	serial      uint64
	first, last topology.Epoch
	ref         ref
}

type adopting struct {
	active bool
	term   uint64
	start  topology.Epoch // of the first part
	next   topology.Epoch
}

// find is the index of the first entry that ends at or behind e.
func (l *sealLog) find(e topology.Epoch) int {
	return sort.Search(len(l.entries), func(i int) bool { return l.entries[i].last >= e })
}

func (l *sealLog) bySerial(serial uint64) *sealEntry {
	for i := len(l.entries) - 1; i >= 0; i-- {
		if l.entries[i].serial == serial {
			return &l.entries[i]
		}
	}
	return nil
}

// refuse says why term may not write, or nil.
func (l *sealLog) refuse(term uint64) error {
	if term < l.promise {
		return &FencedError{l.query, l.source, term, l.promise}
	}
	return nil
}

func checkSeal(s *Seal) error {
	if s.First < 1 || s.Last < s.First {
		return fmt.Errorf("%w: seal of epochs [%d,%d]", ErrMalformed, s.First, s.Last)
	}
	return nil
}

func checkSource(k SourceKey) error {
	if len(k) > SourceKeyBytesMax {
		return fmt.Errorf("%w: source key of %d bytes, at most %d", ErrTooLarge, len(k), SourceKeyBytesMax)
	}
	return nil
}

// PutSeal appends a seal to a log that its owner has Adopted here with the same term. What is Held may be released; what is
// Done survives power loss. A seal that is held already is fine when its bytes are the same.
//
// Errors: *FencedError, *NotJoinedError, *SealGapError, *SealConflictError, *DiskFullError, *FailedError, ErrDropped,
// ErrMalformed.
//
// ctx bounds the waiting for room among the seals that wait for their fsync.
func (v *Vault) PutSeal(ctx context.Context, p SealPut) *Commit {
	c := newCommit()
	v.putSeal(ctx, p, c.waiter())
	return c
}

func (v *Vault) putSeal(ctx context.Context, p SealPut, w waiter) {
	v.run(ctx, &v.control, p.Data.StoredLen(), w, func(w waiter) (bool, error) {
		if err := checkSeal(&p.Seal); err != nil {
			return false, err
		}
		l, err := v.sealLog(p.Query, p.Source)
		if err != nil {
			return false, err
		}
		if err := l.refuse(p.Term); err != nil {
			return false, err
		}
		if !l.joined || l.join.term != p.Term {
			return false, v.notJoined(l, p.Term)
		}
		if p.Last <= v.queries[p.Query].trim {
			if p.First == l.next {
				l.next = p.Last + 1
			}
			return false, nil
		}
		if p.First < l.next {
			return v.heldSeal(l, &p, w)
		}
		if p.First > l.next {
			return false, &SealGapError{p.Query, p.Source, p.First, l.next}
		}
		v.appendSeal(l, p.Term, p.Seal, w)
		return true, nil
	})
}

func (v *Vault) notJoined(l *sealLog, term uint64) error {
	return &NotJoinedError{l.query, l.source, term, v.config.Boot, l.join.boot, l.join.term}
}

// heldSeal answers a seal that begins before the log's end.
func (v *Vault) heldSeal(l *sealLog, p *SealPut, w waiter) (bool, error) {
	i := l.find(p.First)
	if i < len(l.entries) {
		e := &l.entries[i]
		if e.first == p.First && e.last == p.Last && e.print == fingerprintOf(p.Data) {
			return v.joinPending(e, w), nil
		}
	}
	return false, &SealConflictError{p.Query, p.Source, p.Term, p.First}
}

// joinPending makes w wait for what of e is not fsynced yet, and says whether there is any.
func (v *Vault) joinPending(e *sealEntry, w waiter) bool {
	if !e.ref.none() {
		return false
	}
	for _, q := range []*queue{&v.inflight, &v.control} {
		for _, o := range q.ops {
			if o.kind == recordSeal && o.serial == e.serial {
				o.dones = append(o.dones, w.done)
				return true
			}
		}
	}
	return false
}

// appendSeal takes a seal into the log, in order, and queues it.
func (v *Vault) appendSeal(l *sealLog, term uint64, s Seal, w waiter) {
	v.serial++
	e := sealEntry{first: s.First, last: s.Last, term: term, serial: v.serial, print: fingerprintOf(s.Data)}
	i := l.find(e.last)
	l.entries = append(l.entries, sealEntry{})
	copy(l.entries[i+1:], l.entries[i:])
	l.entries[i] = e
	l.next = max(l.next, e.last+1)
	v.enqueue(&record{typ: recordSeal, query: l.query, source: l.source, term: term, serial: e.serial, first: e.first, last: e.last, payload: s.Data}, w,
		&op{serial: e.serial, applied: func(r ref) outcome {
			if e := l.bySerial(e.serial); e != nil {
				v.set(&e.ref, r)
			}
			return outcome{}
		}})
}

// raise promises term, when it is higher, and queues the promise.
func (v *Vault) raise(l *sealLog, term uint64, w waiter, applied func() outcome) {
	l.promise = max(l.promise, term)
	v.enqueue(&record{typ: recordPromise, query: l.query, source: l.source, term: term}, w, &op{applied: func(r ref) outcome {
		if term >= l.promised && !l.dropped {
			l.promised = term
			v.set(&l.promiseRef, r)
		}
		if applied != nil {
			return applied()
		}
		return outcome{}
	}})
}

// Adopt makes the vault hold exactly the owner's log: seals of lower terms that are not in it go, and with its End the vault
// counts as joined by that term in this process. A new owner adopts its log at every vault of the set before it seals; so does
// the owner at a vault that is new or has restarted. Seals that are held already cost no second copy.
//
// Errors: *FencedError, *SealGapError for a part that does not follow, *SealConflictError, *DiskFullError, *FailedError,
// ErrDropped, ErrMalformed.
func (v *Vault) Adopt(ctx context.Context, a Adoption) *Commit {
	c := newCommit()
	v.adopt(ctx, a, c.waiter())
	return c
}

func (v *Vault) adopt(ctx context.Context, a Adoption, w waiter) {
	bytes := 0
	for i := range a.Seals {
		bytes += a.Seals[i].Data.StoredLen()
	}
	v.run(ctx, &v.control, bytes, w, func(w waiter) (bool, error) {
		l, err := v.sealLog(a.Query, a.Source)
		if err != nil {
			return false, err
		}
		if err := v.checkAdoption(l, &a); err != nil {
			return false, err
		}
		trim := v.queries[a.Query].trim
		if a.Begin {
			v.beginAdoption(l, &a)
		}
		for _, s := range a.Seals {
			l.adopting.next = s.Last + 1
			if s.Last > trim {
				v.adoptSeal(l, a.Term, s)
			}
		}
		if a.End {
			v.endAdoption(l, a.Term, w)
			return true, nil
		}
		v.raise(l, a.Term, w, nil)
		return true, nil
	})
}

// checkAdoption finds everything that may be wrong with a before anything is changed.
func (v *Vault) checkAdoption(l *sealLog, a *Adoption) error {
	if err := l.refuse(a.Term); err != nil {
		return err
	}
	if len(a.Seals) > AdoptSealsMax {
		return fmt.Errorf("%w: %d seals in one part of a log, at most %d", ErrTooLarge, len(a.Seals), AdoptSealsMax)
	}
	if a.Start < 1 {
		return fmt.Errorf("%w: log that starts at epoch %d", ErrMalformed, a.Start)
	}
	if !a.Begin && (!l.adopting.active || l.adopting.term != a.Term || l.adopting.next != a.Start) {
		return &SealGapError{a.Query, a.Source, a.Start, l.adopting.next}
	}
	next := a.Start
	for i := range a.Seals {
		s := &a.Seals[i]
		if err := checkSeal(s); err != nil {
			return err
		}
		if s.First != next {
			return &SealGapError{a.Query, a.Source, s.First, next}
		}
		next = s.Last + 1
		for j := l.find(s.First); j < len(l.entries) && l.entries[j].first <= s.Last; j++ {
			e := &l.entries[j]
			if e.term >= a.Term && !e.is(s) {
				return &SealConflictError{a.Query, a.Source, a.Term, s.First}
			}
		}
	}
	return nil
}

func (e *sealEntry) is(s *Seal) bool {
	return e.first == s.First && e.last == s.Last && e.print == fingerprintOf(s.Data)
}

// beginAdoption promises the term and cuts what lies before the owner's log, which the trim point has passed.
func (v *Vault) beginAdoption(l *sealLog, a *Adoption) {
	if a.Term > l.promise {
		v.raise(l, a.Term, waiter{}, nil)
	}
	l.joined = false
	l.adopting = adopting{active: true, term: a.Term, start: a.Start, next: a.Start}
	v.cut(l, 0, l.find(a.Start))
}

// adoptSeal makes s part of the log. A held one of a lower term that differs was never released: it goes, and all of lower
// terms behind it.
func (v *Vault) adoptSeal(l *sealLog, term uint64, s Seal) {
	i := l.find(s.First)
	if i < len(l.entries) && l.entries[i].is(&s) {
		e := &l.entries[i]
		if e.term == term {
			return
		}
		e.term = term
		serial := e.serial
		v.enqueue(&record{typ: recordStamp, query: l.query, source: l.source, term: term, target: serial}, waiter{}, &op{applied: func(r ref) outcome {
			if e := l.bySerial(serial); e != nil && e.term == term {
				v.set(&e.stamp, r)
			}
			return outcome{}
		}})
		return
	}
	if i < len(l.entries) && l.entries[i].first <= s.Last {
		v.cutBelow(l, i, term)
	}
	v.appendSeal(l, term, s, waiter{})
}

// endAdoption cuts what of lower terms lies behind the adopted log, and joins.
func (v *Vault) endAdoption(l *sealLog, term uint64, w waiter) {
	v.cutBelow(l, l.find(l.adopting.next), term)
	l.next = l.adopting.next
	if n := len(l.entries); n > 0 {
		l.next = max(l.next, l.entries[n-1].last+1)
	}
	v.serial++
	j := joinEntry{boot: v.config.Boot, term: term, serial: v.serial, first: l.adopting.start, last: l.adopting.next - 1}
	old := l.join.ref
	l.join, l.joined, l.adopting = j, true, adopting{}
	l.join.ref = old // until the new one is fsynced
	v.enqueue(&record{typ: recordJoin, query: l.query, source: l.source, term: term, serial: j.serial, boot: uint64(j.boot), first: j.first, last: j.last}, w,
		&op{applied: func(r ref) outcome {
			if l.join.serial == j.serial {
				v.set(&l.join.ref, r)
			}
			return outcome{}
		}})
}

// cutBelow cuts the entries from i on whose terms are lower; those of the term itself follow no other.
func (v *Vault) cutBelow(l *sealLog, i int, term uint64) {
	end := i
	for end < len(l.entries) && l.entries[end].term < term {
		end++
	}
	v.cut(l, i, end)
}

// cut takes the entries [i, end) out of the log for good.
func (v *Vault) cut(l *sealLog, i, end int) {
	if i >= end {
		return
	}
	v.serial++
	c := cutEntry{first: l.entries[i].first, last: l.entries[end-1].last, serial: v.serial}
	for k := i; k < end; k++ {
		v.forget(&l.entries[k].ref)
		v.forget(&l.entries[k].stamp)
	}
	l.entries = append(l.entries[:i], l.entries[end:]...)
	l.cuts = append(l.cuts, c)
	v.enqueue(&record{typ: recordCut, query: l.query, source: l.source, serial: c.serial, first: c.first, last: c.last}, waiter{}, &op{applied: func(r ref) outcome {
		for k := range l.cuts {
			if l.cuts[k].serial == c.serial {
				v.set(&l.cuts[k].ref, r)
			}
		}
		return outcome{}
	}})
}

// trimSeals drops what ends at or before the trim point.
func (v *Vault) trimSeals(l *sealLog, trim topology.Epoch) {
	n := l.find(trim + 1)
	for i := range l.entries[:n] {
		v.forget(&l.entries[i].ref)
		v.forget(&l.entries[i].stamp)
	}
	l.entries = append(l.entries[:0], l.entries[n:]...)
	kept := l.cuts[:0]
	for i := range l.cuts {
		if l.cuts[i].last > trim {
			kept = append(kept, l.cuts[i])
		} else {
			v.forget(&l.cuts[i].ref)
		}
	}
	l.cuts = kept
}
