// Package ast holds the SQL text's side of a query: the lexer, the parser, the syntax tree and its canonical text.
//
// The dialect is Flink SQL's. Parse reads a whole file into a Script; ParseExpr and ParseType read one expression or
// type; Format writes an expression back as canonical text, so that parsing it gives the same tree up to positions.
//
// Nothing here knows which tables, columns or functions exist: names are resolved by the planner, and what parses may
// still be refused there. What the parser itself refuses, it refuses by name.
//
// Guarantees: every error is an *Error with line, column, what was expected and what was found; no input makes it panic;
// nesting, operators per statement and the size of the text are bounded, so that trees can be walked recursively.
package ast
