// Package engine runs compiled plans: it seals what sources read into epochs, moves the rows of each epoch through the stages,
// and hands results to sinks.
//
//	seal.go, source.go, sourceloop.go   what is read into which epoch; sealing.go, sealcodec.go  what of it is released and durable, as bytes
//	partition.go, life.go               one goroutine per instance of a partition: whole input of an epoch in, whole output out; its phases
//	tail.go                             what sinks get, for those who follow them
//	narrow.go                           key groups that an instance gives away while it runs
//	wiring.go                           whom an instance takes rows from, also when a producer is replaced
//	step.go                             the operators of a stage over one epoch of a range of key groups
//	backlog.go                          rows that are due at a source and were not read
//	hotkey.go                           the key that is too much for one node
//	shuffle.go                          rows sorted by the consumer's key group, in canonical order
//	chains.go, suspect.go               proof that two runs gave the same rows; which key group it is when they did not
//	paranoid.go                         encode, drop and decode all state between epochs
//	checkpoint.go, saving.go            the state of partitions as deltas; restore.go  what they begin with; kept.go  the seals in both
//	node.go, query.go                   one node's part of queries, brought to the latest placement; status.go, progress.go  how far it is
//	cluster.go                          what the cluster says of a query, and the seams to who keeps checkpoints and seals
//	run.go                              a query on in-process nodes with a fixed topology, for seepnode run
//
// Guarantee: the rows that a (stage, key group, epoch) gives depend on the seals alone, not on the number of nodes, workers,
// partitions, on batch sizes or limits, nor on what was lost and restored meanwhile. Survivors of a loss never roll back. A result that
// differs from one that others have had stops the query with operator, key group and epoch, the range where several differ in every epoch. Sinks commit, and
// checkpoints are saved, only of what is durable.
//
// Not here: which process runs what and when a checkpoint is complete (node/coordinator), copies of state and seals (backup), what
// operators do (node/relational), how rows travel (dataplane).
//
// Departure from the design's wording: epoch 0 is complete by definition and holds no rows, so under 'seal' = 'rows:N' epoch e
// holds rows [(e-1)N, eN) of each split.
package engine
