// Command demo counts the words of Go's own source tree on five seepnode processes while two of them, the leader among them, are killed
// with kill -9, and compares every count with what find, tr, sort and uniq count.
//
//	go run ./scripts/demo -program bin/seepnode
//
// It runs words.sql, throttled to 100,000 lines/s, and leaves neither process nor file behind, also when it is interrupted.
package main
