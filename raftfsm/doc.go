// Package raftfsm keeps the metadata of a cluster: its nodes, its queries, where their partitions, shadows and vaults are, the terms
// of seals and the complete checkpoints. Nothing per epoch or per row is here; plans are bytes.
//
// State is a pure machine: Apply(command) gives the next State and a typed Outcome, without clock, randomness or map order, so all
// nodes agree. A State never changes once made; Machine publishes the current one and tells who waits for the next. Group runs
// hashicorp/raft over a Machine.
//
// Guarantees:
//   - every command names what it is based on (a version, term, epoch or expected value) and is a no-op with a typed outcome when that
//     is no longer so: proposing one again, at any later time, changes nothing that it changed before (invariants 12 and 26);
//   - the complete epoch of a query never decreases (12);
//   - at every version the active partitions of a stage cover each key group exactly once, and a key group has at most one pending
//     change, and at most one standby of its partition on each other process; a command that would break this is refused (14);
//   - a partition or shadow is only put on a process that lives and has the fingerprint of the query's generation (25);
//   - terms of seals only grow; a source process always has vaults for its seals, and a former owner's log stays known until every
//     successor has adopted it;
//   - a node leaves only when no partition, shadow, needed output log, vault set, seal set or vote names it (22);
//   - a command or snapshot of a newer version stops this node's machine instead of making it differ from the others.
//
// It is not here: deciding (node/coordinator), acting on what the state says (node/agent), moving data.
package raftfsm
