// Command seepnode runs streaming SQL queries.
package main

import "github.com/seepnode/seepnode/node/seepnode"

func main() { seepnode.Main() }
