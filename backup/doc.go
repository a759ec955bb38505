// Package backup takes a node's part of a query's state to its vaults and back: checkpoints per key group, the log of what sources
// sealed, what a restore or a successor needs of them, and copies for vaults that are new. It knows queries by their ids, state and
// seals as bytes.
//
// Not here: the vault itself (backup/vault), what is in a delta (backup/state, node/engine), which processes are vaults and when a
// checkpoint is complete (the FSM and node/coordinator).
//
// It guarantees: a checkpoint is acknowledged only when all vaults of its block have fsynced it; a seal is released only when every
// vault of the set holds it, and durable only when every one has fsynced it (invariants 2 and 4); a log that is adopted has every
// released seal of its former owner (invariant 3); Copied of a version is said only when every vault that it names has the state.
package backup
