// Package vault keeps other nodes' states and seals on this node's disk: one append-only log for all blocks, seal logs and
// queries, with an index in memory that is rebuilt when the log is opened. FORMAT.md draws the files.
//
// A block is 16 key groups of a stage; of each key group the vault holds a chain of bases and deltas, which are opaque bytes
// with (from, to] to it. A seal log is what one owner of source key groups has sealed, under its term. Vault is the log on this
// node; Serve and Client carry the same calls over a connection; Access is what both are. Memory is a file system that loses
// power, for tests of whole nodes. Not here: what is in a delta (backup/state) or a seal (node/engine), which vaults hold a
// block, when a checkpoint is complete, what the trim point is (backup).
//
// It guarantees:
//
//   - What is Done survives power loss at any instant. One fsync serves all that arrives while the one before it runs, or
//     within Config.CommitDelay. What was not Done may survive or not; what is torn is cut.
//   - Every delta that is acknowledged can be restored: the chain to its end is complete, up to the trim point. A delta that
//     would leave a gap is refused with NeedBaseError.
//   - A seal that is Held is in the log until this process ends, also when the disk is full; one that is Done for good. Log
//     order is fsync order: a seal that is Done has all before it Done.
//   - No term below a promise is accepted, across restarts. A promise by Fence comes with the log as it is from then on.
//   - One term seals an epoch in one way. A higher term's log replaces what a lower one never released: seals that are the
//     same are never cut, so a crash in the middle of an adoption loses nothing that was released.
//   - After a restart no seal log counts until its owner has adopted it again: what was Held only may be gone.
//   - Compaction removes only what a durable Trim or Drop, or a later adoption, has made useless. It needs room for one segment
//     more, and keeps useless bytes to about half of the whole beside the last segments.
//   - Bytes that were fsynced and have changed are a CorruptError with file and offset, never another state. The one exception:
//     damage to the very last commit looks like a torn one and is cut.
//   - A full disk refuses what is new, and the vault goes on by itself when there is room; trims and seals have a reserve. After
//     any other failed write or fsync nothing more is accepted by this process; reading goes on.
package vault
