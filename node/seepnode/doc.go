// Package seepnode is the command line: it turns arguments into a Config, compiles the query with what this binary knows of
// operators, functions and connectors, runs it, and tells a person how it went; it starts agents and talks to clusters of them. Main
// is all of a binary; a program of one's own that calls Main with options is seepnode with more operators.
//
//	main.go       Main, Run, options
//	commands.go   the commands and their help; cluster_commands.go those of a cluster
//	args.go       flags before and after arguments, misspelt names
//	config.go     the command line of a query as a Config, in one place
//	query.go      reading and compiling a query; query plan, query validate
//	run.go        running one in this process
//	settings.go   an agent's settings from flags, environment and YAML (yaml.go), in one table
//	agent.go      running an agent: signals, --config-check
//	remote.go     talking to a cluster: address, token, errors; remote_query.go, remote_table.go, remote_node.go its commands
//	remote_autoscale.go  sizes that follow the load
//	dev.go        a local cluster of processes; devview.go how it is shown
//	display.go    columns, units and colour; progress.go the line on a terminal; console.go what shares the terminal with it
//	errors.go     what is printed of an error, exit codes
//
// Guarantees: standard output carries data only, everything else goes to standard error; with --json it is the API's answer as it
// came, also when that is an error; the exit code is 0 when the query is done or was stopped cleanly, 1 when it, its text or a request
// failed, 2 for wrong usage and configuration. Text from a cluster cannot steer the terminal. Not here: what a query means
// (query/plan), how it runs (engine), what an agent does (agent), the API (api/client).
package seepnode
