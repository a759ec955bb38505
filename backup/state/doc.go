// Package state holds keyed state: tables of typed columns without pointers, what was touched in them, and their deltas.
//
// Table is the core that built-in operators use: one per (key group, name), an open-addressing index over columns. Group is
// all state of one key group: named tables that are checkpointed, hashed and restored together. Value, Map and List are the
// public structures for authors of custom operators, scoped by the group's current key. Not here: where deltas go
// (backup/vault), when they are made (backup), timers and watermarks (node/engine).
//
// Guarantees: encodings, hashes and orders of iteration depend on the logical content alone, never on the order of
// insertion, slot numbers, deletions, growth or restores. Nothing that grows with the data holds a pointer. Finding and
// updating an existing entry allocates nothing. Decoding arbitrary bytes gives an error or a valid state, and memory in
// proportion to the bytes. Nothing here is safe for concurrent use: a key group has one owner at a time. A Snapshot shares nothing
// that changes with the group it was taken of, so that another goroutine may encode it.
package state
