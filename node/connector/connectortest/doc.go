// Package connectortest is what every connector is held against: a source gives the same rows whatever the limits and from
// whatever offset it is opened again; a sink's effects do not depend on how epochs were cut into ranges and when they are committed;
// one that promises exactly once keeps that through restarts, zombies and a full disk.
//
// Connectors of one's own run it from their tests. It holds no connector.
package connectortest
