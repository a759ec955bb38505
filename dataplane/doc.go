// Package dataplane is what nodes say to each other about tuples: frames of rows, end-of-epoch markers, the messages of a
// subscription, and the output log that subscriptions read. Every message is self-delimiting, carries a protocol version and a
// CRC32C, and may follow another one in the same buffer, so that markers ride behind frames and a log can hold frames end to
// end.
//
// Not here: connections (dataplane/transport), columns and their encoding (dataplane/batch), and who sends what when, which is
// the engine's.
//
// Guarantees: any bytes decode to a valid message or to an error, never to a panic, and memory is taken only after a length
// was checked against a limit. A decoded frame holds rows in canonical order: by consumer key group, then producing key group.
package dataplane
