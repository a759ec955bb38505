// Package agent is one node of a cluster: it puts the parts together, starts and ends them in order, and brings about on this process
// what the metadata says of it.
//
//	config.go, options.go, addresses.go   what it is told from outside; doubles of the outside for tests
//	agent.go, work.go, leave.go           its life: start, membership, work, handing over, end
//	fingerprint.go, memory.go, catalog.go what this process is and can run
//	gossiping.go, peers.go, vaults.go     who is there, connections, what the vault may forget
//	queries.go, query.go, seals.go, placement.go   parts of queries: the metadata compared with what runs here
//	report.go, lead.go, rates.go          what the leader is told, and what a leader does with it
//	autoscale.go, pooling.go, notice.go   on the leader: sizes that follow the load, the pool of nodes; a machine that is taken away
//	processors.go                         what of the machine's processors this process may use
//	backend*.go, figures.go, observe.go, web.go    the answers of the HTTP API and metrics
//
// Below it: member (founding, joining, commands to the leader), port (the data port), gossip, peering.
//
// Not here: any decision about partitions, copies, checkpoints or failures (node/coordinator), running operators (node/engine), the
// metadata's rules (raftfsm).
//
// It guarantees: a process acts on the metadata only after it has applied the log up to its own joining; a process that another has
// replaced under its name runs nothing, and one that was taken for lost only what was not put on others yet; a query that fails on this
// node ends no other; every goroutine has ended when Close returns.
package agent
