// Package batch holds rows as typed columns: what operators work on, what frames carry and what deltas are made of.
//
// Here live the logical SQL types with their physical kinds, Column and Batch, the Row cursor, canonical key bytes and their
// hash, the hash of rows that chains are made of, and the codec. Not here: frames, compression, key-group ranges, state.
// The package imports nothing of seepnode.
//
// Ownership: a Batch belongs to whoever made it until it is handed over; a function that keeps or changes a batch it was
// given says so. Byte slices that a column returns point into its arena and are valid until the column changes.
//
// Guarantees: nothing in a batch points to a single row (no pointers grow with the data); all that is derived from rows (keys,
// hashes, codec) depends on their values and order alone, never on capacity, the null bitmap's length or how the batch was cut.
package batch
