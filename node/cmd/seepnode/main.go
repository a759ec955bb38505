// Command seepnode runs streaming SQL queries.
package main

import (
	_ "time/tzdata" // time zones must be the same on every machine

	"github.com/seepnode/seepnode/node/seepnode"
)

func main() { seepnode.Main() }
