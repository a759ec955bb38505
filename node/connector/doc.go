// Package connector is the SDK of sources and sinks: what a connector implements and how it declares itself. Each connector
// is a package of its own below this one; formats are below format.
//
// A source reads splits. What it gives is sealed by the engine: a Reader must give the same rows again when it is opened at an
// earlier offset of the same split. A sink writes lanes; what a lane writes for an epoch is a pure function of that epoch's rows.
//
// Not here: epochs' clock, sealing, watermarks, retries: the engine's.
package connector
