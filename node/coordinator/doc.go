// Package coordinator decides, on the leader, what the cluster does next: which processes are lost, where partitions and copies
// go, when a checkpoint is complete, when a shadow takes over, when a query has failed, waits, is blocked or has finished.
//
// Each decision is a pure step: a function of a View (the metadata, the nodes' latest reports, the time, who leads) and a small
// memory to commands and notes. Loop feeds the steps and proposes what they give. Report is what every node tells the leader.
//
// Not here: doing any of it (node/agent), the metadata and its invariants (raftfsm), how reports travel.
//
// It guarantees:
//   - the same view and memory give the same commands: no map order, clock or randomness decides;
//   - the memory is of no importance: a leader that begins with an empty one and with no reports decides the same, later. Nobody is
//     taken for lost for want of reports before a new leader has led for as long as it takes to notice (Timing.Silence);
//   - commands are conditional, so any of them may be lost, repeated or late (invariants 12 and 26);
//   - what is decided of one query waits for no other query.
//
// Departure from the design: besides equal chains a switch needs a shadow that has all epochs of the complete checkpoint. What is kept for a
// shadow goes when it is none any more, so that one which lacked some would be restored once more, with results waiting for it: a second long in
// one of five scale-ins of 100 MB that switched as their checkpoint was completed.
package coordinator
