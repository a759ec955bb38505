package backup

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// transfer is one checkpoint on its way to all vaults of its blocks.
type transfer struct {
	saver                 *Saver
	checkpoint            *Checkpoint
	payloads              []vault.Payload // by index of checkpoint.Groups
	baseBytes, deltaBytes int64
	version               uint64 // of the metadata: its vaults were looked at last

	mu    sync.Mutex
	have  map[holding]bool // what is fsynced where
	wants map[topology.KeyGroup]bool
}

// holding is a block at a vault.
type holding struct {
	block   topology.BlockID
	process topology.Process
}

// delivery is what one vault still lacks.
type delivery struct {
	process topology.Process
	blocks  []topology.BlockID // ascending
}

// run returns nil once every member of every block's set, as last known, has the checkpoint on disk.
func (t *transfer) run(ctx context.Context) error {
	t.have, t.wants = map[holding]bool{}, map[topology.KeyGroup]bool{}
	if err := t.pack(); err != nil {
		t.saver.log.Error("a checkpoint cannot be packed", "query", t.checkpoint.Query, "stage", t.checkpoint.Stage, "epoch", t.checkpoint.Epoch, "error", err)
		return err
	}
	for {
		missing, changed, err := t.missing()
		if err != nil || len(missing) == 0 {
			return err
		}
		if err := t.deliver(ctx, missing, changed); err != nil {
			return err
		}
	}
}

func (t *transfer) pack() error {
	var p packer
	t.payloads = make([]vault.Payload, len(t.checkpoint.Groups))
	for i, g := range t.checkpoint.Groups {
		var err error
		flags := byte(0)
		if t.checkpoint.Ended {
			flags |= flagEnded
		}
		if g.Ended {
			flags |= flagGroupEnded
		}
		if t.payloads[i], err = p.delta(flags, g.Data); err != nil {
			return fmt.Errorf("key group %d: %w", g.Group, err)
		}
		if g.Base {
			t.baseBytes += int64(t.payloads[i].StoredLen())
		} else {
			t.deltaBytes += int64(t.payloads[i].StoredLen())
		}
	}
	return nil
}

// missing is what vaults of the present sets do not have yet. changed is closed when the sets change.
func (t *transfer) missing() (missing []delivery, changed <-chan struct{}, err error) {
	t.saver.mu.Lock()
	defer t.saver.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.checkpoint
	t.version = t.saver.version
	for i, g := range c.Groups {
		b := topology.BlockOf(g.Group)
		if i > 0 && topology.BlockOf(c.Groups[i-1].Group) == b {
			continue
		}
		members, ok := t.saver.set(c.Stage, b)
		if !ok {
			return nil, nil, fmt.Errorf("block %d of stage %d has no vaults", b, c.Stage)
		}
		for _, p := range members {
			if t.have[holding{b, p}] {
				continue
			}
			at := slices.IndexFunc(missing, func(d delivery) bool { return d.process == p })
			if at < 0 {
				at = len(missing)
				missing = append(missing, delivery{process: p})
			}
			missing[at].blocks = append(missing[at].blocks, b)
		}
	}
	return missing, t.saver.changed, nil
}

// deliver sends what is missing to all vaults at once. It returns early, without an error, when the sets have changed such that a
// vault that it waits for is no longer named, and with the first error that no base would mend. When bases are needed it waits for
// all vaults, so that they are all asked for at once.
func (t *transfer) deliver(ctx context.Context, missing []delivery, changed <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan ending, len(missing))
	for _, d := range missing {
		go func() { ends <- ending{d.process, t.put(ctx, &d)} }()
	}
	left := len(missing)
	defer func() { // the goroutines are this function's
		cancel()
		for ; left > 0; left-- {
			<-ends
		}
	}()
	waiting := make([]topology.Process, 0, len(missing))
	for _, d := range missing {
		waiting = append(waiting, d.process)
	}
	var need error
	for left > 0 {
		select {
		case e := <-ends:
			left--
			waiting = slices.DeleteFunc(waiting, func(p topology.Process) bool { return p == e.process })
			switch {
			case e.err == nil || needsBase(e.err):
				t.saver.note(e.process, nil)
				if e.err != nil {
					need = e.err
				}
			case t.named(e.process):
				t.saver.note(e.process, e.err)
				return e.err
			default:
				return nil // it is no vault of ours any more: what is missing now is seen next
			}
		case <-changed:
			var gone bool
			if changed, gone = t.change(waiting); gone {
				return need
			}
		}
	}
	return need
}

type ending struct {
	process topology.Process
	err     error
}

// change says whether any of the vaults that are waited for is no longer named, and what the next change closes.
func (t *transfer) change(waiting []topology.Process) (changed <-chan struct{}, gone bool) {
	t.saver.mu.Lock()
	changed = t.saver.changed
	t.saver.mu.Unlock()
	return changed, slices.ContainsFunc(waiting, func(p topology.Process) bool { return !t.named(p) })
}

// named says whether p is a vault of any block of the checkpoint now.
func (t *transfer) named(p topology.Process) bool {
	t.saver.mu.Lock()
	defer t.saver.mu.Unlock()
	for _, g := range t.checkpoint.Groups {
		if members, _ := t.saver.set(t.checkpoint.Stage, topology.BlockOf(g.Group)); slices.Contains(members, p) {
			return true
		}
	}
	return false
}

// put sends the blocks of d to their vault and waits until all is fsynced. It goes on over key groups that need a base.
func (t *transfer) put(ctx context.Context, d *delivery) error {
	access, err := t.saver.config.Vaults.Vault(ctx, d.process)
	if err != nil {
		return err
	}
	c := t.checkpoint
	commits := make([]*vault.Commit, 0, len(c.Groups))
	indices := make([]int, 0, len(c.Groups))
	for i, g := range c.Groups {
		b := topology.BlockOf(g.Group)
		if _, ok := slices.BinarySearch(d.blocks, b); !ok {
			continue
		}
		commits = append(commits, access.PutDelta(ctx, vault.Delta{Query: c.Query, Stage: c.Stage, Block: vault.BlockOf(g.Group), KeyGroup: g.Group,
			From: c.From, To: c.Epoch, Base: g.Base, Data: t.payloads[i]}))
		indices = append(indices, i)
	}
	var need error
	lacking := map[topology.BlockID]bool{}
	for k, commit := range commits {
		g := c.Groups[indices[k]].Group
		switch err := commit.Wait(ctx); {
		case needsBase(err):
			need = err
			lacking[topology.BlockOf(g)] = true
			t.want(g)
		case err != nil:
			return err
		case commit.WantsBase() && !c.Ended:
			t.want(g)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range d.blocks {
		if !lacking[b] {
			t.have[holding{b, d.process}] = true
			t.saver.config.Replicas.saved(c, b, d.process)
		}
	}
	return need
}

func (t *transfer) want(g topology.KeyGroup) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wants[g] = true
}

// bases are the key groups that a vault wants a base of, ascending.
func (t *transfer) bases() []topology.KeyGroup {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []topology.KeyGroup
	for g := range t.wants {
		out = append(out, g)
	}
	slices.Sort(out)
	return out
}
