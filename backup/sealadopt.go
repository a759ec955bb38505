package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// GoneLogError says that the cluster knows no such log: whoever asked to adopt it acts on a placement of the past.
type GoneLogError struct {
	Query topology.QueryID
	Log   topology.SealLog
}

func (e *GoneLogError) Error() string {
	return fmt.Sprintf("backup: seal log %d of query %x is not known to the cluster (any more): it was adopted before", e.Log, e.Query.Incarnation)
}

// fencePause is the wait between two rounds in which no member of a log could give it.
const fencePause = 50 * time.Millisecond

// Adopt fences the logs of former owners under their terms and gives what they hold, in the order of logs; records up to the trim
// point may be missing. It waits until it can, and Waiting says for what.
//
// One member of the set that the cluster names and that has joined in its present life is enough: a record was released only when
// every such member held it, and what it holds from its promise on never changes. So is one that still lives as the process that
// was named and never joined: then nothing was ever released.
//
// When all members have restarted, what they held in memory only is gone. Nothing is decided until every member's node has
// answered from its disk or has left the cluster for good; then the longest log is taken. That loses no external effect: those wait
// until every member has fsynced the seal, so each disk that comes back has it. Records that were released and not durable may be
// lost; a survivor that has acted on one notices that it is ahead (the design's generation change). Waiting for all of them makes
// that as rare as can be.
//
// A log whose owner lives on, with other source key groups, is fenced like any other: the term in the set is higher than the one that
// the owner wrote with while it had what was given away. It goes on under the new term, and nobody acts on what it may release
// then of what was given away.
//
// Errors: *GoneLogError, vault.ErrDropped, ctx's.
func (w *SealWriter) Adopt(ctx context.Context, logs []topology.SealLog) ([]AdoptedLog, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(w.ctx, cancel)
	defer stop()
	out := make([]AdoptedLog, len(logs))
	errs := make([]error, len(logs))
	var workers sync.WaitGroup
	for i, log := range logs {
		workers.Go(func() {
			defer w.waitsFor(log, "")
			if out[i], errs[i] = w.fence(ctx, log); errs[i] != nil {
				cancel()
			}
			out[i].Log = log
		})
	}
	workers.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil && !errors.Is(err, context.Canceled) }); i >= 0 {
		return nil, fmt.Errorf("backup: adopting seal log %d: %w", logs[i], errs[i])
	}
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		if err := w.Err(); err != nil {
			return nil, err
		}
		return nil, errs[i]
	}
	return out, nil
}

// Waiting says what Adopt waits for, in words for people; empty when it does not wait.
func (w *SealWriter) Waiting() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	logs := make([]topology.SealLog, 0, len(w.waiting))
	for log := range w.waiting {
		logs = append(logs, log)
	}
	slices.Sort(logs)
	var b strings.Builder
	for i, log := range logs {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(w.waiting[log])
	}
	return b.String()
}

func (w *SealWriter) waitsFor(log topology.SealLog, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if what == "" {
		delete(w.waiting, log)
		return
	}
	w.waiting[log] = what
}

// fence gives one log, as soon as that is possible.
func (w *SealWriter) fence(ctx context.Context, log topology.SealLog) (AdoptedLog, error) {
	for {
		set, ok := w.config.Sets(log)
		switch {
		case !ok:
			return AdoptedLog{}, &GoneLogError{w.config.Query, log}
		default:
			adopted, wait, err := w.round(ctx, set)
			if err != nil || wait == "" {
				return adopted, err
			}
			w.waitsFor(log, wait)
		}
		if err := pause(ctx, fencePause); err != nil {
			return AdoptedLog{}, err
		}
	}
}

// fenced is what one vault has answered.
type fenced struct {
	member  topology.Process // as the set names it
	process topology.Process // that was asked
	state   vault.LogState
	records []SealRecord
	err     error
	left    bool // the member's node is no part of the cluster any more
}

// adopted is the log. A vault to which its owner has written it anew, under a higher term or because it is new in the set, has what the owner had
// not trimmed then, which may be less than what the vault itself was told to keep: of what comes before that it knows nothing.
func (f *fenced) adopted() AdoptedLog {
	start := f.state.Next
	if len(f.records) > 0 {
		start = f.records[0].First
	}
	return AdoptedLog{Records: f.records, Trim: max(f.state.Trim, start-1)}
}

// counts says that the answer alone tells all that was released.
func (f *fenced) counts() bool { return f.err == nil && !f.left && f.process == f.member }

// round asks all members once. wait says, when the log cannot be had yet, for what.
func (w *SealWriter) round(ctx context.Context, set topology.SealSet) (adopted AdoptedLog, wait string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	answers := make(chan fenced, len(set.Members))
	for _, m := range set.Members {
		go func() { answers <- w.ask(ctx, set, m) }()
	}
	all := make([]fenced, 0, len(set.Members))
	defer func() { // the goroutines are this function's
		cancel()
		for range len(set.Members) - len(all) {
			<-answers
		}
	}()
	for range set.Members {
		f := <-answers
		all = append(all, f)
		if f.counts() {
			return f.adopted(), "", nil
		}
		if errors.Is(f.err, vault.ErrDropped) {
			return AdoptedLog{}, "", f.err
		}
		if promised := (*vault.FencedError)(nil); errors.As(f.err, &promised) {
			// Somebody else was given a part of the log's sources later, or the rest: the cluster's next view has that term.
			return AdoptedLog{}, fmt.Sprintf("seal log %d of %v: %v has promised term %d, this node knows of term %d so far", set.Log, set.Owner, f.process, promised.Promise, set.Term), nil
		}
	}
	if err := ctx.Err(); err != nil {
		return AdoptedLog{}, "", err
	}
	return longest(set, all)
}

// longest decides when no member's answer counts alone.
func longest(set topology.SealSet, all []fenced) (adopted AdoptedLog, wait string, err error) {
	var best *fenced
	var missing []string
	for i := range all {
		f := &all[i]
		switch {
		case f.left:
		case f.err != nil:
			missing = append(missing, fmt.Sprintf("%v (%v)", f.process, f.err))
		case best == nil || f.state.Next > best.state.Next:
			best = f
		}
	}
	slices.Sort(missing)
	switch {
	case len(missing) > 0:
		return AdoptedLog{}, fmt.Sprintf("seal log %d of %v: one of its vaults that still lives, or all that restarted, must answer; start again or wait for %s",
			set.Log, set.Owner, strings.Join(missing, ", ")), nil
	case best == nil:
		return AdoptedLog{}, fmt.Sprintf("seal log %d of %v: all nodes that kept it have left the cluster; only query recover --accept-loss goes on", set.Log, set.Owner), nil
	}
	return best.adopted(), "", nil
}

// ask fences at a member, or at the process that its node runs now.
func (w *SealWriter) ask(ctx context.Context, set topology.SealSet, member topology.Process) fenced {
	f := fenced{member: member, process: member}
	if w.config.Current != nil {
		now, ok := w.config.Current(member.Node)
		if !ok {
			f.left = true
			return f
		}
		f.process = now
	}
	access, err := w.config.Vaults.Vault(ctx, f.process)
	var gone *GoneError
	if errors.As(err, &gone) && gone.Now.Node == member.Node {
		f.process = gone.Now // the cluster does not know of it yet
		access, err = w.config.Vaults.Vault(ctx, f.process)
	}
	if err != nil {
		f.err = err
		return f
	}
	query := w.config.Query
	if set.Generation != 0 {
		query.Generation = set.Generation // the log may be of a generation before
	}
	request := vault.FenceRequest{Query: query, Source: SourceOf(set.Log), Term: uint64(set.Term)}
	f.state, f.err = access.Fence(ctx, request, func(s *vault.Seal) error {
		data, err := s.Data.Append(make([]byte, 0, s.Data.Len()))
		if err != nil {
			return err
		}
		f.records = append(f.records, SealRecord{First: s.First, Last: s.Last, Data: data})
		return nil
	})
	if f.err == nil && f.state.Boot != f.process.Boot {
		f.process.Boot = f.state.Boot // an Access that does not check who it talks to
	}
	return f
}
