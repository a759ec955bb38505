package port

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// quiet gives a connection of sockets that costs less to use now and then. Every system call that Go announces to its scheduler wakes up, in a
// process that was asleep, a thread that looks after calls that block, and looks again every 20 µs until the process sleeps again: three of the
// five switches of threads that it costs to take a beat and answer it. Reading and writing a socket never blocks, so that nobody has to
// look after these calls. They are for small messages: a long copy would hold up the goroutines behind it.
func quiet(c net.Conn) net.Conn {
	tc, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tc.SyscallConn()
	if err != nil {
		return c // it is closed: whoever uses it is told
	}
	return &quietConn{tc, raw}
}

type quietConn struct {
	*net.TCPConn
	raw syscall.RawConn
}

// Read implements net.Conn.
func (c *quietConn) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return c.TCPConn.Read(b)
	}
	var errno syscall.Errno
	err = c.raw.Read(func(fd uintptr) (done bool) {
		n, errno = transfer(syscall.SYS_READ, fd, b)
		return errno != syscall.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, c.failed("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn.
func (c *quietConn) Write(b []byte) (n int, err error) {
	var errno syscall.Errno
	err = c.raw.Write(func(fd uintptr) (done bool) {
		for n < len(b) {
			var m int
			if m, errno = transfer(syscall.SYS_WRITE, fd, b[n:]); errno != 0 {
				return errno != syscall.EAGAIN
			}
			n += m
		}
		return true
	})
	if err == nil && errno != 0 {
		err = c.failed("write", errno)
	}
	return n, err
}

func (c *quietConn) failed(call string, errno syscall.Errno) error {
	return &net.OpError{Op: call, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(call, errno)}
}

// transfer reads into b, or writes it, as far as that goes at once. b is not empty.
func transfer(call, fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
