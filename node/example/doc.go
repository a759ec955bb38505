// Command example is a binary of a user's own: seepnode with one more operator, idle_alert, which tells of devices that have
// fallen silent. Copy this directory, change it, and build it with
//
//	go mod init example.org/alerts && go get github.com/seepnode/seepnode && go build -o alerts .
//	./alerts run alerts.sql
//
// Everything that seepnode can do, ./alerts can do too.
//
//	main.go      registers the operator and ends in seepnode.Main
//	idle.go      the operator: keyed state, a timer, output rows
//	alerts.sql   a query that uses it over readings.csv
package main
