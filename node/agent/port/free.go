package port

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
)

// Free finds n ports of the loopback that are free for TCP and UDP, below those that systems give to connections: one of these would
// be taken again before an agent listens on it. Another program may still do so; the agent then says so.
func Free(n int) (ports []int, err error) {
	const lowest, count, triesMax = 20_000, 12_000, 10_000
	var held []io.Closer
	defer func() {
		for _, h := range held {
			err = errors.Join(err, h.Close())
		}
	}()
	for range triesMax {
		if len(ports) == n {
			return ports, nil
		}
		p := lowest + rand.IntN(count)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			continue // it is taken
		}
		held = append(held, l)
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p})
		if err != nil {
			continue
		}
		held, ports = append(held, u), append(ports, p)
	}
	return nil, fmt.Errorf("found no %d free ports of 127.0.0.1 between %d and %d", n, lowest, lowest+count)
}
