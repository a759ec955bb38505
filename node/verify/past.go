package verify

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Past is what the deltas that lead to a complete checkpoint tell of a query's run.
type Past struct {
	plan    *plan.Plan
	through topology.Epoch
	stages  [][]group // by stage and key group
	bytes   int64
	seals   int
}

// group is the past of one key group.
type group struct {
	lines []line         // ascending
	since topology.Epoch // of a source: seals are all that were sealed behind it
	seals []engine.Seal
}

// line is how a key group stood at a checkpoint.
type line struct {
	at     topology.Epoch
	ended  bool // it is so at every later checkpoint
	chains []uint64
}

// NewPast begins the past of a query up to a complete checkpoint.
func NewPast(p *plan.Plan, through topology.Epoch) *Past {
	past := &Past{plan: p, through: through}
	for _, s := range p.Stages {
		past.stages = append(past.stages, make([]group, s.Groups))
	}
	return past
}

// Through is the checkpoint up to which it goes.
func (p *Past) Through() topology.Epoch { return p.through }

// SealBytes is about the memory that the seals take.
func (p *Past) SealBytes() int64 { return p.bytes }

// sealBytes is about what a seal of one split takes in memory.
const sealBytes = 160

// Add takes the deltas of some key groups of a stage, as backup.Fetch gives them: all of a key group at once, oldest first. It keeps nothing
// of their bytes.
func (p *Past) Add(stage topology.StageID, deltas []backup.GroupDelta) error {
	spec := p.plan.Stages[stage]
	outputs := len(spec.Outputs)
	for _, op := range spec.Ops {
		if op.Sink != nil {
			outputs++
		}
	}
	for i := range deltas {
		d := &deltas[i]
		saved, err := engine.ReadSavedGroup(d.Data, spec.Source >= 0, stage, d.Group)
		if err != nil {
			return fmt.Errorf("stage %q, key group %d, checkpoint %d: %w", spec.Name, d.Group, d.To, err)
		}
		g := &p.stages[stage][d.Group]
		l := line{at: d.To, ended: d.Ended, chains: saved.Chains}
		switch n := len(g.lines); {
		case saved.Unchanged && n > 0:
			l.chains = g.lines[n-1].chains
		case saved.Unchanged:
			l.chains = make([]uint64, outputs)
		case len(saved.Chains) != outputs:
			return fmt.Errorf("stage %q, key group %d, checkpoint %d: %d chains, the plan has %d", spec.Name, d.Group, d.To, len(saved.Chains), outputs)
		}
		if len(g.lines) == 0 && d.Base {
			g.since = saved.Since
		}
		g.lines = append(g.lines, l)
		last := topology.Epoch(0)
		if n := len(g.seals); n > 0 {
			last = g.seals[n-1].Last
		}
		for _, s := range saved.Seals {
			if s.Last > last { // deltas may overlap
				g.seals = append(g.seals, s)
				p.seals++
				p.bytes += sealBytes * int64(1+len(s.Splits)+len(s.Found))
			}
		}
	}
	return nil
}

// at is how a key group stood at a checkpoint; false when that is not known.
func (g *group) at(c topology.Epoch) (line, bool) {
	i, found := slices.BinarySearchFunc(g.lines, c, func(l line, c topology.Epoch) int { return cmp.Compare(l.at, c) })
	if found {
		return g.lines[i], true
	}
	if i > 0 && g.lines[i-1].ended {
		return g.lines[i-1], true
	}
	return line{}, false
}

// before is the key group's checkpoint before another one, 0 when there is none.
func (g *group) before(c topology.Epoch) topology.Epoch {
	i, _ := slices.BinarySearchFunc(g.lines, c, func(l line, c topology.Epoch) int { return cmp.Compare(l.at, c) })
	if i == 0 {
		return 0
	}
	return g.lines[i-1].at
}

// start is the checkpoint from which the run can be repeated: 0, with empty state, when every seal is there, or the earliest behind which they
// all are and at which the state of all key groups is known. floor is a checkpoint before which the state is not whole.
func (p *Past) start(floor topology.Epoch) (topology.Epoch, error) {
	sealed := floor
	for s, groups := range p.stages {
		for g := range groups {
			if len(groups[g].lines) == 0 {
				return 0, fmt.Errorf("stage %q, key group %d: the vaults hold nothing of it at checkpoint %d", p.plan.Stages[s].Name, g, p.through)
			}
			sealed = max(sealed, groups[g].since)
		}
	}
	if sealed == 0 {
		return 0, nil
	}
	var candidates []topology.Epoch
	for s := range p.stages {
		for g := range p.stages[s] {
			for _, l := range p.stages[s][g].lines {
				if l.at >= sealed && l.at < p.through && !slices.Contains(candidates, l.at) {
					candidates = append(candidates, l.at)
				}
			}
		}
	}
	slices.Sort(candidates)
	for _, c := range candidates {
		if p.known(c) {
			return c, nil
		}
	}
	return 0, &TrimmedError{Through: p.through, All: p.plan.Settings.KeepSeals, Floor: floor}
}

// known says whether the state of every key group at a checkpoint is.
func (p *Past) known(c topology.Epoch) bool {
	for _, groups := range p.stages {
		for g := range groups {
			if _, ok := groups[g].at(c); !ok {
				return false
			}
		}
	}
	return true
}

// log is what was sealed behind a checkpoint, for a run.
func (p *Past) log(t0Ms int64, after topology.Epoch) (log *engine.SealLog, seals int) {
	log = engine.NewSealLog(t0Ms)
	for s, groups := range p.stages {
		if p.plan.Stages[s].Source < 0 {
			continue
		}
		for g := range groups {
			for _, seal := range groups[g].seals {
				if seal.Last > after {
					log.Add(seal)
					seals++
				}
			}
		}
	}
	return log, seals
}

// TrimmedError says that the vaults hold no checkpoint before the last one from which the run could be repeated.
type TrimmedError struct {
	Through topology.Epoch
	All     bool           // the query keeps all seals
	Floor   topology.Epoch // before it the state is not whole, since a loss was accepted; 0: it is
}

func (e *TrimmedError) Error() string {
	if e.Floor > 0 {
		return fmt.Sprintf("a loss was accepted at checkpoint %d, so that it can be run again from a later one only, and the vaults hold none between that and the last, %d", e.Floor, e.Through)
	}
	return fmt.Sprintf("the seals up to checkpoint %d, the last, are trimmed", e.Through)
}
