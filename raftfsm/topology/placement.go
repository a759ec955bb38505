package topology

import (
	"fmt"
	"slices"
)

// BlockGroups is how many key groups of a stage share their vaults.
const BlockGroups = 16

// BlockID numbers a stage's fixed blocks of BlockGroups key groups.
type BlockID uint16

// BlockOf is the block of key group g.
func BlockOf(g KeyGroup) BlockID { return BlockID(g / BlockGroups) }

// Blocks is the number of blocks of a stage with that many key groups.
func Blocks(groups int) int { return (groups + BlockGroups - 1) / BlockGroups }

// Range is the key groups of block b of a stage with that many key groups.
func (b BlockID) Range(groups int) Range {
	from := int(b) * BlockGroups
	return Range{KeyGroup(min(from, groups)), KeyGroup(min(from+BlockGroups, groups))}
}

// Term orders the writers of a seal log: a vault refuses terms below its promise. Terms of a query grow.
type Term uint64

// Fingerprint is what two processes must share to replace each other: engine semantics, architecture level, Go release.
type Fingerprint string

// Process is one life of a node. Whatever names a process means no later process of the same node.
type Process struct {
	Node NodeID `json:"node"`
	Boot BootID `json:"boot"`
}

// String is "n1/2a".
func (p Process) String() string { return fmt.Sprintf("%s/%x", p.Node, uint64(p.Boot)) }

// SealLog names a log of seals within a query's generation, in the FSM and on vaults.
type SealLog uint64

// Assignment is an active partition of a stage.
//
// A key group that was active on the process before goes on undisturbed when Instance is the greatest instance the process ran
// in Range; otherwise the process restores the range at Restore.
type Assignment struct {
	Range    Range   `json:"range"`
	Process  Process `json:"process"`
	Instance uint64  `json:"instance"` // grows within a query with every start of a partition or shadow
	Restore  Epoch   `json:"restore"`  // it starts from the state of this complete epoch; its log begins behind it
	// Deaths counts the processes that died one after the other with this range without getting beyond DiedAt.
	Deaths int `json:"deaths,omitempty"`
	// DiedAt is the last epoch that the first of these is known to have done.
	DiedAt Epoch `json:"died_at,omitempty"`
	// Died is the last of these. When it turns out to live it had not died.
	Died Process `json:"died,omitzero"`
	// Adopt are, for a source, the logs of former owners that the process fences (with the log's term) and copies into its own
	// before it seals, each once. Of a key group that several hold, what the greatest Instance sealed counts, and nothing that
	// another one sealed, whatever the epoch: a copy into a log must therefore be whole (one record) before it counts at all.
	Adopt []SealLog `json:"adopt,omitempty"`
}

// Shadow is a partition that is being brought up to take a range over. Its Restore holds back the trim point; it follows the complete epoch
// once the shadow has caught up.
type Shadow struct {
	Range    Range   `json:"range"`
	Process  Process `json:"process"`
	Instance uint64  `json:"instance"`
	Restore  Epoch   `json:"restore"`
	Purpose  Purpose `json:"purpose,omitempty"`
}

// Purpose is what a shadow is for. Numbers are on disk.
type Purpose uint8

const (
	// ForChange: it takes its range over as soon as it has caught up.
	ForChange Purpose = 0
	// ForStandby: it takes its range over when what is active there is lost. There may be several of a range, on as many processes, also beside a
	// shadow of another purpose.
	ForStandby Purpose = 1
	// ForSpeed: it takes its range over if it gets ahead of what is active there.
	ForSpeed Purpose = 2
)

// MaxStandby is how many standby shadows of each partition a query may want.
const MaxStandby = 8

// GoesWith says whether two shadows may be brought up at the same time: of different key groups, or of one range on two processes when one of them
// at least is a standby.
func (s *Shadow) GoesWith(o *Shadow) bool {
	return !s.Range.Overlaps(o.Range) || s.Range == o.Range && s.Process != o.Process && (s.Purpose == ForStandby || o.Purpose == ForStandby)
}

// StaysBeside says whether a standby shadow is one of some partitions: of just the range of one of them, on another process.
func (s *Shadow) StaysBeside(parts []Assignment) bool {
	return s.Purpose == ForStandby && slices.ContainsFunc(parts, func(a Assignment) bool { return a.Range == s.Range && a.Process != s.Process })
}

// Retired is a former partition that serves its output log until the trim point has reached Until.
type Retired struct {
	Range    Range   `json:"range"`
	Process  Process `json:"process"`
	Instance uint64  `json:"instance"`
	Until    Epoch   `json:"until"`
}

// VaultSet are the processes that keep the checkpoints of a block.
type VaultSet struct {
	Version uint64    `json:"version"` // grows with each change
	Members []Process `json:"members,omitempty"`
	// Changed is the version of the metadata in which a node was last added. Until the members are known to hold the complete
	// checkpoint, those added may hold nothing.
	Changed uint64 `json:"changed,omitempty"`
	// Completed is the version of the metadata in which a checkpoint was last complete while there were former members, which may be those who
	// have it.
	Completed uint64 `json:"completed,omitempty"`
	// Former were members before that is known of the present ones: they get no new checkpoints and keep what they have, which a
	// restore may need. As with members, what counts is the node's disk, whatever its process.
	Former []Process `json:"former,omitempty"`
}

// SealSet are the vaults of one source process's seal log.
type SealSet struct {
	Log SealLog `json:"log"`
	// Generation is the query's when the log was given out, under which the vaults have it.
	Generation uint32    `json:"generation"`
	Owner      Process   `json:"owner"`
	Term       Term      `json:"term"`    // the owner writes, and successors fence, with this one
	Version    uint64    `json:"version"` // grows with each change of the members
	Members    []Process `json:"members,omitempty"`
	Fenced     bool      `json:"fenced,omitempty"` // the owner writes no more; kept for successors that have not adopted it
}

// BlockRef names a block of a query.
type BlockRef struct {
	Stage StageID `json:"stage"`
	Block BlockID `json:"block"`
}
