// Package transport carries messages between nodes: connections that keep messages apart and in order, over TCP, or in memory
// for whole clusters inside one test process under virtual time (testing/synctest). Wrap does it on a connection made elsewhere.
// Streams is the network in memory by itself: net.Conn and net.Listener between named hosts, with delays, one-way partitions, frozen
// and killed hosts.
//
// Not here: what the messages mean (dataplane), and when a silent peer counts as dead: a connection never times out by itself.
//
// Guarantees: messages arrive whole and in the order they were sent, or the connection fails on both ends; a sender waits when
// the receiver does not take; Close unblocks every call on both ends; memory for a message grows with what has arrived of it,
// not with what its length claims.
package transport
