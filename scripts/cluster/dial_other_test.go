//go:build !linux

package cluster

import "net"

func dialHere(address string) (net.Conn, error) { return net.DialTimeout("tcp", address, dialWithin) }
