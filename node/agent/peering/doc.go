// Package peering keeps the processes of a cluster in touch: between every two live ones a dataplane connection, which is served by
// whoever is given it (engine.Node.Join), and a keep-alive connection. The process with the smaller node id dials both, again after
// every loss. From what becomes of them come the fast failure signals of the design's section 5: a Complaint "ended" at once when a
// connection ends without a goodbye or is refused, "silent" when keep-alives are missing; and the round trip and clock offset to
// every peer.
//
// Not here: what the complaints lead to (node/coordinator), who is a member (gossip; the processes are given by Update), the
// protocol of the dataplane.
//
// Guarantees: at most one connection of each kind with a process is served at a time, and it was proved with node and boot id whose
// it is; a complaint names a process (node and boot) and is withdrawn when the process is heard again under that boot; a process
// that was itself frozen (SIGSTOP, starved of CPU) blames nobody for what it missed.
package peering
