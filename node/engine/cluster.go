package engine

import (
	"context"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Semantics is the version of what the engine makes of a plan and its seals. It grows with every change after which the same seals may give
// other bytes, or with which states that are saved have another form or chains are summed otherwise, and is part of a process's fingerprint: processes of different semantics do not replace each other.
const Semantics = 3

// Role is what an instance of a partition is there for.
type Role uint8

const (
	// Active: its output counts.
	Active Role = 1
	// Shadow: it is brought up beside the active one, commits nothing and holds nobody back.
	Shadow Role = 2
	// Retired: it has been replaced and only serves its output log.
	Retired Role = 3
)

// Placed is one instance of a partition, wherever it runs.
type Placed struct {
	topology.Partition
	// Instance is unique within a query, greater for each later start.
	Instance uint64
	Role     Role
	Standby  bool // of a shadow: it is to stay one
	// Restore is the complete checkpoint that it starts from; a later complete one will do.
	Restore topology.Epoch
	// Adopt are, for a source, the seal logs of former owners that it goes on from, in order; for a key group that several of them
	// hold, the last one counts.
	Adopt []topology.SealLog
}

// Placement is what the cluster says of a query at one version of its topology. It is not changed once made.
type Placement struct {
	// Stages holds all instances by stage, in any order; the active ones cover every key group once.
	Stages [][]Placed
	// Complete is the latest complete checkpoint; nobody needs logs, seals or deltas up to Trim any more.
	Complete, Trim topology.Epoch
	// Paused: sources seal nothing.
	Paused bool
	// Finished: everything has ended and Complete is the end. Nobody has the seals any more.
	Finished bool
}

// roleOf is an instance's role, Retired for one that is not placed any more.
func (p *Placement) roleOf(stage topology.StageID, instance uint64) Role {
	for i := range p.Stages[stage] {
		if pl := &p.Stages[stage][i]; pl.Instance == instance {
			return pl.Role
		}
	}
	return Retired
}

// Backup takes checkpoints. Save must not block; once all vaults of a checkpoint have it on disk, Query.Acknowledge is called.
type Backup interface {
	Save(c backup.Checkpoint)
}

// Sealer keeps what a node's sources of one query seal.
type Sealer interface {
	// Put appends a record to the node's log, behind the last one. It does not block. Data is the sealer's from then on.
	Put(r backup.SealRecord)
	// Marks gives the last epoch that is released and the last that is durable, of what was put. OnMarks sets what is called, from
	// any goroutine, when they have risen.
	Marks() (released, durable topology.Epoch)
	OnMarks(func())
	// Adopt fences the logs of former owners and gives what they hold, in the order of logs. It blocks until it can: when no vault
	// of a log can be reached it waits.
	Adopt(ctx context.Context, logs []topology.SealLog) ([]backup.AdoptedLog, error)
	// Adopted says that the records up to epoch through hold everything that an instance took over from logs. When they are durable
	// the cluster forgets logs. It does not block.
	Adopted(stage topology.StageID, instance uint64, logs []topology.SealLog, through topology.Epoch)
}
