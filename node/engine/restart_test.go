package engine_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// memoryBackup keeps checkpoints in memory and says which of them are complete.
type memoryBackup struct {
	mu     sync.Mutex
	plan   *plan.Plan
	groups [][]map[topology.Epoch]saved // by stage and key group
}

// saved is what a key group's partition said at one checkpoint.
type saved struct {
	from        topology.Epoch
	base, ended bool // ended: the partition had ended, or the key group
	data        []byte
}

func newMemoryBackup(p *plan.Plan) *memoryBackup {
	b := &memoryBackup{plan: p}
	for _, s := range p.Stages {
		groups := make([]map[topology.Epoch]saved, s.Groups)
		for g := range groups {
			groups[g] = map[topology.Epoch]saved{}
		}
		b.groups = append(b.groups, groups)
	}
	return b
}

// Save keeps the first that comes of a key group and epoch, as a vault does: one who is taken for dead may say his after his successor.
func (b *memoryBackup) Save(c backup.Checkpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range c.Groups {
		if _, ok := b.groups[c.Stage][g.Group][c.Epoch]; !ok {
			b.groups[c.Stage][g.Group][c.Epoch] = saved{c.From, g.Base, c.Ended || g.Ended, g.Data}
		}
	}
}

// at is what a key group saved at c, or last at its end before c.
func (b *memoryBackup) at(stage topology.StageID, g topology.KeyGroup, c topology.Epoch) (at topology.Epoch, ok bool) {
	if _, ok := b.groups[stage][g][c]; ok {
		return c, true
	}
	for e, s := range b.groups[stage][g] {
		if s.ended && e < c && e >= at {
			at, ok = e, true
		}
	}
	return at, ok
}

// complete is the latest checkpoint that every key group of every stage has.
func (b *memoryBackup) complete() (latest topology.Epoch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for e := range b.groups[0][0] {
		all := true
		for s := range b.groups {
			for g := range b.groups[s] {
				_, ok := b.at(topology.StageID(s), topology.KeyGroup(g), e)
				all = all && ok
			}
		}
		if all && e > latest {
			latest = e
		}
	}
	return latest
}

// restore gives what a partition of any range needs to start from c, in memory that is used for something else afterwards.
func (b *memoryBackup) restore(_ context.Context, stage topology.StageID, r topology.Range, c topology.Epoch, take func([]backup.GroupDelta) error) error {
	for g := r.From; g < r.To; g++ {
		chain, err := b.chain(stage, g, c)
		if err != nil {
			return err
		}
		if len(chain) == 0 {
			continue
		}
		err = take(chain)
		for _, d := range chain {
			for i := range d.Data {
				d.Data[i] = 0xa5
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// chain gives copies of the deltas that lead to a key group's state at c.
func (b *memoryBackup) chain(stage topology.StageID, g topology.KeyGroup, c topology.Epoch) (chain []backup.GroupDelta, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for e := c; e > 0; {
		at, ok := b.at(stage, g, e)
		if !ok {
			return nil, fmt.Errorf("stage %d, key group %d: epoch %d, which %d is restored from, was not saved, only %v", stage, g, e, c, slices.Sorted(maps.Keys(b.groups[stage][g])))
		}
		s := b.groups[stage][g][at]
		chain = append(chain, backup.GroupDelta{Group: g, Base: s.base, Ended: s.ended, To: at, Data: slices.Clone(s.data)})
		if e = s.from; s.base {
			e = 0
		}
	}
	slices.Reverse(chain)
	return chain, nil
}

// forget drops what is not part of checkpoints up to c: it was not on disk when everything was lost.
func (b *memoryBackup) forget(c topology.Epoch) {
	for _, groups := range b.groups {
		for _, g := range groups {
			for e := range g {
				if e > c {
					delete(g, e)
				}
			}
		}
	}
}

var errPulled = errors.New("the plug was pulled")

// TestRestartFromTheLatestCompleteCheckpointGivesTheSameBytes kills everything at random steps, again and again, and starts from vaults
// and seals on another number of nodes each time: files and chains are those of a run that never fails.
func TestRestartFromTheLatestCompleteCheckpointGivesTheSameBytes(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for _, q := range identityQueries {
		t.Run(q.name, func(t *testing.T) {
			c := newCatalog(t, burstsDefinition())
			sinks := q.sinks
			if strings.Contains(q.name, "running") {
				sinks = nil
			}
			sql := "SET 'checkpoint.epochs' = '8';\n" + q.sql
			plain := variant{nodes: 1, workers: 1, batchRows: 1000, forkRows: 1 << 40}
			p, want := runQuery(t, c, sql, plain.options(c), sinks...)
			for seed := range uint64(rounds) {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { crashAndRestart(t, c, p, sql, sinks, want, seed) })
			}
		})
	}
}

func crashAndRestart(t *testing.T, c *catalog, p *plan.Plan, sql string, sinks []string, want outcome, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	set, dirs := map[string]string{}, map[string]string{}
	for _, s := range sinks {
		dirs[s] = t.TempDir()
		set[s+".path"] = dirs[s]
	}
	p = c.compile(t, sql, set)
	b, seals := newMemoryBackup(p), (*engine.SealLog)(nil)
	from := topology.Epoch(0)
	crashes := 1 + r.IntN(4)
	for try := 0; ; try++ {
		v := variant{nodes: 1 + r.IntN(5), workers: 1 + r.IntN(3), batchRows: 1 + r.IntN(100), forkRows: int64(r.IntN(200)), memory: r.IntN(2) == 0,
			uneven: r.Uint64N(3), paranoid: r.IntN(3) == 0}
		o := v.options(c)
		o.Backup, o.Replay, o.Resume = b, seals, seals != nil
		o.Restore, o.From = b.restore, from
		ctx, cancel := context.WithCancelCause(context.Background())
		if try < crashes {
			left := atomic.Int64{}
			left.Store(int64(1 + r.IntN(600)))
			o.TraceChains = func(topology.StageID, topology.Range, topology.Epoch, [][]uint64) {
				if left.Add(-1) == 0 {
					cancel(errPulled)
				}
			}
		}
		res, err := engine.Run(ctx, p, o)
		cancel(nil)
		if err != nil && !errors.Is(err, errPulled) {
			t.Fatalf("try %d from epoch %d on %v: %v", try, from, v, err)
		}
		seals = res.Seals
		if err == nil {
			got := outcome{files: readFiles(t, dirs), result: res}
			got.sameAs(t, p, want)
			return
		}
		from = b.complete()
		b.forget(from)
	}
}

func readFiles(t *testing.T, dirs map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for s, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if name := filepath.Base(f); !strings.HasPrefix(name, "_") {
				out[s+"/"+name] = string(b)
			}
		}
	}
	return out
}
