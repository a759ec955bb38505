package engine

import (
	"fmt"

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

// Chains are the chains of a partition that has ended.
func (q *Query) Chains(place topology.Partition) [][]uint64 { return q.find(place).chains }

// Dump says where the query's partitions stand.
func (q *Query) Dump() (out string) {
	for _, p := range q.partitions() {
		out += fmt.Sprintf("%v next %d over %v ended %v mayAppend %v\n", p.place(), p.next, p.over, p.stats.ended.Load(), p.mayAppend())
		for i, s := range p.inlets {
			for _, in := range s {
				out += fmt.Sprintf("   in %d %v have %v [%d,%d] ended %v read %d acked %d\n", i, in.place, in.have, in.front.First, in.front.Last, in.ended, in.cursor.Position(), in.cursor.Acked())
			}
		}
		for o, l := range p.logs {
			out += fmt.Sprintf("   out %d next %d floor %d slowest %d %s\n", o, l.Next(), l.Floor(), l.Acknowledged(), l.Cursors())
		}
	}
	return out
}
