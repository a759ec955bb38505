// Command elastic repeats the experiments of the SEEP paper (SIGMOD 2013, section 6) on one machine: agents in control groups are a fleet
// of small computers whose bottlenecks are real. It needs root, for these groups.
//
//	go run ./scripts/bench/elastic -program bin/seepnode -plots bin/plots
//	... -only b,d -quick
//
//	a  a load that rises tenfold and falls again, and one that steps: offered and processed rate, latency, nodes
//	b  pause of scale-out and scale-in at half utilisation, against the size of state
//	c  recovery against the checkpoint interval and the rate; state management, upstream backup and source replay
//	p  recovery of a large partition on one other node and on several in parallel
//	d  latency against the size of state and the checkpoint interval
//	e  the threshold policy: nodes and latency against its threshold
//	f  nodes that policy rate chooses, and the fewest that hold the load, placed by hand
//
// Three voters of role control are not limited and run no partitions; the others, of role worker, get a fraction of a core each, 1.6
// cores at most in all. Every experiment has clusters of its own, which are gone after it, also when it is interrupted.
//
// The directory of -out gets summary.md, a CSV file and charts for each experiment, and charts.json, of which scripts/plots makes SVG and
// PNG. What fails is said in the summary and does not keep the others from being run.
//
// Latency is measured where somebody sees it: a reader at a voter waits for each epoch of the result table. The age of a row at that moment
// is that of the instant at which it was due; every millisecond counts as one row.
package main
