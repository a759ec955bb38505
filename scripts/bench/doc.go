// Command bench measures seepnode against its roof and prints medians and ratios of one run; with -write it keeps them, with
// the machine's description, in scripts/bench/RESULTS.md.
//
//	go run ./scripts/bench                 everything, interleaved
//	go run ./scripts/bench -only count     keyed count against the roof
//	go run ./scripts/bench -only saved     what checkpoints cost a keyed count, in processor time
//	go run ./scripts/bench -only words     word count over the Go tree
//	go run ./scripts/bench -only held      longest epoch with many keys held
//
// Every measurement runs in a process of its own, so that peak memory is that measurement's alone.
//
// The roof is the design's: three BIGINT columns, generated, split over 256 key groups, coded, S2, loopback TCP, decoded and counted
// in a hash map, in batches of 10,000, by one sender and one receiver that share the machine. It uses the product's batch, codec and frame
// and nothing else of it.
package main
