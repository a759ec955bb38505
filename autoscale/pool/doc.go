// Package pool keeps a cluster as large as its load needs: it keeps spare nodes joined and idle, starts more through a provider when
// they are taken, and gives back what has long been idle.
//
// Machine is the decision: a function of what it is told (the nodes, what the provider lists, what became of its calls) to effects.
// Runner makes the calls, on the leader. Nothing that matters is in either: nodes are in the cluster's metadata, instances at the
// provider, found by the cluster's tag; a new leader's machine begins with nothing and comes to the same.
//
// Guarantees:
//   - no instance is paid for and forgotten: whatever is listed either becomes a node within the launch deadline or is terminated, and
//     so is what belongs to a node that has left or is lost; what somebody stopped is told of, and ended like that;
//   - nodes that were not started by the provider are never ended, nor is a voter, nor a node that still holds something;
//   - a node is drained before it is given back, and taken back into service if it is needed while it drains; what a spot interruption
//     drains is not taken back, only given back;
//   - what a person drains is that person's: it is neither taken back nor given back, until it is undrained or leaves; others take its place;
//   - refusals of the provider are answered with a growing pause, longer for those that time alone does not mend;
//   - there are never more nodes and instances than Config.Max.
package pool
