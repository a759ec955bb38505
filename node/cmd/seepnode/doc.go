// Command seepnode runs streaming SQL queries. Everything it does lives in package node/seepnode; a program with operators of its own
// calls seepnode.Main likewise.
package main
