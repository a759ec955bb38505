package gossip

import (
	"errors"
	"fmt"
	"log"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-sockaddr"
	"github.com/hashicorp/memberlist"

	"github.com/seepnode/seepnode/node/agent/port"
)

const (
	// packetMax is the longest packet that is read.
	packetMax = 64 << 10
	// receiveBytes is how much the kernel is asked to hold of packets that nobody has read yet; it gives what it may.
	receiveBytes = 2 << 20
	// acceptPause is the wait after a connection could not be taken, for lack of file descriptors most likely.
	acceptPause = 100 * time.Millisecond
)

// sockets is the library's transport over UDP and TCP with a socket for packets that wakes up an idle process less, and no 64 KiB for each
// packet.
type sockets struct {
	bind    net.IP
	tcp     *net.TCPListener
	udp     net.PacketConn
	packets chan *memberlist.Packet
	streams chan net.Conn
	log     *log.Logger

	wg    sync.WaitGroup
	done  chan struct{}
	close sync.Once
	err   error
}

var _ memberlist.NodeAwareTransport = (*sockets)(nil)

// openSockets listens at a port for both; 0 is chosen.
func openSockets(bind string, at int, log *log.Logger) (*sockets, error) {
	ip := net.ParseIP(bind)
	if ip == nil {
		return nil, fmt.Errorf("%q is no IP address", bind)
	}
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip, Port: at})
	if err != nil {
		return nil, fmt.Errorf("listening for streams: %w", err)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip, Port: tcp.Addr().(*net.TCPAddr).Port})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening for packets: %w", err), tcp.Close())
	}
	for n := receiveBytes; udp.SetReadBuffer(n) != nil && n > packetMax; n /= 2 {
	}
	s := &sockets{bind: ip, tcp: tcp, udp: port.QuietPackets(udp), packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), log: log, done: make(chan struct{})}
	s.wg.Go(s.accept)
	s.wg.Go(s.receive)
	return s, nil
}

func (s *sockets) port() int { return s.tcp.Addr().(*net.TCPAddr).Port }

// FinalAdvertiseAddr implements memberlist.Transport.
func (s *sockets) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	own := s.tcp.Addr().(*net.TCPAddr).IP
	switch {
	case ip != "":
		if own = net.ParseIP(ip); own == nil {
			return nil, 0, fmt.Errorf("%q is no IP address", ip)
		}
	case s.bind.Equal(net.IPv4zero):
		private, err := sockaddr.GetPrivateIP()
		if err != nil {
			return nil, 0, fmt.Errorf("failed to get interface addresses: %w", err)
		}
		if own = net.ParseIP(private); own == nil {
			return nil, 0, errors.New("no private IP address found, and explicit IP not provided")
		}
		port = s.port()
	default:
		port = s.port()
	}
	if four := own.To4(); four != nil {
		own = four
	}
	return own, port, nil
}

// WriteTo implements memberlist.Transport.
func (s *sockets) WriteTo(b []byte, to string) (time.Time, error) {
	a, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return time.Time{}, err
	}
	_, err = s.udp.WriteTo(b, a)
	return time.Now(), err
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (s *sockets) WriteToAddress(b []byte, to memberlist.Address) (time.Time, error) {
	return s.WriteTo(b, to.Addr)
}

// PacketCh implements memberlist.Transport.
func (s *sockets) PacketCh() <-chan *memberlist.Packet { return s.packets }

// DialTimeout implements memberlist.Transport.
func (s *sockets) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", to, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (s *sockets) DialAddressTimeout(to memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return s.DialTimeout(to.Addr, timeout)
}

// StreamCh implements memberlist.Transport.
func (s *sockets) StreamCh() <-chan net.Conn { return s.streams }

// Shutdown implements memberlist.Transport. Twice is fine.
func (s *sockets) Shutdown() error {
	s.close.Do(func() {
		close(s.done)
		s.err = errors.Join(s.tcp.Close(), s.udp.Close())
	})
	s.wg.Wait()
	return s.err
}

// failed says why nothing comes in just now, and waits; false: the sockets are closed.
func (s *sockets) failed(what string, err error) (again bool) {
	select {
	case <-s.done:
		return false
	default:
	}
	s.log.Printf("[ERR] memberlist: %s cannot be taken: %v", what, err)
	pause := time.NewTimer(acceptPause)
	defer pause.Stop()
	select {
	case <-s.done:
		return false
	case <-pause.C:
		return true
	}
}

func (s *sockets) accept() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			if !s.failed("connections", err) {
				return
			}
			continue
		}
		select {
		case s.streams <- c:
		case <-s.done:
			c.Close()
			return
		}
	}
}

func (s *sockets) receive() {
	b := make([]byte, packetMax)
	for {
		n, from, err := s.udp.ReadFrom(b)
		at := time.Now()
		switch {
		case err != nil && s.failed("packets", err), err == nil && n == 0:
			continue
		case err != nil:
			return
		}
		select {
		case s.packets <- &memberlist.Packet{Buf: append([]byte(nil), b[:n]...), From: from, Timestamp: at}:
		case <-s.done:
			return
		}
	}
}
