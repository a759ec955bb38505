//go:build linux && (amd64 || arm64)

package port

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// QuietPackets gives a socket for packets that costs less to use now and then; see quiet.
func QuietPackets(c *net.UDPConn) net.PacketConn {
	raw, err := c.SyscallConn()
	if err != nil {
		return c // it is closed: whoever uses it is told
	}
	q := &quietPackets{UDPConn: c, raw: raw}
	known := false
	if err := raw.Control(func(fd uintptr) {
		bound, err := syscall.Getsockname(int(fd))
		_, q.six = bound.(*syscall.SockaddrInet6)
		known = err == nil
	}); err != nil || !known {
		return c
	}
	return q
}

type quietPackets struct {
	*net.UDPConn
	raw syscall.RawConn
	six bool // the socket is one of IPv6, which knows addresses of IPv4, too
}

// ReadFrom implements net.PacketConn.
func (c *quietPackets) ReadFrom(b []byte) (n int, from net.Addr, err error) {
	if len(b) == 0 {
		return c.UDPConn.ReadFrom(b)
	}
	var sender syscall.RawSockaddrAny
	var errno syscall.Errno
	err = c.raw.Read(func(fd uintptr) (done bool) {
		for errno = syscall.EINTR; errno == syscall.EINTR; {
			size := uint32(syscall.SizeofSockaddrAny)
			var got uintptr
			got, _, errno = syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0,
				uintptr(unsafe.Pointer(&sender)), uintptr(unsafe.Pointer(&size)))
			n = int(got)
		}
		return errno != syscall.EAGAIN
	})
	if err == nil && errno != 0 {
		err = &net.OpError{Op: "read", Net: "udp", Source: c.LocalAddr(), Err: os.NewSyscallError("recvfrom", errno)}
	}
	if err != nil {
		return 0, nil, err
	}
	return n, udpAddr(&sender), nil
}

func udpAddr(a *syscall.RawSockaddrAny) net.Addr {
	port := func(p *uint16) int {
		b := (*[2]byte)(unsafe.Pointer(p))
		return int(b[0])<<8 | int(b[1])
	}
	switch a.Addr.Family {
	case syscall.AF_INET:
		four := (*syscall.RawSockaddrInet4)(unsafe.Pointer(a))
		return &net.UDPAddr{IP: append(net.IP(nil), four.Addr[:]...), Port: port(&four.Port)}
	case syscall.AF_INET6:
		six := (*syscall.RawSockaddrInet6)(unsafe.Pointer(a))
		to := &net.UDPAddr{IP: append(net.IP(nil), six.Addr[:]...), Port: port(&six.Port)}
		if six.Scope_id != 0 {
			to.Zone = strconv.FormatUint(uint64(six.Scope_id), 10)
		}
		return to
	}
	return &net.UDPAddr{}
}

// WriteTo implements net.PacketConn.
func (c *quietPackets) WriteTo(b []byte, to net.Addr) (int, error) {
	a, ok := to.(*net.UDPAddr)
	if !ok || len(b) == 0 || a.Zone != "" || len(a.IP) == 0 || !c.six && a.IP.To4() == nil {
		return c.UDPConn.WriteTo(b, to)
	}
	var four syscall.RawSockaddrInet4
	var six syscall.RawSockaddrInet6
	at, size, port := unsafe.Pointer(&four), uintptr(syscall.SizeofSockaddrInet4), &four.Port
	if c.six {
		six.Family = syscall.AF_INET6
		copy(six.Addr[:], a.IP.To16())
		at, size, port = unsafe.Pointer(&six), syscall.SizeofSockaddrInet6, &six.Port
	} else {
		four.Family = syscall.AF_INET
		copy(four.Addr[:], a.IP.To4())
	}
	*(*[2]byte)(unsafe.Pointer(port)) = [2]byte{byte(a.Port >> 8), byte(a.Port)}
	var errno syscall.Errno
	err := c.raw.Write(func(fd uintptr) (done bool) {
		for errno = syscall.EINTR; errno == syscall.EINTR; {
			_, _, errno = syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, uintptr(at), size)
		}
		return errno != syscall.EAGAIN
	})
	if err == nil && errno != 0 {
		err = &net.OpError{Op: "write", Net: "udp", Source: c.LocalAddr(), Addr: to, Err: os.NewSyscallError("sendto", errno)}
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}
