package agent

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/seepnode/seepnode/node/agent/port"
)

// advertised is the host that others reach this node at: what the configuration says, else the address that is bound, else a private
// one of this host, else any, else the loopback.
func advertised(c *Config) (string, error) {
	if c.Advertise != "" {
		return c.Advertise, nil
	}
	bound, err := netip.ParseAddr(c.Bind)
	if err != nil {
		return "", err
	}
	if !bound.IsUnspecified() {
		return bound.String(), nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("finding this host's address (give it with --advertise): %w", err)
	}
	return bestAddress(addresses), nil
}

// bestAddress is the first private IPv4 address, else the first other one, else the loopback.
func bestAddress(addresses []net.Addr) string {
	other := ""
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || prefix.Addr().IsLoopback() || prefix.Addr().IsLinkLocalUnicast() || !prefix.Addr().Is4() {
			continue
		}
		if prefix.Addr().IsPrivate() {
			return prefix.Addr().String()
		}
		if other == "" {
			other = prefix.Addr().String()
		}
	}
	if other == "" {
		return "127.0.0.1"
	}
	return other
}

// listen opens a port for a purpose that a person knows by the name of a flag.
func listen(n port.Network, address, flag string) (net.Listener, error) {
	l, err := n.Listen(address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use by another process: stop that one, or give another port with --%s: %w", address, flag, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is no address of this host: give one with --bind: %w", address, err)
	case err != nil:
		return nil, fmt.Errorf("listening on %s (--%s): %w", address, flag, err)
	}
	return l, nil
}

// portOf is the port that a listener got.
func portOf(a net.Addr) string {
	_, p, err := net.SplitHostPort(a.String())
	if err != nil {
		return ""
	}
	return p
}

func hostPort(host string, p int) string { return net.JoinHostPort(host, strconv.Itoa(p)) }
