// Package engine runs compiled plans: it seals what sources read into epochs, moves the rows of each epoch through the stages,
// and hands results to sinks.
//
//	seal.go, source.go, sourceloop.go   what is read into which epoch
//	partition.go                        one goroutine per partition: whole input of an epoch in, whole output out
//	step.go                             the operators of a stage over one epoch of a range of key groups
//	shuffle.go                          rows sorted by the consumer's key group, in canonical order
//	chains.go                           proof that two runs gave the same rows
//	paranoid.go                         encode, drop and decode all state between epochs
//	checkpoint.go, saving.go            the state of partitions as deltas, and restoring from them
//	node.go, query.go, placement.go     one node's part of a query, and whom it takes rows from
//	run.go                              a query on in-process nodes with a fixed topology
//
// Guarantee: the rows that a (stage, key group, epoch) gives depend on the seals alone, not on the number of nodes, workers,
// partitions, on batch sizes or limits. What operators do is package relational's, how rows travel package dataplane's.
//
// Departure from the design's wording: epoch 0 is complete by definition and holds no rows, so under 'seal' = 'rows:N' epoch e
// holds rows [(e-1)N, eN) of each split.
package engine
