package port_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/agent/port/porttest"
)

// said is a log that several goroutines write.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// secure is a host of the network with TLS, or without when there are no files.
func secure(t *testing.T, n port.Network, f port.CredentialFiles, log *slog.Logger) port.Network {
	t.Helper()
	if f.Cert == "" {
		return n
	}
	c, err := port.OpenCredentials(f, log)
	if err != nil {
		t.Fatal(err)
	}
	return port.TLS{Network: n, Credentials: c}
}

// twoPorts are data ports a and b with these files, and what b logs.
func twoPorts(t *testing.T, fa, fb port.CredentialFiles, claim func(t *testing.T, a, b *port.Mux, net *port.Memory, log *said)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, log := port.NewMemory(), &said{}
		logger := slog.New(slog.NewTextHandler(log, nil))
		open := func(host string, f port.CredentialFiles) *port.Mux {
			s := secure(t, n.Host(host), f, logger)
			l, err := s.Listen(":7602")
			if err != nil {
				t.Fatal(err)
			}
			return port.NewMux(port.Config{Listener: l, Network: s, Logger: logger, HTTP: "b:7600"})
		}
		a, b := open("a", fa), open("b", fb)
		claim(t, a, b, n, log)
		for _, m := range []*port.Mux{a, b} {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// talk sends a word from a to b and back, and gives the error of whoever has one.
func talk(t *testing.T, a, b *port.Mux) error {
	t.Helper()
	l, err := b.Listen(port.Dataplane)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close() //nolint:errcheck // a test's
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // a test's
		_, _ = io.CopyN(c, c, 5)
	})
	c, err := a.Dial(t.Context(), port.Dataplane, "b:7602")
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // a test's
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Errorf("%q came back, %v", got, err)
	}
	return nil
}

func TestNodesOfOneAuthorityTalkInTLS(t *testing.T) {
	ca := porttest.New(t)
	twoPorts(t, ca.Files(), ca.Files(), func(t *testing.T, a, b *port.Mux, n *port.Memory, log *said) {
		if err := talk(t, a, b); err != nil {
			t.Error(err, log)
		}
		// And nothing of it is to be read on the wire.
		c, err := n.Host("c").Dial(t.Context(), "b:7602")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close() //nolint:errcheck // a test's
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(c); err != nil || !strings.Contains(string(text), "the HTTP API is on b:7600") {
			t.Errorf("a browser is told %q, %v", text, err)
		}
	})
}

func TestNodesThatDoNotAgreeOnTLSAreToldWhatToDo(t *testing.T) {
	ca, other, none := porttest.New(t), porttest.New(t), port.CredentialFiles{}
	for _, c := range []struct {
		name   string
		a, b   port.CredentialFiles
		logged bool // by b, or a
	}{
		{"the dialer has none", none, ca.Files(), true},
		{"the dialed has none", ca.Files(), none, true},
		{"another authority", other.Files(), ca.Files(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			twoPorts(t, c.a, c.b, func(t *testing.T, a, b *port.Mux, _ *port.Memory, log *said) {
				err := talk(t, a, b)
				if err == nil || !strings.Contains(err.Error(), "--tls-ca") {
					t.Errorf("the dialer is told %v", err)
				}
				if !strings.Contains(log.String(), "--tls-ca") {
					t.Errorf("logged: %s", log)
				}
			})
		})
	}
}

func TestARenewedCertificateIsUsedAndABadOneIsNot(t *testing.T) {
	ca, other := porttest.New(t), porttest.New(t)
	fa, fb := ca.Files(), ca.Files()
	touch := func(f port.CredentialFiles, n int) {
		at := time.Now().Add(time.Duration(n) * time.Hour)
		for _, name := range []string{f.Cert, f.Key} {
			if err := os.Chtimes(name, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	twoPorts(t, fa, fb, func(t *testing.T, a, b *port.Mux, _ *port.Memory, log *said) {
		ca.Renew(fb, time.Time{})
		touch(fb, 1)
		if err := talk(t, a, b); err != nil || !strings.Contains(log.String(), "new connections use them") {
			t.Error(err, log)
		}
		other.Renew(fb, time.Time{})
		touch(fb, 2)
		if err := talk(t, a, b); err != nil || !strings.Contains(log.String(), "going on with those read before") {
			t.Error(err, log)
		}
		// What could not be used may be good later, the files as they are: one's certificate was not valid yet.
		ca.Renew(fb, time.Time{})
		touch(fb, 2)
		time.Sleep(2 * time.Second)
		if err := talk(t, a, b); err != nil || strings.Count(log.String(), "new connections use them") != 2 {
			t.Error(err, log)
		}
	})
}

func TestFilesThatMakeNoNodeAreRefusedAtTheStart(t *testing.T) {
	ca, other := porttest.New(t), porttest.New(t)
	good, foreign, old := ca.Files(), other.Files(), ca.Files()
	ca.Renew(old, time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))
	for name, c := range map[string]struct {
		files port.CredentialFiles
		text  string
	}{
		"no file":           {port.CredentialFiles{Cert: good.Cert, Key: good.Key, CA: good.CA + "x"}, "no such file"},
		"another's key":     {port.CredentialFiles{Cert: good.Cert, Key: foreign.Key, CA: good.CA}, "private key does not match"},
		"another authority": {port.CredentialFiles{Cert: foreign.Cert, Key: foreign.Key, CA: good.CA}, "vouches for"},
		"expired":           {old, "expired"},
		"no PEM":            {port.CredentialFiles{Cert: good.Cert, Key: good.Key, CA: os.DevNull}, "no certificate in PEM"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := port.OpenCredentials(c.files, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestClosingDoesNotWaitForOneThatDoesNotRead(t *testing.T) {
	ca := porttest.New(t)
	fa, fb := ca.Files(), ca.Files()
	synctest.Test(t, func(t *testing.T) {
		n, quiet := port.NewMemory(), slog.New(slog.DiscardHandler)
		l, err := secure(t, n.Host("b"), fb, quiet).Listen(":1")
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan net.Conn, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, _ = c.Read(make([]byte, 1)) // which greets
			}
			accepted <- c
		}()
		c, err := secure(t, n.Host("a"), fa, quiet).Dial(t.Context(), "b:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
		there := <-accepted
		ctx, cancel := context.WithCancel(t.Context())
		go func() { // until the buffers are full
			defer cancel()
			for {
				if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
					return
				}
				if _, err := c.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}()
		<-ctx.Done()
		from := time.Now()
		_ = c.Close()
		if d := time.Since(from); d > time.Second {
			t.Errorf("closing took %v", d)
		}
		_, _ = there.Close(), l.Close()
	})
}
