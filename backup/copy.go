package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// copyWindowBytes is how much of one copy may wait for its fsync.
	copyWindowBytes = 4 << 20
	// pacerBurst is what may be copied at once after a time without any.
	pacerBurst = 50 * time.Millisecond
)

// copyJob makes one vault hold the state of a block's key groups at an epoch.
type copyJob struct {
	r      *Replicator
	key    replica
	query  topology.QueryID
	groups topology.Range
	epoch  topology.Epoch
	set    *topology.VaultSet
}

// errNowhere says that a state is to come from the partition itself.
var errNowhere = errors.New("backup: no vault of the block has this state; the next checkpoint holds all of it")

// run asks the vault what it has, and copies what it lacks.
func (j *copyJob) run(ctx context.Context) (proof, error) {
	to, err := j.r.config.Vaults.Vault(ctx, j.key.process)
	if err != nil {
		return proof{}, err
	}
	if p, ok, err := j.probe(ctx, to); ok || err != nil {
		return p, err
	}
	var failed error
	lost := true
	for _, m := range slices.Concat(j.set.Members, j.set.Former) {
		if m.Node == j.key.process.Node {
			continue
		}
		from, _, err := diskOf(ctx, j.r.config.Vaults, j.r.config.Current, m)
		if err == nil {
			err = patiently(ctx, func() error { return j.copy(ctx, from, to) })
		}
		if err == nil {
			return proof{groups: j.groups, epoch: j.epoch}, nil
		}
		lost = lost && lacks(err)
		failed = fmt.Errorf("from the vault of %v: %w", m, err)
	}
	if !lost {
		return proof{}, failed
	}
	groups := make([]topology.KeyGroup, 0, j.groups.Len())
	for g := j.groups.From; g < j.groups.To; g++ {
		groups = append(groups, g)
	}
	if j.r.config.NeedBase != nil {
		j.r.config.NeedBase(j.key.stage, j.key.instance, groups)
	}
	return proof{}, errors.Join(errNowhere, failed)
}

// probe finds out whether the vault has the state already.
func (j *copyJob) probe(ctx context.Context, at vault.Access) (p proof, ok bool, err error) {
	held, err := at.Acknowledged(ctx, j.query, j.key.stage, j.groups, j.epoch)
	if err != nil || len(held) != j.groups.Len() {
		return p, false, err
	}
	p = proof{groups: j.groups, epoch: j.epoch, ended: true}
	for i, h := range held {
		switch {
		case h.At == 0:
			return p, false, nil
		case h.At == j.epoch:
			p.ended = false
			continue
		case i > 0 && i < len(held)-1 && held[i-1].At == h.At && held[i+1].At == h.At:
			continue
		}
		// It has nothing later of this key group. That will do when its partition had ended, which a checkpoint says of all key groups
		// of the partition: asking about the first and the last of them is enough.
		ended, err := j.ended(ctx, at, h.KeyGroup)
		if !ended || err != nil {
			return p, false, err
		}
	}
	return p, true, nil
}

// ended says whether the last delta of a key group says that its partition has ended.
func (j *copyJob) ended(ctx context.Context, at vault.Access, g topology.KeyGroup) (bool, error) {
	ended := false
	request := vault.ChainRequest{Query: j.query, Stage: j.key.stage, Range: topology.Range{From: g, To: g + 1}, Through: j.epoch, OrBefore: true}
	err := at.Chain(ctx, request, func(d *vault.Delta) error {
		_, flags, err := unpackDelta(nil, d.Data)
		ended = flags&flagEnded != 0
		return err
	})
	if lacks(err) {
		return false, nil
	}
	return ended, err
}

// copy puts the chains that one vault has of the block into another one, through the epoch, and, so that the next delta follows, what
// it has behind that.
func (j *copyJob) copy(ctx context.Context, from, to vault.Access) error {
	chains := newChainCheck(j.groups, j.epoch)
	w := copyWriter{j: j, to: to}
	request := vault.ChainRequest{Query: j.query, Stage: j.key.stage, Range: j.groups, Through: j.epoch, OrBefore: true}
	err := from.Chain(ctx, request, func(d *vault.Delta) error {
		flags := byte(0)
		if d.To != j.epoch {
			var err error
			if _, flags, err = unpackDelta(nil, d.Data); err != nil {
				return err
			}
		}
		if err := chains.next(d, flags&flagEnded != 0); err != nil {
			return err
		}
		return w.put(ctx, d)
	})
	if err == nil {
		err = chains.end()
	}
	if waitErr := w.wait(ctx, 0); err == nil {
		err = waitErr
	}
	if err != nil {
		return err
	}
	j.r.mu.Lock()
	j.r.stats.Copied++
	j.r.mu.Unlock()
	request.After, request.Through = j.epoch, topology.EpochForever
	err = from.Chain(ctx, request, func(d *vault.Delta) error { return w.put(ctx, d) })
	if err := errors.Join(err, w.wait(ctx, 0)); err != nil && ctx.Err() == nil && !lacks(err) {
		j.r.log.Debug("what is behind the complete checkpoint is not copied", "query", j.query, "stage", j.key.stage, "block", j.key.block, "vault", j.key.process, "error", err)
	}
	return ctx.Err()
}

// copyWriter puts deltas into a vault, a bounded number of bytes at a time.
type copyWriter struct {
	j       *copyJob
	to      vault.Access
	commits []copyCommit
	bytes   int
}

type copyCommit struct {
	commit *vault.Commit
	bytes  int
}

func (w *copyWriter) put(ctx context.Context, d *vault.Delta) error {
	n := d.Data.StoredLen()
	if err := w.j.r.pace.wait(ctx, n); err != nil {
		return err
	}
	own := *d
	own.Data = d.Data.Clone()
	w.commits, w.bytes = append(w.commits, copyCommit{w.to.PutDelta(ctx, own), n}), w.bytes+n
	w.j.r.mu.Lock()
	w.j.r.stats.Bytes += int64(n)
	w.j.r.mu.Unlock()
	return w.wait(ctx, copyWindowBytes)
}

// wait returns once at most so many bytes wait for their fsync.
func (w *copyWriter) wait(ctx context.Context, bytes int) error {
	for len(w.commits) > 0 && (w.bytes > bytes || bytes == 0) {
		c := w.commits[0]
		w.commits, w.bytes = w.commits[1:], w.bytes-c.bytes
		if err := c.commit.Wait(ctx); err != nil {
			return fmt.Errorf("backup: vault of %s: %w", w.to.Node(), err)
		}
	}
	return nil
}

// pacer bounds bytes per second.
type pacer struct {
	rate int

	mu   sync.Mutex
	next time.Time // when all that was let through is over
}

// wait returns when n more bytes may go.
func (p *pacer) wait(ctx context.Context, n int) error {
	p.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-pacerBurst); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	wait := p.next.Sub(now)
	p.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	return pause(ctx, wait)
}
