// Package tail lets the rows that sinks get be followed while a query runs.
//
// Here live what a node's followers and the parts of sinks on it know of each other (Hub), what waits until it may be seen (Part) and what
// waits for its reader (Follower). The engine tells a Part what a sink gets; the connector `table`, which knows what a row was before, tells
// its changes itself.
//
// Guarantees: rows are shown once their epochs may be seen outside, with the producing key group and +I, -U, +U or -D; those of a key group
// ascend by epoch and come as the sink got them. What is held is bounded: a follower who reads too slowly loses whole epochs of a part and is
// told how many rows they had. Nobody waits for a follower, no call here can fail what a query does, and rows become text where they are read. Without
// a follower a part costs an atomic load an epoch.
//
// Not here: following over nodes, and leaving out what was shown before a part was restored (node/agent).
package tail
