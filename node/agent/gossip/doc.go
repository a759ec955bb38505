// Package gossip says which processes are members of the cluster and which of them have failed: Membership, over Serf, and in memory
// (Static) for whole clusters inside one test process. Membership is how nodes find each other and the slow, certain failure signal
// of the design's section 5; the fast ones are peering's.
//
// Not here: what a node is in the cluster's metadata (raftfsm), and what follows from a failure (node/coordinator).
//
// Guarantees: members of another cluster are left out, each with one line in the log; a second process of a name is refused while the
// first one answers; joining goes on until it succeeds, with what fails said in words; a wrong encryption key is named as such on
// both sides.
package gossip
