// Package expr is typed expressions: it checks the parser's expressions against the columns in scope, giving Nodes, and
// compiles Nodes to programs over columns. Here too: casts, the functions of Flink SQL, table functions, and the text form
// of values that connectors read and write.
//
// Not here: parsing (ast), aggregates, windows and everything that is a relation (plan).
//
// Guarantees: the value of an expression for a row depends on the row, on Env's epoch, seed and on the row's place in its
// key group's stream, never on how rows were cut into batches. A value that cannot be computed fails the first row, in row
// order, that needs it; branches of CASE, AND, OR, COALESCE, IF and IN that a row does not take cannot fail it. A program
// that has seen a batch of some size allocates nothing for the next of that size, unless it says so.
package expr
