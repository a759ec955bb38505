// Package fleet runs a cluster of voters and small computers with a query whose load changes, and watches its results: what benchmarks and
// the demo of elasticity have in common.
//
// The voters, of role control, run no partitions and are not limited; the workers, of role worker, get a fraction of a core each, 1.6 cores at
// most in all, so that two cores hold eight of them. They are there from the start, or are started and ended one by one, as a provider does.
//
// Latency is measured where somebody sees it: a reader at a voter waits for each epoch of the result table. The age of a row at that moment
// is that of the instant at which it was due; every millisecond counts as one row.
package fleet
