// Package operator is the SDK of custom operators, nothing else: an author registers a Definition, SQL calls it as a process
// table function, name(TABLE t PARTITION BY (a, b), arg...), and the engine runs one Operator per key group.
//
// An Operator keeps what it must remember in package state only (state.Value, state.Map, state.List, made in Open); fields of
// its own must not influence output from one epoch to the next. Objects of different key groups run concurrently and must
// share nothing that changes. Time is ctx.Now, chance is ctx.Rand: never the wall clock, never math/rand, never the order of a
// Go map. Then the output is the same bytes on one node and on many.
package operator
