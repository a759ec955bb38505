// Package client is the HTTP API of a seepnode cluster for Go programs: its JSON types, the only place where they are defined, and a
// Client that calls it.
//
// Keys are snake_case and name their unit (…_ms, …_bytes, …_per_s); times are RFC 3339 in UTC; lists are in an object, so that they can
// say more one day; what a list holds is in a fixed order. New keys may come at any time: readers skip what they do not know. Requests
// are the opposite: a server refuses a key that it does not know, by name.
//
// A Client guarantees that a request that changes something happens at most once however often it was sent: it carries an id
// (Idempotency-Key) by which the cluster knows it again. So the Client sends it again, to another peer if it knows one, when the cluster
// has no leader for a moment or a connection breaks.
//
// It is not here: serving the API (node/api), anything of engine or dataplane. This package imports nothing of seepnode but the names of
// things (raftfsm/topology), so programs may depend on it.
package client
