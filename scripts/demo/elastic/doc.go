// Command elastic shows one screen: a load rises and the query spreads over more nodes, one of which is killed with kill -9; the load falls and
// the nodes are given back. In the end `seepnode query verify` runs the query again on one node from the same seals and compares.
//
//	go run ./scripts/demo/elastic -program bin/seepnode
//
// As root the nodes are eight small computers of a fifth of a core each; without, they are not limited, and the load is a burden to none of
// them on a fast machine. Where standard output is no terminal it writes lines. It leaves neither process nor file behind, also when it is
// interrupted.
package main
