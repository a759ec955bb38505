// Package verify runs again, on one node inside this process, what the sources of a query sealed, and compares what comes out with what the
// query's checkpoints and sinks hold.
//
//	past.go      what the checkpoints in the vaults tell: chains at each checkpoint, seals, and from where on a run can be repeated
//	verify.go    the run, with sinks that write nothing
//	chains.go    comparing chains at every checkpoint
//	tables.go    comparing rows of materialized tables
//	result.go    what was compared, and differences
//
// Guarantees: nothing outside is changed. Sources are read again by the offsets, row counts and checksums of the seals, and it is said when
// they have changed. A difference is named by its first place: chains at the first checkpoint at which they differ, upstream before
// downstream. What cannot be verified is an error that says why and what to do.
//
// Not here: where the checkpoints come from and how a person asks (node/agent), how a run is made (node/engine).
package verify
