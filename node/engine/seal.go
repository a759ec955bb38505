package engine

import (
	"sort"
	"sync"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Seal is the only non-deterministic decision of a query: what one source partition put into the epoch range [First, Last].
// Rows, ends and idleness belong to Last.
type Seal struct {
	Stage       topology.StageID
	Range       topology.Range
	First, Last topology.Epoch
	Found       []string    // splits found since the last seal, in order
	Splits      []SplitSeal // splits with news, in the partition's order
	// End: every split of the partition has ended and none can follow.
	End bool
}

// SplitSeal is one split's part of a Seal: the rows in [From, To) of the source's own offsets.
type SplitSeal struct {
	ID       string
	From, To int64
	Rows     int
	Check    uint64 // hash of the rows, compared when they are read again
	End      bool   // nothing follows in this split
	Idle     bool   // the split does not hold the watermark back from here on, until it has rows again
}

// SealLog keeps seals in memory. Safe for concurrent use.
type SealLog struct {
	mu    sync.Mutex
	t0Ms  int64
	seals []Seal
	last  map[sealer]int // index of each partition's last seal
}

// T0Ms is time(0) of the query in milliseconds since the Unix epoch.
func (l *SealLog) T0Ms() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.t0Ms
}

// Seals are a copy of all seals by stage, epoch and range.
func (l *SealLog) Seals() []Seal {
	l.mu.Lock()
	out := append([]Seal(nil), l.seals...)
	l.mu.Unlock()
	sort.SliceStable(out, func(i, j int) bool {
		a, b := &out[i], &out[j]
		if a.Stage != b.Stage {
			return a.Stage < b.Stage
		}
		if a.Last != b.Last {
			return a.Last < b.Last
		}
		return a.Range.From < b.Range.From
	})
	return out
}

// NewSealLog makes an empty log of a query whose time(0) is t0Ms, in milliseconds since the Unix epoch.
func NewSealLog(t0Ms int64) *SealLog { return &SealLog{t0Ms: t0Ms} }

// Add notes a seal; a nil log notes nothing. One that has nothing new only makes the partition's last one longer when that has nothing new either.
func (l *SealLog) Add(s Seal) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := sealer{s.Stage, s.Range}
	if l.last == nil {
		l.last = map[sealer]int{}
	}
	if i, ok := l.last[key]; ok && s.empty() && l.seals[i].empty() && l.seals[i].Last+1 == s.First {
		l.seals[i].Last = s.Last
		return
	}
	l.last[key] = len(l.seals)
	l.seals = append(l.seals, s)
}

// sealer names a partition that seals.
type sealer struct {
	stage topology.StageID
	rng   topology.Range
}

func (s *Seal) empty() bool { return len(s.Splits) == 0 && len(s.Found) == 0 && !s.End }

// through gives for each key group of rng the last epoch that its owner sealed.
func (l *SealLog) through(id topology.StageID, rng topology.Range) []topology.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]topology.Epoch, rng.Len())
	for _, s := range l.seals {
		if s.Stage != id || !s.Range.Overlaps(rng) {
			continue
		}
		for g := max(s.Range.From, rng.From); g < min(s.Range.To, rng.To); g++ {
			out[g-rng.From] = max(out[g-rng.From], s.Last)
		}
	}
	return out
}

// forStage gives the distinct epochs at which some partition of a stage sealed something, and what it sealed, for a replay
// under any layout.
func (l *SealLog) forStage(id topology.StageID) []Seal {
	var out []Seal
	for _, s := range l.Seals() {
		if s.Stage != id {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Last == s.Last {
			out[n-1].Splits = append(out[n-1].Splits, s.Splits...)
			out[n-1].Found = append(out[n-1].Found, s.Found...)
			continue
		}
		s.Splits, s.Found = append([]SplitSeal(nil), s.Splits...), append([]string(nil), s.Found...)
		out = append(out, s)
	}
	return out
}

// rangeEnd is the end of the range of epochs that a source seals at once when its next epoch is next and the clock stands at
// now >= next: rounded down to a multiple of the largest power of two that is not above the number of epochs it is behind, so
// that all sources cut at the same places, and never beyond the next checkpoint epoch.
func rangeEnd(next, now topology.Epoch, checkpointEpochs int) topology.Epoch {
	behind := now - next + 1
	p := topology.Epoch(1)
	for p*2 <= behind {
		p *= 2
	}
	end := max(now/p*p, next)
	c := topology.Epoch(checkpointEpochs)
	return min(end, (next+c-1)/c*c)
}
