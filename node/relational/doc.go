// Package relational holds the built-in operators as kernels that the engine drives: Calc and FlatMap over whole pieces of a
// stream, pre-aggregation, aggregates (running, at the end of input, per window) and the adapter that runs custom operators.
//
// Not here: what to run (plan), expressions (expr), where state is kept (backup/state), partitions, epochs, watermarks, unions
// and sinks (engine).
//
// Guarantees: what a kernel emits for a key group and epoch depends on the rows of that key group in canonical order, its
// state, the instant in Context and the plan's seed; never on how rows were cut into pieces, on the kernel's scratch memory,
// on slots of state tables, or on whether state was encoded and decoded in between. All that survives an epoch is in
// Group.State; Group.Data is derived from it. Touching a key that exists allocates nothing.
package relational
