// Package member makes this process a member of a cluster: it founds the Raft group or waits to be taken into it, keeps the process's
// record in the metadata, and has the leader apply commands from wherever it is.
//
//	found.go    who founds a cluster, and with whom
//	join.go     the process's record: at its start, and again after a false verdict; names in use
//	propose.go  commands on their way to the leader
//	control.go  HTTP between nodes
//
// Not here: the metadata itself and Raft (raftfsm), who is reachable (node/agent/gossip), what a member then runs (node/agent).
//
// It guarantees: a node that is told to join founds no cluster, unless it is told to with others; a proposal ends with an outcome or
// with its context; a process that was replaced under its name ends with an error.
package member
