// Package table is the connector `table`: a materialized table, kept in memory by the partitions that make its rows, and read from any
// peer by key or by scan at a named epoch.
//
// Here live the versions of rows (Store, one per node, and its lanes), reads of what a node holds (Store.Read), reads of a whole
// table across nodes (Reader), and telling those who follow it its changes (Store.Hub). Not here: who holds which key groups (the FSM says it), how
// requests travel (Reader.Ask), checkpoints (a lane gives and takes deltas).
//
// Guarantees:
//
//   - A read at an epoch is a consistent cut: it shows the whole effect of every epoch up to it and nothing of later ones, over all key
//     groups. Epochs from the trim point to the newest visible one can be named.
//   - Nothing that is not durable is shown: a lane shows what the engine committed, and the engine commits behind the durable mark.
//   - What grows with the data holds no pointers: per key group an open-addressing index over one arena of bytes.
//   - Reads never go back. A read without an epoch takes E, the least of what all parts of the table have committed. What a part has
//     committed only grows while it lives; and when it is replaced, the engine calls Commit on the restored lane, which answers nothing
//     before, only once it has passed the durable mark that its inputs had when it was connected. That mark is at or above all that was
//     visible before, since nothing becomes visible above a durable mark. So each part's bound is at least what it was for any
//     read that ended earlier, at whatever peer, and so is their least. It rests on asking the processes that the FSM names: a
//     peer that lags behind the FSM may still ask a process that has been replaced. Therefore a Reader also never takes an epoch
//     below one it gave before, and a caller who moves between peers may name the newest epoch it has seen (Request.AtLeast).
//     A read by key, where its key group is known, takes what the parts of its keys have committed, whatever the others show. A scan that comes later,
//     through any peer, waits until all parts show that much; a read of keys in other parts, through another peer, does so only when it
//     names the epoch.
//
// A row's primary key is kept as canonical key bytes: a floating-point key -0 reads as 0.
package table
