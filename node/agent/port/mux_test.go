package port

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lockedBuffer is what several goroutines log to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (l *lockedBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func newMux(t *testing.T, n Network, addr string, cluster uint64, log *slog.Logger) *Mux {
	t.Helper()
	l, err := n.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	m := NewMux(Config{Listener: l, Network: n, Cluster: cluster, HTTP: "10.0.0.1:7600", Logger: log})
	t.Cleanup(func() {
		for range 2 {
			if err := m.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return m
}

func listen(t *testing.T, m *Mux, k Kind) net.Listener {
	t.Helper()
	l, err := m.Listen(k)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// echo takes connections and sends back what comes, behind the kind.
func echo(wg *sync.WaitGroup, l net.Listener, k Kind) {
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				c.Write([]byte{byte(k)})
				io.Copy(c, c)
			})
		}
	})
}

func wantEcho(t *testing.T, c net.Conn, k Kind) {
	t.Helper()
	msg := fmt.Sprintf("hello %v", k)
	if _, err := io.WriteString(c, msg); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 1+len(msg))
	if _, err := io.ReadFull(c, got); err != nil || got[0] != byte(k) || string(got[1:]) != msg {
		t.Fatalf("%v: got %q, %v", k, got, err)
	}
}

func TestConnectionsReachTheListenerOfTheirKind(t *testing.T) {
	check := func(t *testing.T, n, peer Network, addr string) {
		m := newMux(t, n, addr, 7, nil)
		from := newMux(t, peer, addr, 7, nil)
		var wg sync.WaitGroup
		defer wg.Wait()
		for _, k := range kinds {
			l := listen(t, m, k)
			echo(&wg, l, k)
			defer l.Close()
		}
		for _, cluster := range []uint64{7, 0} {
			from.SetCluster(cluster)
			for _, k := range kinds {
				c, err := from.Dial(t.Context(), k, m.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				wantEcho(t, c, k)
				c.Close()
			}
		}
	}
	t.Run("tcp", func(t *testing.T) { check(t, TCP{}, TCP{}, "127.0.0.1:0") })
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := NewMemory()
			check(t, m.Host("a"), m.Host("b"), ":0")
		})
	})
}

// pair is two data ports in memory.
func pair(t *testing.T, claim func(t *testing.T, n *Memory, a, b *Mux, log *lockedBuffer)) {
	synctest.Test(t, func(t *testing.T) {
		n, log := NewMemory(), &lockedBuffer{}
		a := newMux(t, n.Host("a"), ":7602", 0, log.logger())
		b := newMux(t, n.Host("b"), ":7602", 0xb, log.logger())
		claim(t, n, a, b, log)
	})
}

func TestForeignClusterIsRefusedAndSaidOnceOnBothSides(t *testing.T) {
	pair(t, func(t *testing.T, n *Memory, a, b *Mux, log *lockedBuffer) {
		listen(t, b, Raft)
		a.SetCluster(0xa)
		for range 3 {
			_, err := a.Dial(t.Context(), Raft, "b:7602")
			var refusal *RefusedError
			if !errors.As(err, &refusal) || refusal.ForNow || !strings.Contains(err.Error(), "belongs to cluster 000000000000000b, not 000000000000000a") ||
				!strings.Contains(err.Error(), "--join") {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := log.count("refused a connection of another cluster"); n != 1 {
			t.Errorf("the accepting side said it %d times", n)
		}
		if n := log.count("cannot connect"); n != 1 {
			t.Errorf("the dialing side said it %d times", n)
		}
	})
}

func TestOtherVersionIsRefused(t *testing.T) {
	pair(t, func(t *testing.T, n *Memory, a, b *Mux, log *lockedBuffer) {
		listen(t, b, Raft)
		for range 2 {
			c, err := n.Host("a").Dial(t.Context(), "b:7602")
			if err != nil {
				t.Fatal(err)
			}
			c.Write(preface{kind: Raft, version: 2}.append(nil))
			code, text, err := readAnswer(c)
			if code != refused || err != nil || !strings.Contains(text, "version 1, not 2: run the same release") {
				t.Fatalf("%d %q, %v", code, text, err)
			}
			c.Close()
		}
		synctest.Wait()
		if n := log.count("another protocol version"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestKindThatNobodyTakesIsRefusedForNow(t *testing.T) {
	pair(t, func(t *testing.T, n *Memory, a, b *Mux, log *lockedBuffer) {
		l := listen(t, b, Vault)
		if _, err := b.Listen(Vault); err == nil {
			t.Error("two listeners of a kind")
		}
		l.Close()
		_, err := a.Dial(t.Context(), Vault, "b:7602")
		var refusal *RefusedError
		if !errors.As(err, &refusal) || !refusal.ForNow || Refused(err) {
			t.Fatal(err)
		}
		if log.count("cannot connect") != 0 {
			t.Error("what passes was logged")
		}
		listen(t, b, Vault)
		c, err := a.Dial(t.Context(), Vault, "b:7602")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

func TestSilentAndSlowConnectionsAreCut(t *testing.T) {
	for _, sent := range []string{"", "D", "D\x01\x00\x00\x00"} {
		pair(t, func(t *testing.T, n *Memory, a, b *Mux, log *lockedBuffer) {
			listen(t, b, Dataplane)
			c, err := n.Host("a").Dial(t.Context(), "b:7602")
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			io.WriteString(c, sent)
			if got, err := io.ReadAll(c); len(got) != 0 || err != nil || time.Since(start) != HandshakeTimeout {
				t.Errorf("%q: got %q, %v after %v", sent, got, err, time.Since(start))
			}
			c.Close()
		})
	}
}

func TestDialIsBoundedWhenNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemory()
		l, err := n.Host("b").Listen(":7602")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		start := time.Now()
		if _, err := Dial(t.Context(), n.Host("a"), Raft, "b:7602", 0); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != HandshakeTimeout {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := Dial(ctx, n.Host("a"), Raft, "b:7602", 0); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if _, err := Dial(t.Context(), n.Host("a"), Raft, "b:1", 0); !Refused(err) {
			t.Errorf("nobody listens: %v", err)
		}
	})
}

func TestStrangersGetAReadableAnswer(t *testing.T) {
	for _, c := range []struct{ sent, want string }{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request"},
		{"DELETE /v1/queries/q HTTP/1.1\r\n\r\n", "400 Bad Request"},
		{"CONNECT a:1 HTTP/1.1\r\n\r\n", "400 Bad Request"},
		{"POST / HTTP/1.1\r\nContent-Length: 3000\r\n\r\n" + strings.Repeat("x", 3000), "400 Bad Request"},
		{"SSH-2.0-OpenSSH_9.9\r\n", "seepnode's data port"},
		{"\x16\x03\x01\x02\x00", "seepnode's data port"},
		{"\x00\x00", "seepnode's data port"},
	} {
		pair(t, func(t *testing.T, n *Memory, a, b *Mux, log *lockedBuffer) {
			s, err := n.Host("a").Dial(t.Context(), "b:7602")
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(s, c.sent)
			got, err := io.ReadAll(s)
			if err != nil || !strings.Contains(string(got), c.want) || !strings.Contains(string(got), "the HTTP API is on 10.0.0.1:7600") {
				t.Errorf("%q: got %q, %v", c.sent, got, err)
			}
			s.Close()
		})
	}
}

func TestWhatIsNoDataPortIsSaidSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemory()
		l, err := n.Host("b").Listen(":80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{}
		var wg sync.WaitGroup
		wg.Go(func() { server.Serve(l) })
		log := &lockedBuffer{}
		a := newMux(t, n.Host("a"), ":7602", 1, log.logger())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// An HTTP server waits for the end of a line.
		_, err = a.Dial(ctx, Control, "b:80")
		if err == nil {
			t.Fatal("connected")
		}
		server.Close()
		wg.Wait()
		if l, err = n.Host("b").Listen(":22"); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		wg.Go(func() {
			c, _ := l.Accept()
			io.WriteString(c, "SSH-2.0")
			c.Close()
		})
		if _, err = a.Dial(t.Context(), Control, "b:22"); !errors.Is(err, errNotOurs) || log.count("is the address right") != 1 {
			t.Fatal(err)
		}
		wg.Wait()
	})
}

func TestHalfOpenConnectionsAreBounded(t *testing.T) {
	pair(t, func(t *testing.T, n *Memory, a, b *Mux, log *lockedBuffer) {
		listen(t, b, Raft)
		var open []net.Conn
		for range halfOpenPerHostMax + 5 {
			c, err := n.Host("scanner").Dial(t.Context(), "b:7602")
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, c)
			synctest.Wait()
		}
		for i, c := range open {
			c.SetReadDeadline(time.Now().Add(time.Nanosecond))
			_, err := c.Read(make([]byte, 1))
			if cut := err == io.EOF; cut != (i >= halfOpenPerHostMax) {
				t.Fatalf("connection %d: %v", i, err)
			}
		}
		// Others still get in.
		c, err := a.Dial(t.Context(), Raft, "b:7602")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range append(open, c) {
			c.Close()
		}
		synctest.Wait()
		if len(b.half) != 0 || len(b.perHost) != 0 {
			t.Errorf("%d and %d still count", len(b.half), len(b.perHost))
		}
		if n := log.count("too many connections"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestCloseEndsListenersAndWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemory()
		b := newMux(t, n.Host("b"), ":7602", 0, nil)
		l := listen(t, b, Raft)
		waiting, err := Dial(t.Context(), n.Host("a"), Raft, "b:7602", 0)
		if err != nil {
			t.Fatal(err)
		}
		silent, err := n.Host("a").Dial(t.Context(), "b:7602")
		if err != nil {
			t.Fatal(err)
		}
		taken := listen(t, b, Vault)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := taken.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("accept: %v", err)
			}
		})
		synctest.Wait()
		b.Close()
		wg.Wait()
		for _, c := range []net.Conn{waiting, silent} {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read: %v", err)
			}
			c.Close()
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
		if _, err := b.Listen(Raft); !errors.Is(err, net.ErrClosed) {
			t.Errorf("listen: %v", err)
		}
		if conns, listeners := n.Open(); conns != 0 || listeners != 0 {
			t.Errorf("%d connections and %d listeners are left", conns, listeners)
		}
	})
}

func TestControlCarriesHTTP(t *testing.T) {
	check := func(t *testing.T, n, peer Network, addr string) {
		b := newMux(t, n, addr, 1, nil)
		a := newMux(t, peer, addr, 1, nil)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })}
		l := listen(t, b, Control)
		var wg sync.WaitGroup
		wg.Go(func() { server.Serve(l) })
		defer wg.Wait()
		defer server.Close()
		tr := &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return a.Dial(ctx, Control, addr) }}
		defer tr.CloseIdleConnections()
		for range 3 {
			resp, err := (&http.Client{Transport: tr}).Get("http://" + b.Addr().String() + "/v1/internal/report")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != "/v1/internal/report" || err != nil {
				t.Fatalf("%q, %v", body, err)
			}
		}
	}
	t.Run("tcp", func(t *testing.T) { check(t, TCP{}, TCP{}, "127.0.0.1:0") })
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := NewMemory()
			check(t, m.Host("a"), m.Host("b"), ":7602")
		})
	})
}

func TestPortInUseAndRefusedAreSaidOverTCP(t *testing.T) {
	l, err := TCP{}.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (TCP{}).Listen(l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("second listener: %v", err)
	}
	addr := l.Addr().String()
	l.Close()
	if _, err := Dial(t.Context(), TCP{}, Raft, addr, 0); !Refused(err) {
		t.Errorf("dial: %v", err)
	}
}

func FuzzPreface(f *testing.F) {
	f.Add(preface{Raft, Version, 1 << 63}.append(nil))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("D\x02"))
	f.Add([]byte{0x16, 3, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		p, err := readPreface(r)
		if read := len(b) - r.Len(); read > prefaceBytes {
			t.Fatalf("read %d bytes", read)
		}
		if err == nil && p.version == Version && !bytes.Equal(p.append(nil), b[:prefaceBytes]) {
			t.Fatalf("%+v of %q", p, b)
		}
		if err == nil && !p.kind.known() {
			t.Fatalf("unknown kind %q was accepted", byte(p.kind))
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{accepted})
	f.Add(appendRefusal(nil, refused, "no"))
	f.Add(appendRefusal(nil, refusedForNow, strings.Repeat("ä", refusalMax)))
	f.Add([]byte("HTTP/1.1 400"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		code, text, err := readAnswer(r)
		if err != nil || code == accepted {
			return
		}
		if read := b[:len(b)-r.Len()]; !bytes.Equal(appendRefusal(nil, code, text), read) {
			t.Fatalf("%d %q of %q", code, text, read)
		}
	})
}
