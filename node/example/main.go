package main

import (
	_ "time/tzdata" // time zones must be the same on every machine

	"github.com/seepnode/seepnode/node/seepnode"
)

func main() { seepnode.Main(seepnode.WithOperator(idleAlert())) }
