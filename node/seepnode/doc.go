// Package seepnode is the command line: it turns arguments into a Config, compiles the query with what this binary knows of
// operators, functions and connectors, runs it, and tells a person how it went. Main is all of a binary; a program of one's own
// that calls Main with options is seepnode with more operators.
//
//	main.go       Main, Run, options
//	commands.go   the commands and their help
//	args.go       flags before and after arguments, misspelt names
//	config.go     the command line as a Config, in one place
//	query.go      reading and compiling a query; query plan, query validate
//	run.go        running one
//	progress.go   the line on a terminal; console.go what shares the terminal with it
//	errors.go     what is printed of an error, exit codes
//
// Guarantees: standard output carries data only, everything else goes to standard error; the exit code is 0 when the query is
// done or was stopped cleanly, 1 when it or its text failed, 2 for wrong usage. Not here: what a query means (query/plan) and
// how it runs (engine).
package seepnode
