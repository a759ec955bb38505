package main

import "github.com/seepnode/seepnode/node/seepnode"

func main() { seepnode.Main() }
