package port

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

// quietPair gives the two ends of a connection over TCP, both quiet.
func quietPair(t *testing.T) (here, there *quietConn) {
	t.Helper()
	l, err := TCP{}.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := TCP{}.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dialed.Close()
		accepted.Close()
	})
	return quiet(dialed).(*quietConn), quiet(accepted).(*quietConn)
}

func TestQuietConnectionsAreConnections(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		here, there := quietPair(t)
		return here, there, func() {
			here.Close()
			there.Close()
		}, nil
	})
}

func TestQuietConnectionsCarryMoreThanTheKernelHolds(t *testing.T) {
	here, there := quietPair(t)
	data := make([]byte, 16<<20)
	for i := range data {
		data[i] = byte(i * 7 >> 3)
	}
	sent := make(chan error, 1)
	go func() {
		n, err := here.Write(data)
		if n != len(data) && err == nil {
			err = io.ErrShortWrite
		}
		sent <- errors.Join(err, here.CloseWrite())
	}()
	got, err := io.ReadAll(struct{ io.Reader }{there})
	if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
		t.Errorf("%d bytes of %d arrived: %v", len(got), len(data), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestQuietConnectionsSayWhyTheyEnd(t *testing.T) {
	here, there := quietPair(t)
	if err := here.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past its deadline: %v", err)
	}
	if err := errors.Join(here.SetReadDeadline(time.Time{}), there.SetLinger(0), there.Close()); err != nil {
		t.Fatal(err)
	}
	var of *net.OpError
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &of) || of.Op != "read" {
		t.Errorf("after a reset: %v", err)
	}
	if err := here.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestConnectionsForLittleMessagesAreQuietOnBothSides(t *testing.T) {
	m := newMux(t, TCP{}, "127.0.0.1:0", 1, nil)
	for _, k := range kinds {
		l, err := m.Listen(k)
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan net.Conn, 1)
		go func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		dialed, err := m.Dial(context.Background(), k, m.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		there := <-accepted
		want := k != Dataplane && k != Vault
		for _, c := range []net.Conn{dialed, there} {
			if _, is := c.(*quietConn); is != want {
				t.Errorf("a connection for %v is a %T", k, c)
			}
		}
		if _, err := dialed.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(there, got); err != nil || !bytes.Equal(got, []byte("hello")) {
			t.Errorf("%v: %q, %v", k, got, err)
		}
		dialed.Close()
		there.Close()
		l.Close()
	}
}
