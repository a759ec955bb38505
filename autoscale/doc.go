// Package autoscale decides how many partitions every stage of a query should have, where its key groups are cut, and how many nodes
// a cluster needs. It decides on plain figures and does nothing.
//
//	plan.go       what is known of a query and of what people allow
//	meter.go      counters of processes -> what partitions, stages and nodes did lately
//	cost.go       what partitions use of their nodes: a fixed part and one for each row; how rows are spread over key groups
//	detector.go   the bottleneck detector: what comes, what a node's worth of a stage takes, who is behind
//	rate.go       the policy "rate": target parallelism of every stage in one decision
//	threshold.go  the policy "threshold": one more partition where one is too busy for too long
//	cut.go        key groups into ranges of equal load; hot key groups in ranges of their own
//	machine.go    the machine of a query: samples and rescales in, decisions out; hysteresis and cool-down
//	fleet.go      the machine of the cluster: nodes wanted, partitions to move off a node that is too busy
//
// The rate policy follows Kalavri et al., "Three steps is all you need", OSDI 2018: the true rate of a stage is what it takes in while
// it works, not while it waits; with the true rates and the ratios between stages one decision is enough. The threshold policy is that
// of Castro Fernandez et al., SIGMOD 2013.
//
// A node is used for three things: by its agent, which the meter leaves out; by a partition for being there while epochs pass, which is its
// stage's fixed part; and for rows. Uses that are compared with limits are what rows use of what the other two leave.
//
// Guarantees: every machine is a function of its events alone, without clock, randomness, map order or I/O; every decision carries
// its figures and a sentence; fixed stages and limits are never exceeded; without load every automatic stage gets its least number of
// partitions.
//
// Not here: reading counters and carrying decisions out (node/agent, node/coordinator), starting and ending nodes (autoscale/pool,
// autoscale/provider).
package autoscale
