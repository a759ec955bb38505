// Package api serves the HTTP API of a node: queries, tables, nodes, Raft, metrics and health, as openapi.yaml describes it.
//
// It guarantees: a request that is wrong is refused before anything is done, with an *client.Error that says what to do; keys and
// parameters that nobody knows are refused by name; bodies, texts and answers have limits; with a token nothing but /healthz is answered
// without it; a web page that a person happens to look at cannot use that person's access to a cluster on the loopback; a panic ends one
// request and not the node.
//
// It is not here: knowing or doing anything. That is the Backend's, which node/agent implements. The JSON types are node/api/client's,
// the metrics node/api/metrics's.
package api
