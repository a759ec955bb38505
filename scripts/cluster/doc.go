// Package cluster runs a cluster of real seepnode agents on this machine, for the demo, for tests with real processes and for benchmarks:
// it starts them on free ports of the loopback with a directory each, kills, freezes and restarts them, and leaves neither process nor
// file behind, however the program that uses it ends. Run gives such a program its signals.
//
// Each agent is a process group of its own, so that a Ctrl-C at the terminal reaches the program and not the agents; an agent ends with
// its parent, for which it watches a pipe, and on Linux also when it is frozen.
//
// Agents may run on small machines, each in a control group with a share of the processors (Machine.Cores), and in a network (Config.Network):
// each in a network namespace with an address of its own, which can be cut off from others in either direction. Both need root on Linux;
// CanLimit and CanNetwork say what is missing. Both end with the program: of one that is killed only empty control groups stay, which the
// next one removes.
//
// Not here: what the cluster is used for. Everything is asked over HTTP through node/api/client.
package cluster
