// Package metrics are a node's Prometheus metrics: their names, help and labels, read from a Source when someone asks for them.
//
// It guarantees: names and labels are those of Table, which the README prints; figures of queries and stages that are gone are gone; every
// label has few values: none holds a partition, a key group or a row's content.
//
// It is not here: measuring. Whoever measures fills a Snapshot, but for the phases of recoveries and the times of checkpoints, which are
// observed as they happen. Serving /metrics is node/api's.
package metrics
