package vault

import (
	"errors"
	"fmt"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

var (
	// ErrClosed is returned by calls on a closed vault or client.
	ErrClosed = errors.New("vault: closed")
	// ErrDropped is wrapped when something is put for a query that was dropped: incarnations are never used twice.
	ErrDropped = errors.New("vault: the query was dropped")
	// ErrTooLarge is wrapped when something exceeds a limit of this package.
	ErrTooLarge = errors.New("vault: too large")
	// ErrMalformed is wrapped when bytes are no record or message of this package, or a request makes no sense.
	ErrMalformed = errors.New("vault: malformed")
	// ErrBusy is wrapped when a connection asks for more at once than a server allows.
	ErrBusy = errors.New("vault: too many requests at once")
)

// CorruptError says that the log holds bytes that were once fsynced and have changed since. The vault does not open; its
// copies are elsewhere, so the way out is an empty directory, after which the coordinator fills the vault anew.
type CorruptError struct {
	File   string
	Offset int64
	What   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("vault: %s is corrupt at byte %d: %s. Check the disk, move the directory away and start the node with an empty one; other vaults hold copies", e.File, e.Offset, e.What)
}

// VersionError says that a directory was written by a newer seepnode.
type VersionError struct {
	File    string
	Version uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("vault: %s has format version %d, this seepnode reads up to %d: upgrade this node or use another data directory", e.File, e.Version, formatVersion)
}

// ForeignError says that a directory belongs to another cluster or node.
type ForeignError struct {
	File              string
	Cluster, Node     string // whose it is
	OwnCluster, Owner string // who opens it
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("vault: %s belongs to node %q of cluster %q, this is node %q of cluster %q: use another data directory", e.File, e.Node, e.Cluster, e.Owner, e.OwnCluster)
}

// LockedError says that another process has the directory open.
type LockedError struct {
	Dir string
	Err error
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("vault: %s is in use by another process (%v): stop that one or use another data directory", e.Dir, e.Err)
}

func (e *LockedError) Unwrap() error { return e.Err }

// DiskFullError says that there is no room to write. What was acknowledged stays readable; a later put tries again.
type DiskFullError struct {
	Path string
	Free uint64 // bytes free on the file system, as far as it says
	Err  error
}

func (e *DiskFullError) Error() string {
	return fmt.Sprintf("vault: no room in %s (%d bytes free): make room on that disk; the vault goes on by itself", e.Path, e.Free)
}

func (e *DiskFullError) Unwrap() error { return e.Err }

// FailedError says that writing or fsync failed in a way after which nothing more may be promised by this process. What was
// acknowledged stays readable. A restart reads the log again.
type FailedError struct {
	Path string
	Err  error
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("vault: writing %s failed, nothing more is accepted: %v. Check the disk and restart the node", e.Path, e.Err)
}

func (e *FailedError) Unwrap() error { return e.Err }

// NeedBaseError says that a delta does not follow what is held of its key group: a base must be sent instead.
type NeedBaseError struct {
	Query    topology.QueryID
	Stage    topology.StageID
	KeyGroup topology.KeyGroup
	From     topology.Epoch // where the refused delta begins
	Held     topology.Epoch // the last epoch held before its end, 0 when none
}

func (e *NeedBaseError) Error() string {
	return fmt.Sprintf("vault: delta of stage %d key group %d begins at epoch %d, epoch %d is held: send a base", e.Stage, e.KeyGroup, e.From, e.Held)
}

// NoChainError says that the state of a key group at an epoch cannot be had from this vault.
type NoChainError struct {
	Query    topology.QueryID
	Stage    topology.StageID
	KeyGroup topology.KeyGroup
	Want     topology.Epoch
	Held     topology.Epoch // the last epoch held, 0 when none
}

func (e *NoChainError) Error() string {
	return fmt.Sprintf("vault: state of stage %d key group %d at epoch %d is not held (the last one held is %d): ask another vault", e.Stage, e.KeyGroup, e.Want, e.Held)
}

// FencedError says that the vault has promised to refuse the term.
type FencedError struct {
	Query   topology.QueryID
	Source  SourceKey
	Term    uint64
	Promise uint64
}

func (e *FencedError) Error() string {
	return fmt.Sprintf("vault: seals of %q with term %d are refused, term %d was promised: another node has taken over", string(e.Source), e.Term, e.Promise)
}

// NotJoinedError says that the owner of a term has not put its log here since this process of the vault began: it must Adopt
// before the vault counts.
type NotJoinedError struct {
	Query    topology.QueryID
	Source   SourceKey
	Term     uint64
	Boot     topology.BootID // of the vault
	LogBoot  topology.BootID // under which the held log was joined, 0 when never
	JoinTerm uint64          // with which the held log was joined
}

func (e *NotJoinedError) Error() string {
	return fmt.Sprintf("vault: seal log of %q was joined with term %d under boot %016x, not with term %d under boot %016x: adopt the log first", string(e.Source), e.JoinTerm, uint64(e.LogBoot), e.Term, uint64(e.Boot))
}

// SealGapError says that a seal does not begin right behind the log's end.
type SealGapError struct {
	Query  topology.QueryID
	Source SourceKey
	First  topology.Epoch
	Next   topology.Epoch // where the next seal must begin
}

func (e *SealGapError) Error() string {
	return fmt.Sprintf("vault: seal of %q begins at epoch %d, epoch %d is next: send what is missing", string(e.Source), e.First, e.Next)
}

// SealConflictError says that one term has sealed an epoch in two ways. It is a defect of the owner: nothing was changed.
type SealConflictError struct {
	Query  topology.QueryID
	Source SourceKey
	Term   uint64
	Epoch  topology.Epoch
}

func (e *SealConflictError) Error() string {
	return fmt.Sprintf("vault: term %d has sealed epoch %d of %q already, otherwise", e.Term, e.Epoch, string(e.Source))
}
