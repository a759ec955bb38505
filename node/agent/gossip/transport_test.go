package gossip

import (
	"context"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/seepnode/seepnode/node/agent/port"
)

// lan is a network in memory for the library's packets and streams. Hosts are named by their IP addresses.
type lan struct {
	streams *port.Memory

	mu      sync.Mutex
	hosts   map[string]*lanHost // by address
	cut     map[string]bool     // IPs that packets neither leave nor reach
	watched func(at time.Time)  // told of every packet; may be nil

	packets, packetBytes int // that were sent
}

// watch has a function told of every packet from now on.
func (l *lan) watch(told func(at time.Time)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watched = told
}

func newLAN() *lan {
	return &lan{streams: port.NewMemory(), hosts: map[string]*lanHost{}, cut: map[string]bool{}}
}

// sent is how many packets, of how many bytes together, all hosts have sent.
func (l *lan) sent() (packets, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.packets, l.packetBytes
}

// setCut cuts a host off, or connects it again.
func (l *lan) setCut(ip string, cut bool) {
	l.streams.SetFrozen(ip, cut)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut[ip] = cut
}

type lanHost struct {
	lan  *lan
	ip   string
	port int
	host interface {
		Dial(context.Context, string) (net.Conn, error)
	}
	packets chan *memberlist.Packet
	conns   chan net.Conn
	l       net.Listener
	wg      sync.WaitGroup
	done    chan struct{}
}

func (l *lan) open(t *testing.T, ip string, port int) *lanHost {
	t.Helper()
	host := l.streams.Host(ip)
	addr := net.JoinHostPort(ip, strconv.Itoa(port))
	listener, err := host.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	h := &lanHost{lan: l, ip: ip, port: port, host: host, packets: make(chan *memberlist.Packet, 1024), conns: make(chan net.Conn), l: listener, done: make(chan struct{})}
	h.wg.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			select {
			case h.conns <- c:
			case <-h.done:
				c.Close()
			}
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts[addr] = h
	return h
}

func (h *lanHost) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return net.ParseIP(h.ip).To4(), h.port, nil
}

func (h *lanHost) WriteTo(b []byte, addr string) (time.Time, error) {
	h.lan.mu.Lock()
	defer h.lan.mu.Unlock()
	now := time.Now()
	h.lan.packets, h.lan.packetBytes = h.lan.packets+1, h.lan.packetBytes+len(b)
	if h.lan.watched != nil {
		h.lan.watched(now)
	}
	to := h.lan.hosts[addr]
	if to == nil || h.lan.cut[h.ip] || h.lan.cut[to.ip] {
		return now, nil
	}
	from := &net.UDPAddr{IP: net.ParseIP(h.ip), Port: h.port}
	select {
	case to.packets <- &memberlist.Packet{Buf: append([]byte(nil), b...), From: from, Timestamp: now}:
	default:
	}
	return now, nil
}

func (h *lanHost) PacketCh() <-chan *memberlist.Packet { return h.packets }
func (h *lanHost) StreamCh() <-chan net.Conn           { return h.conns }

func (h *lanHost) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := h.host.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return ipConn{c}, nil
}

// ipConn has IP addresses, which the library wants.
type ipConn struct{ net.Conn }

func (c ipConn) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", c.Conn.RemoteAddr().String())
	if err != nil {
		return c.Conn.RemoteAddr()
	}
	return a
}

func (h *lanHost) Shutdown() error {
	h.lan.mu.Lock()
	if addr := net.JoinHostPort(h.ip, strconv.Itoa(h.port)); h.lan.hosts[addr] == h {
		delete(h.lan.hosts, addr)
	}
	h.lan.mu.Unlock()
	close(h.done)
	h.l.Close()
	h.wg.Wait()
	return nil
}
