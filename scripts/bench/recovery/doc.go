// Command recovery measures how long results of a keyed count stay away when a node is lost: five real processes on this machine, 100,000
// rows/s over at most 20,000 keys, keyed state of a given size in each partition, nodes lost again and again.
//
//	go run ./scripts/bench/recovery -program bin/seepnode
//
// For each loss it takes, from the moment of the kill:
//
//   - first result: until the table shows, to somebody who asks a surviving node, a count of a killed key group with a row that was created
//     after the kill. The rows of the key that is watched come every few milliseconds.
//   - caught up: until all partitions run and the query lags less than 200 ms again.
//   - ends: until the connections of the killed process end. The system first takes back its memory, some 20 ms for 100 MB on an idle machine and
//     more on a busy one, and no other process can notice the loss before.
//   - detect, commit, restore, replay: the phases as the cluster itself tells them.
//
// Nodes are lost by kill -9 of one that does not lead, by kill -9 of the leader (which is given the lead before, as the leader has few
// partitions of its own), and by freezing a process, which is what a host that vanishes looks like to others. Lost nodes are
// started again under their names and the cluster has all copies back before the next loss.
package main
