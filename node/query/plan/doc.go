// Package plan compiles a query: the text of one SQL file, the connectors and operators that there are, and options become a
// Plan, plain data that says what runs in which stage and how rows travel between stages.
//
// It guarantees that a Plan is a function of text, catalog and options alone, that it survives JSON unchanged, and that what is
// not supported is refused here, by name and with its place in the text: a Plan that Compile gives can run.
//
// The way through it: settings.go and table.go read declarations; select.go, from.go, aggregate.go, window.go, process.go and
// sink.go turn statements into relations (relation.go), a graph of logical operators; optimize.go and prune.go rewrite that graph;
// stage.go cuts it into stages. explain.go prints the result.
//
// Not here: syntax (ast), types and functions of expressions (expr), running anything.
package plan
