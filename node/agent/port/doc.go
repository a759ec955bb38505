// Package port is how processes of a cluster reach each other: a Network of connections, over TCP or in memory for whole clusters
// inside one test process, and Mux, one data port shared by everything that nodes say to each other. The first byte of a
// connection says whose it is:
//
//	'R' raft   'D' dataplane link   'V' vault   'C' control (HTTP)   'K' keep-alives
//
// followed by the protocol version, 1 byte, and the cluster's id, 8 bytes big-endian, 0 while it is not known. The answer is 0x00,
// or 0x01 (0x02 if trying again may help), a length of 2 bytes big-endian and a text. After it the connection is the user's.
//
// With TLS the same is said inside it. Both ends show a certificate of an authority that the other trusts; names do not count, because nodes' addresses
// change. An end without TLS is answered in plain what to do.
//
// Not here: what is said on the connections, who connects to whom (peering), who is a member (gossip).
//
// Guarantees: a connection of another cluster, another protocol version, or of something else altogether is answered with what is
// wrong and what to do, and both sides log it once per address; what is silent or slow is cut after HandshakeTimeout; the number of
// connections that have not said who they are is bounded. Nothing of a connection is read ahead of its user.
package port
