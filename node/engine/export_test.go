package engine

import (
	"github.com/zeebo/xxh3"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// SpellOut gives the seals of a log with every empty epoch up to the last one sealed on its own.
func SpellOut(l *SealLog) *SealLog {
	out := NewSealLog(l.T0Ms())
	next := map[topology.StageID]topology.Epoch{}
	for _, s := range l.Seals() {
		for e := max(1, next[s.Stage]); e < s.Last; e++ {
			out.Add(Seal{Stage: s.Stage, Range: s.Range, First: e, Last: e})
		}
		next[s.Stage] = s.Last + 1
		out.Add(s)
	}
	return out
}

// SplitHash is what decides a split's key group.
func SplitHash(id string) uint64 { return xxh3.HashString(id) }

// DecodeSeals reads the seals of a record.
func DecodeSeals(data []byte) ([]Seal, error) { return decodeSeals(data) }

// AppendSeal appends a seal as it is in a record.
func AppendSeal(dst []byte, s *Seal) []byte { return appendSeal(dst, s) }
