package verify

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Kinds of differences.
const (
	KindChain = "chain"
	KindFile  = "file"
	KindTable = "table"
)

// Difference is one place where the run that was repeated gives something else.
type Difference struct {
	Kind string
	// Epoch is the first checkpoint at which it shows, or the end of a file's epochs; After is the one before, at which it did not.
	After, Epoch topology.Epoch
	Stage        topology.StageID
	StageName    string
	Operator     string            // of a chain
	KeyGroup     topology.KeyGroup // of a chain
	Table        string            // of a file or table
	File         string
	Offset       int64
	Key          string // of a table's row, as JSON
	Text         string // what differs, for people
	output       int
}

// Result is what was compared.
type Result struct {
	From, Through topology.Epoch // the epochs (From, Through]
	Seals         int
	SealBytes     int64 // about, in memory
	Rows          int64 // read again from the sources
	Checkpoints   int
	KeyGroups     int
	Chains        int // (stage, output or sink, key group, checkpoint)
	Files         int
	FileBytes     int64
	Tables        int
	TableRows     int64
	Differences   []Difference // the first is the cause, as far as can be told; at most differencesMax
	// NotCompared are sinks of which nothing outside can be compared; their rows are in the chains.
	NotCompared []string
}

// Equal says that nothing differs.
func (r *Result) Equal() bool { return len(r.Differences) == 0 }

// differencesMax bounds how many differences are told of.
const differencesMax = 16

// findings gathers differences from several goroutines.
type findings struct {
	mu   sync.Mutex
	list []Difference
}

func (f *findings) add(d Difference) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, d)
	if len(f.list) >= 4*differencesMax {
		f.list = first(f.list)
	}
}

func (f *findings) first() []Difference {
	f.mu.Lock()
	defer f.mu.Unlock()
	return first(f.list)
}

// first are the earliest differences: chains first, by checkpoint, stage, operator and key group, since what differs outside follows from
// them; a file that differs where no chain does was changed, or published wrongly.
func first(list []Difference) []Difference {
	rank := map[string]int{KindChain: 0, KindFile: 1, KindTable: 2}
	slices.SortStableFunc(list, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.output, b.output),
			cmp.Compare(a.KeyGroup, b.KeyGroup), cmp.Compare(a.Table, b.Table), cmp.Compare(a.File, b.File))
	})
	return list[:min(len(list), differencesMax)]
}

func (d *Difference) String() string {
	switch d.Kind {
	case KindChain:
		return fmt.Sprintf("operator %s (stage %q), key group %d: other rows in the epochs %d to %d; it, or an operator before it in the stage, is not deterministic, or what the vaults hold was changed",
			d.Operator, d.StageName, d.KeyGroup, d.After+1, d.Epoch)
	case KindFile:
		return fmt.Sprintf("table %s, file %s: %s", d.Table, d.File, d.Text)
	}
	return fmt.Sprintf("table %s at epoch %d, key %s: %s", d.Table, d.Epoch, d.Key, d.Text)
}
