// Package dataplane is what nodes say to each other about tuples: frames of rows, end-of-epoch markers, the messages of a
// subscription, the output log that subscriptions read, and the link that carries all subscriptions between two processes. Every
// message is self-delimiting, carries a protocol version and a CRC32C, and may follow another one in the same buffer, so that
// markers ride behind frames.
//
// Not here: connections (dataplane/transport), columns and their encoding (dataplane/batch), who subscribes to what and when a log is
// trimmed, which is the engine's.
//
// Guarantees: any bytes decode to a valid message or to an error, never to a panic, and memory is taken only after a length
// was checked against a limit. A decoded frame holds rows in canonical order: by consumer key group, then producing key group.
// A log keeps all that was put into it since its trim point; below that the answer to a subscription is TrimmedError. It keeps it in memory, and
// what all active consumers have had also on disk when a Spill is told so: what comes back is what was put in, or an error.
package dataplane
