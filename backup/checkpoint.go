package backup

import "github.com/seepnode/seepnode/raftfsm/topology"

// Checkpoint is what one partition must remember at a checkpoint epoch.
type Checkpoint struct {
	Query    topology.QueryID
	Stage    topology.StageID
	Range    topology.Range
	Instance uint64
	// From is the last checkpoint that was acknowledged, Epoch this one: deltas are of (From, Epoch].
	From, Epoch topology.Epoch
	// Ended: the partition has ended at or before Epoch; the state is the same at every later epoch.
	Ended bool
	// Groups has one entry for each key group of Range, ascending.
	Groups []GroupDelta
}

// GroupDelta is what changed of one key group's state; with Base its whole state.
type GroupDelta struct {
	Group topology.KeyGroup
	Base  bool
	// Ended: no row of the key group can come any more, and its state is the same at every later epoch, whether or not its partition has ended.
	Ended bool
	// To is the checkpoint that it leads to, of what Fetch gives; of a key group that has ended it may be before the one asked for.
	To   topology.Epoch
	Data []byte
}

// SealRecord is what one process's sources of a query put into the epochs First..Last. Records of a log adjoin each other.
type SealRecord struct {
	First, Last topology.Epoch
	Data        []byte
}

// AdoptedLog is the seal log of a former owner as it was when it was fenced: every released record is in it.
type AdoptedLog struct {
	Log     topology.SealLog
	Records []SealRecord   // ascending
	Trim    topology.Epoch // what ends at or before it may be missing: a checkpoint there is complete
}
