// Command latency measures how long it takes from a row's creation until a `table` shows it: four real processes on this machine, seals on
// two vaults and fsynced, a keyed count of 10,000 and of 100,000 rows/s, the table read from every node in turn.
//
//	go run ./scripts/bench/latency -program bin/seepnode
//
// A row of datagen is created at the instant that its number and the rate say, and belongs to the next epoch's end; a reader waits for each
// epoch of the table, 20 in a row at one node, then at the next. When one becomes visible, every millisecond of the time that it covers counts
// as a row that was created then: so the wait for the epoch's end is part of the figure. (A reader at every node at once takes about half a core
// of a small machine, which would be measured too.)
//
// It also measures what an idle node and an idle query cost. With -profile it keeps CPU profiles of the agents.
package main
