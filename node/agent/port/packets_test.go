package port

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestQuietPacketsArriveFromWhereTheyWereSent: between sockets of IPv4, of IPv6, and of both.
func TestQuietPacketsArriveFromWhereTheyWereSent(t *testing.T) {
	open := func(ip string) net.PacketConn {
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip)})
		if err != nil {
			t.Skipf("nothing is shown of gossip's packets of this kind of address: %s cannot be bound to here (%v); it runs where it can be", ip, err)
		}
		t.Cleanup(func() { udp.Close() })
		return QuietPackets(udp)
	}
	for _, c := range []struct{ from, to, at string }{
		{"127.0.0.1", "127.0.0.1", "127.0.0.1"}, {"0.0.0.0", "127.0.0.1", "127.0.0.1"}, {"127.0.0.1", "0.0.0.0", "127.0.0.1"}, {"::1", "::1", "::1"},
	} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			from, to := open(c.from), open(c.to)
			for _, n := range []int{1, 1400, 60_000} {
				data := bytes.Repeat([]byte{byte(n)}, n)
				if sent, err := from.WriteTo(data, &net.UDPAddr{IP: net.ParseIP(c.at), Port: to.LocalAddr().(*net.UDPAddr).Port}); err != nil || sent != n {
					t.Fatalf("%d bytes of %d: %v", sent, n, err)
				}
				got := make([]byte, 64<<10)
				k, sender, err := to.ReadFrom(got)
				if err != nil || !bytes.Equal(got[:k], data) {
					t.Fatalf("%d bytes of %d: %v", k, n, err)
				}
				if a, own := sender.(*net.UDPAddr), from.LocalAddr().(*net.UDPAddr); !a.IP.Equal(net.ParseIP(c.at)) || a.Port != own.Port || a.Zone != "" {
					t.Errorf("it came from %v, %v sent it", a, own)
				}
			}
		})
	}
}

func TestQuietPacketsSayWhyNoneComes(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	c := QuietPackets(udp)
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadFrom(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past its deadline: %v", err)
	}
	if _, err := c.WriteTo(make([]byte, 70_000), c.LocalAddr()); err == nil {
		t.Error("more than a packet holds was sent")
	}
	if _, err := c.WriteTo([]byte{1}, &net.UDPAddr{IP: net.IPv6loopback, Port: 9}); err == nil {
		t.Error("an IPv4 socket sent to an IPv6 address")
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, _, err := c.ReadFrom(make([]byte, 1))
		ended <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := c.WriteTo([]byte{1}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
