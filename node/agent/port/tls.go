package port

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// TLS is a network whose connections are encrypted, and whose ends both have a certificate of an authority that the other trusts.
type TLS struct {
	Network     Network
	Credentials *Credentials
}

// Listen implements Network. An accepted connection greets with its first read or write, so that a silent one holds nobody up.
func (t TLS) Listen(addr string) (net.Listener, error) {
	l, err := t.Network.Listen(addr)
	if err != nil {
		return nil, err
	}
	return tlsListener{l, t.Credentials}, nil
}

type tlsListener struct {
	net.Listener
	credentials *Credentials
}

func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tlsConn{tls.Server(c, l.credentials.peer())}, nil
}

// Dial implements Network; ctx bounds the greeting too.
func (t TLS) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := t.Network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	s := tls.Client(c, t.Credentials.peer())
	if err := s.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("port: TLS with %s: %w", addr, explainTLS(err)), c.Close())
	}
	return tlsConn{s}, nil
}

// errTLS says what to do where two ends do not agree on TLS.
var errTLS = errors.New("start all nodes with --tls-cert, --tls-key and the same --tls-ca, or none of them")

// explainTLS says what to do about a connection that TLS ended.
func explainTLS(err error) error {
	var plain tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var alert *net.OpError
	switch {
	case errors.As(err, &plain):
		return fmt.Errorf("what answers there does not speak TLS, and this node does: %w", errTLS)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("the other node's certificate is of no use at the time of this host: %w", err)
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.Is(err, errNoCertificate),
		errors.As(err, &alert) && alert.Op == "remote error":
		return fmt.Errorf("%w: %w", err, errTLS)
	}
	return err
}

// closeWait bounds how long a connection that is closed may say so: its other end may have stopped to read.
const closeWait = 200 * time.Millisecond

// tlsConn is a connection whose Close does not wait for what the library would, 5 s.
type tlsConn struct {
	*tls.Conn
}

func (c tlsConn) Close() error {
	defer time.AfterFunc(closeWait, func() { _ = c.NetConn().Close() }).Stop() // of one that is closed already nothing is lost
	return c.Conn.Close()
}
