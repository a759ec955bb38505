package backup

import (
	"cmp"
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

const (
	// fetchesMax is how many blocks one Fetch reads at a time, patientMax one that is patient. Each has at most a client's credit of 4 MiB, one
	// delta in flight, and the deltas of one key group.
	fetchesMax, patientMax = 4, 2
	// fetchBusyWait is how long a vault is left alone that has too many readers.
	fetchBusyWait = 20 * time.Millisecond
)

// FetchRequest asks for the state of a range of a stage at a complete checkpoint.
type FetchRequest struct {
	Query  topology.QueryID // under whose generation the state was saved
	Stage  topology.StageID
	Range  topology.Range
	Epoch  topology.Epoch
	Groups int                 // of the stage
	Sets   []topology.VaultSet // by block; members are asked first, then former ones
	Empty  []topology.BlockID  // blocks that start without state
	// Current is a node's process now; false when the node has left for good. What was fsynced outlives a process, so a member that
	// has restarted is read through its successor. nil: members are as they are named.
	Current func(n topology.NodeID) (topology.Process, bool)
	// Has says of which key groups the chain has been taken already, by a Fetch before that failed; nil: of none.
	Has func(g topology.KeyGroup) bool
	// Lives says whether a node is thought to live. Those that do are asked first: a host that has vanished does not even refuse. nil:
	// all do.
	Lives func(n topology.NodeID) bool
	// Patient: nobody waits for the state, and whoever takes it may take its time. Vaults, which serve few at a time, are asked less at a time.
	Patient bool
}

// Answer is why a vault could not give something.
type Answer struct {
	Process topology.Process
	Err     error
}

// LostError says that no vault of a block gave the state of some of its key groups.
type LostError struct {
	Query   topology.QueryID
	Stage   topology.StageID
	Block   topology.BlockID
	Groups  topology.Range // of the block, as far as they were asked for
	Epoch   topology.Epoch
	Answers []Answer // one for each member, then for each former one
	// Reachable: every vault was asked and none has it. False: one that could not be asked may still have it, and waiting helps.
	Reachable bool
}

func (e *LostError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "backup: no vault of block %d of stage %d gives key groups %v at epoch %d", e.Block, e.Stage, e.Groups, e.Epoch)
	if len(e.Answers) == 0 {
		b.WriteString(": the block has no vaults")
	}
	for i, a := range e.Answers {
		fmt.Fprintf(&b, "%s%v: %v", [2]string{": ", "; "}[min(i, 1)], a.Process, a.Err)
	}
	return b.String()
}

func (e *LostError) Unwrap() []error {
	var errs []error
	for _, a := range e.Answers {
		errs = append(errs, a.Err)
	}
	return errs
}

// Fetch calls take with what leads to the state of each key group at r.Epoch, once for each: a base where there is one and what follows it,
// oldest first. Nothing for key groups of r.Empty. A key group whose last delta says that it ended before r.Epoch has the same state at r.Epoch.
// Blocks are read in parallel, from different members, and take is called from several goroutines at a time: for the key groups of a block in
// ascending order, and never with anything of which it is not known that all of it is there. Another member is asked when one fails, from the
// first key group on that was not taken. What take is given lies in memory that is used again when it returns: a restore would else touch three
// times the memory that the state takes, and memory that was not in use before costs more than reading what goes there.
//
// Errors: *LostError of the lowest block that failed, take's, ctx's.
func Fetch(ctx context.Context, vaults Vaults, r FetchRequest, take func(chain []GroupDelta) error) error {
	if r.Range.From >= r.Range.To || int(r.Range.To) > r.Groups || r.Epoch < 0 || len(r.Sets) < topology.Blocks(r.Groups) {
		return fmt.Errorf("backup: fetching key groups %v of %d at epoch %d with vaults of %d blocks makes no sense", r.Range, r.Groups, r.Epoch, len(r.Sets))
	}
	if r.Epoch == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, last := topology.BlockOf(r.Range.From), topology.BlockOf(r.Range.To-1)
	errs := make([]error, int(last-first)+1)
	most := fetchesMax
	if r.Patient {
		most = patientMax
	}
	slots := make(chan []byte, most) // with the memory of the block that was read before
	for range most {
		slots <- nil
	}
	var workers sync.WaitGroup
	for b := first; b <= last; b++ {
		if slices.Contains(r.Empty, b) {
			continue
		}
		memory := <-slots
		workers.Go(func() {
			f := fetcher{vaults: vaults, request: &r, block: b, take: take, ended: flagEnded, memory: memory}
			defer func() { slots <- f.memory[:0] }()
			if ctx.Err() != nil {
				return
			}
			if errs[b-first] = f.fetch(ctx); errs[b-first] != nil {
				cancel() // one block that is lost loses the whole range
			}
		})
	}
	workers.Wait()
	var failed error
	for _, err := range errs {
		if lost := (*LostError)(nil); errors.As(err, &lost) {
			return err
		}
		if failed == nil || errors.Is(failed, context.Canceled) { // which is what the others' failure does to a block
			failed = cmp.Or(err, failed)
		}
	}
	if err := cmp.Or(failed, ctx.Err()); err != nil {
		return fmt.Errorf("backup: fetching key groups %v of stage %d: %w", r.Range, r.Stage, err)
	}
	return nil
}

// fetcher reads one block.
type fetcher struct {
	vaults  Vaults
	request *FetchRequest
	block   topology.BlockID
	take    func(chain []GroupDelta) error
	next    topology.KeyGroup // those before it were taken
	refused error             // what take said: no other member is asked
	ended   byte              // the flags of a delta behind which there need be none
	memory  []byte            // of the deltas of one key group, as their owner sees them
	chain   []GroupDelta
}

func (f *fetcher) fetch(ctx context.Context) error {
	groups := f.groups()
	members := f.members()
	for f.next = groups.From; f.next < groups.To && f.request.Has != nil && f.request.Has(f.next); {
		f.next++
	}
	if answers := f.ask(ctx, members, groups); answers == nil || f.refused != nil {
		return f.refused
	}
	// No member has all of them; each key group may still be somewhere.
	for f.next < groups.To {
		one := topology.Range{From: f.next, To: f.next + 1}
		answers := f.ask(ctx, members, one)
		if answers != nil && f.refused == nil {
			// A partition that has ended may have saved that where a former one, which had not, had saved the same epoch of this key group before:
			// a vault keeps the first.
			f.ended = flagEnded | flagGroupEnded
			answers = f.ask(ctx, members, one)
			f.ended = flagEnded
		}
		if f.refused != nil {
			return f.refused
		} else if answers != nil {
			return f.lost(ctx, one, answers)
		}
	}
	return nil
}

// groups are those of the block that were asked for.
func (f *fetcher) groups() topology.Range {
	r := f.request
	groups := f.block.Range(r.Groups)
	return topology.Range{From: max(groups.From, r.Range.From), To: min(groups.To, r.Range.To)}
}

func (f *fetcher) lost(ctx context.Context, groups topology.Range, answers []Answer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e := &LostError{Query: f.request.Query, Stage: f.request.Stage, Block: f.block, Groups: groups, Epoch: f.request.Epoch, Answers: answers, Reachable: true}
	for _, a := range answers {
		e.Reachable = e.Reachable && lacks(a.Err)
	}
	return e
}

// errLeft is the answer of a vault whose node is no part of the cluster any more.
var errLeft = errors.New("the node has left the cluster")

// lacks says whether err is the answer of a vault that does not have what was asked for and will not have it.
func lacks(err error) bool {
	var none *vault.NoChainError
	var corrupt *vault.CorruptError
	return errors.As(err, &none) || errors.As(err, &corrupt) || errors.Is(err, errShort) || errors.Is(err, errLeft) || errors.Is(err, vault.ErrDropped)
}

// members are those of the block, beginning elsewhere for each block so that all vaults work at once, and then the former ones: as
// long as these are named, the present ones may not have everything. Those that are not thought to live come last.
func (f *fetcher) members() []topology.Process {
	set := &f.request.Sets[f.block]
	at := int(f.block) % max(1, len(set.Members))
	all := slices.Concat(set.Members[at:], set.Members[:at], set.Former)
	if lives := f.request.Lives; lives != nil {
		slices.SortStableFunc(all, func(a, b topology.Process) int {
			switch x, y := lives(a.Node), lives(b.Node); {
			case x == y:
				return 0
			case x:
				return -1
			}
			return 1
		})
	}
	return all
}

// ask tries the members in turn. answers is nil when all has been taken up to the end of groups; else it is not nil.
func (f *fetcher) ask(ctx context.Context, members []topology.Process, groups topology.Range) (answers []Answer) {
	answers = []Answer{}
	for _, m := range members {
		if f.next >= groups.To {
			return nil
		}
		access, now, err := diskOf(ctx, f.vaults, f.request.Current, m)
		if err == nil {
			err = patiently(ctx, func() error { return f.chains(ctx, access, topology.Range{From: f.next, To: groups.To}) })
		}
		if err == nil {
			return nil
		}
		answers = append(answers, Answer{now, err})
		if f.refused != nil {
			break
		}
	}
	return answers
}

// diskOf gives the vault of p's node, whichever process runs there now: what was fsynced outlives a process.
func diskOf(ctx context.Context, vaults Vaults, current func(n topology.NodeID) (topology.Process, bool), p topology.Process) (vault.Access, topology.Process, error) {
	if current != nil {
		now, ok := current(p.Node)
		if !ok {
			return nil, p, errLeft
		}
		p = now
	}
	access, err := vaults.Vault(ctx, p)
	var gone *GoneError
	if current != nil && errors.As(err, &gone) && gone.Now.Node == p.Node {
		p = gone.Now // the cluster does not know of it yet
		access, err = vaults.Vault(ctx, p)
	}
	return access, p, err
}

// patiently calls read again while the vault has too many readers.
func patiently(ctx context.Context, read func() error) error {
	for {
		if err := read(); !errors.Is(err, vault.ErrBusy) {
			return err
		}
		if err := pause(ctx, fetchBusyWait); err != nil {
			return err
		}
	}
}

// chains takes the chains of groups that a vault has.
func (f *fetcher) chains(ctx context.Context, access vault.Access, groups topology.Range) error {
	r := f.request
	f.chain, f.memory = f.chain[:0], f.memory[:0]
	chains := newChainCheck(groups, r.Epoch)
	request := vault.ChainRequest{Query: r.Query, Stage: r.Stage, Range: groups, Through: r.Epoch, OrBefore: true}
	err := access.Chain(ctx, request, func(d *vault.Delta) error {
		if len(f.chain) > 0 && f.chain[0].Group != d.KeyGroup {
			if err := chains.whole(); err != nil {
				return err
			}
			if err := f.give(); err != nil {
				return err
			}
		}
		at := len(f.memory)
		memory, flags, err := unpackDelta(f.memory, d.Data)
		if err != nil {
			return err
		}
		if err := chains.next(d, flags&f.ended != 0); err != nil {
			return err
		}
		f.memory = memory
		f.chain = append(f.chain, GroupDelta{Group: d.KeyGroup, Base: d.Base, Ended: flags != 0, To: d.To, Data: memory[at+flagsBytes:]})
		return nil
	})
	if err == nil {
		err = chains.end()
	}
	if err == nil && len(f.chain) > 0 {
		err = f.give()
	}
	return err
}

// give has the chain of a key group taken.
func (f *fetcher) give() error {
	if err := f.take(f.chain); err != nil {
		f.refused = err
		return err
	}
	f.next = f.chain[0].Group + 1
	f.chain, f.memory = f.chain[:0], f.memory[:0]
	return nil
}

// errShort is the answer of a vault whose chain of a key group ends before the epoch without the key group's having ended.
var errShort = errors.New("the chain ends before")

// chainCheck sees that what a vault gives are whole chains of key groups that lead to an epoch.
type chainCheck struct {
	groups topology.Range
	epoch  topology.Epoch
	begin  topology.KeyGroup // the key group that must begin next
	last   topology.Epoch
	ended  bool
}

func newChainCheck(groups topology.Range, epoch topology.Epoch) *chainCheck {
	return &chainCheck{groups: groups, epoch: epoch, begin: groups.From}
}

// next takes the next delta; ended is what its flags say.
func (c *chainCheck) next(d *vault.Delta, ended bool) error {
	if c.begin == c.groups.From || d.KeyGroup != c.begin-1 {
		if err := c.whole(); err != nil {
			return err
		}
		if d.KeyGroup != c.begin || !d.Base && d.From != 0 {
			return fmt.Errorf("%w: the chain of key group %d was to begin, one of %d over (%d,%d] came", vault.ErrMalformed, c.begin, d.KeyGroup, d.From, d.To)
		}
		c.begin++
	} else if d.From > c.last {
		return fmt.Errorf("%w: the chain of key group %d has a gap behind epoch %d", vault.ErrMalformed, d.KeyGroup, c.last)
	}
	c.last, c.ended = d.To, ended
	return nil
}

func (c *chainCheck) whole() error {
	if c.begin > c.groups.From && c.last != c.epoch && !c.ended {
		return fmt.Errorf("backup: key group %d is held to epoch %d, %w epoch %d", c.begin-1, c.last, errShort, c.epoch)
	}
	return nil
}

// end says what is wrong with the chains once all have come.
func (c *chainCheck) end() error {
	if err := c.whole(); err != nil {
		return err
	}
	if c.begin != c.groups.To {
		return fmt.Errorf("%w: chains of key groups %v end before %d", vault.ErrMalformed, c.groups, c.begin)
	}
	return nil
}

// pause waits, and gives ctx's error when it ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
