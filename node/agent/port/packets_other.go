//go:build !linux || !(amd64 || arm64)

package port

import "net"

// QuietPackets is for Linux.
func QuietPackets(c *net.UDPConn) net.PacketConn { return c }
