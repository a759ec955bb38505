// Package cluster runs a cluster of real seepnode agents on this machine, for the demo, for tests with real processes and for benchmarks:
// it starts them on free ports of the loopback with a directory each, kills, freezes and restarts them, and leaves neither process nor
// file behind, however the program that uses it ends. Run gives such a program its signals.
//
// Each agent is a process group of its own, so that a Ctrl-C at the terminal reaches the program and not the agents; an agent ends with
// its parent, for which it watches a pipe, and on Linux also when it is frozen.
//
// Not here: what the cluster is used for. Everything is asked over HTTP through node/api/client.
package cluster
