// Command elastic shows one screen: a load rises, nodes join and the query spreads over them, one of them is killed with kill -9; the load
// falls, the nodes are drained and leave. In the end `seepnode query verify` runs the query again on one node from the same seals and compares.
//
//	go run ./scripts/demo/elastic -program bin/seepnode
//
// It starts three nodes that lead and nothing else. All others are started and ended by the pool of these, with one to spare, through the
// provider exec: its commands are this program (elastic provider launch|terminate|list SOCKET), which pass on to the demo what they are given
// and what it answers. So every process is the demo's own child, and ends with it whatever happens to the leader.
//
// As root the nodes are at most eight small computers of a fifth of a core each; without, they are not limited, and the load is a burden to
// none of them on a fast machine, so that more nodes may not be needed. Where standard output is no terminal it writes lines. It takes about
// three minutes, ends by itself with what is wrong when something does not come about, and leaves neither process nor file behind, also when
// it is interrupted.
package main
