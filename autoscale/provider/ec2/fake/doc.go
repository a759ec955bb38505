// Package fake is a small EC2 in this process for tests: the query API of RunInstances, DescribeInstances, TerminateInstances and
// CreateTags over HTTP, with the state of the instances behind it, and the metadata service of one of them.
//
// Instances are pending for a while before they run, and shutting down for a while before they have ended; client tokens are
// remembered; answers have pages; errors and throttling are made on demand. Time is the caller's.
package fake
