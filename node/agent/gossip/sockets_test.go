package gossip

import (
	"io"
	"log"
	"net"
	"strings"
	"testing"
	"time"
)

func openTestSockets(t *testing.T) *sockets {
	t.Helper()
	s, err := openSockets("127.0.0.1", 0, log.New(io.Discard, "", 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := s.Shutdown(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return s
}

func TestSocketsCarryPacketsAndStreams(t *testing.T) {
	a, b := openTestSockets(t), openTestSockets(t)
	ip, port, err := b.FinalAdvertiseAddr("", 0)
	if err != nil || !ip.Equal(net.IPv4(127, 0, 0, 1)) || port != b.port() {
		t.Fatalf("%v:%d is advertised: %v", ip, port, err)
	}
	if ip, port, err := b.FinalAdvertiseAddr("10.1.2.3", 77); err != nil || len(ip) != net.IPv4len || ip.String() != "10.1.2.3" || port != 77 {
		t.Errorf("%v:%d is advertised: %v", ip, port, err)
	}
	to := b.tcp.Addr().String()
	for _, text := range []string{"one", strings.Repeat("two", 400)} { // what was read before stays as it is
		if _, err := a.WriteTo([]byte(text), to); err != nil {
			t.Fatal(err)
		}
	}
	one, two := <-b.PacketCh(), <-b.PacketCh()
	if string(one.Buf) != "one" || string(two.Buf) != strings.Repeat("two", 400) || one.From.(*net.UDPAddr).Port != a.port() {
		t.Errorf("%q from %v, then %d bytes", one.Buf, one.From, len(two.Buf))
	}
	c, err := a.DialTimeout(to, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted := <-b.StreamCh()
	defer accepted.Close()
	if accepted.RemoteAddr().String() != c.LocalAddr().String() {
		t.Errorf("a stream from %v, not %v", accepted.RemoteAddr(), c.LocalAddr())
	}
}

func TestSocketsEndWhileNobodyTakesWhatCame(t *testing.T) {
	a, b := openTestSockets(t), openTestSockets(t)
	if _, err := a.WriteTo([]byte("x"), b.tcp.Addr().String()); err != nil {
		t.Fatal(err)
	}
	c, err := a.DialTimeout(b.tcp.Addr().String(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := openSockets("127.0.0.1", b.port(), nil); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port that is in use was opened: %v", err)
	}
}
