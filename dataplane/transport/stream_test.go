package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// onStreams connects hosts a and b in a bubble.
func onStreams(t *testing.T, claim func(t *testing.T, s *Streams, a, b net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStreams(1 << 10)
		l, err := s.Host("b").Listen(":7602")
		if err != nil {
			t.Fatal(err)
		}
		a, b := connectStreams(t, s.Host("a"), l)
		claim(t, s, a, b)
		a.Close()
		b.Close()
		l.Close()
		if conns, listeners := s.Open(); conns != 0 || listeners != 0 {
			t.Errorf("%d connections and %d listeners are left", conns, listeners)
		}
	})
}

func connectStreams(t *testing.T, from *Host, l net.Listener) (a, b net.Conn) {
	t.Helper()
	a, err := from.Dial(context.Background(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func TestDeadlinesEndReadsAndWritesThatWait(t *testing.T) {
	onStreams(t, func(t *testing.T, s *Streams, a, b net.Conn) {
		start := time.Now()
		a.SetReadDeadline(start.Add(time.Second))
		_, err := a.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
		a.SetReadDeadline(time.Time{})
		b.Write([]byte("x"))
		if n, err := a.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatalf("without a deadline: %d, %v", n, err)
		}
		a.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := a.Write(make([]byte, 2<<10)); n != 1<<10 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("wrote %d, %v", n, err)
		}
		// One in the past ends a read that waits already.
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		})
		synctest.Wait()
		a.SetReadDeadline(time.Now().Add(-time.Second))
		wg.Wait()
	})
}

func TestKilledHostResetsAtBothEndsAndIsRefused(t *testing.T) {
	onStreams(t, func(t *testing.T, s *Streams, a, b net.Conn) {
		old := s.Host("b")
		s.Kill("b")
		for _, c := range []net.Conn{a, b} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("read: %v", err)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("write: %v", err)
			}
		}
		if _, err := s.Host("a").Dial(context.Background(), "b:7602"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: %v", err)
		}
		if _, err := old.Listen(":7602"); err == nil {
			t.Error("the killed process listens")
		}
		if _, err := old.Dial(context.Background(), "a:1"); err == nil {
			t.Error("the killed process dials")
		}
		l, err := s.Host("b").Listen(":7602")
		if err != nil {
			t.Fatalf("the next process of that name: %v", err)
		}
		x, y := connectStreams(t, s.Host("a"), l)
		x.Close()
		y.Close()
		l.Close()
	})
}

func TestVanishedHostIsSilentAndItsDeathIsHeardWhenItIsBack(t *testing.T) {
	onStreams(t, func(t *testing.T, s *Streams, a, b net.Conn) {
		s.SetFrozen("b", true)
		s.Kill("b")
		a.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if _, err := a.Write([]byte("x")); err != nil {
			t.Errorf("write: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		if _, err := s.Host("a").Dial(ctx, "b:7602"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial: %v", err)
		}
		s.SetFrozen("b", false)
		a.SetReadDeadline(time.Time{})
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
			t.Errorf("read: %v", err)
		}
	})
}

func TestFrozenHostGetsWhatItWasSentWhenItResumes(t *testing.T) {
	onStreams(t, func(t *testing.T, s *Streams, a, b net.Conn) {
		s.SetFrozen("b", true)
		a.Write([]byte("x"))
		b.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("frozen: %v", err)
		}
		b.SetReadDeadline(time.Time{})
		s.SetFrozen("b", false)
		if n, err := b.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("resumed: %d, %v", n, err)
		}
	})
}

func TestRefusedDirectionKeepsOpenConnections(t *testing.T) {
	onStreams(t, func(t *testing.T, s *Streams, a, b net.Conn) {
		s.SetRefused("a", "b", true)
		if _, err := s.Host("a").Dial(context.Background(), "b:7602"); !errors.Is(err, ErrRefused) {
			t.Errorf("dial: %v", err)
		}
		a.Write([]byte("x"))
		if n, err := b.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func TestHalfClosedStreamIsReadToItsEnd(t *testing.T) {
	onStreams(t, func(t *testing.T, s *Streams, a, b net.Conn) {
		a.Write([]byte("question"))
		a.(interface{ CloseWrite() error }).CloseWrite()
		if got, err := io.ReadAll(b); string(got) != "question" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		b.Write([]byte("answer"))
		b.Close()
		if got, err := io.ReadAll(a); string(got) != "answer" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestHTTPRunsOverStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStreams(0)
		l, err := s.Host("b").Listen(":80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{ReadTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello "+r.URL.Path) })}
		var wg sync.WaitGroup
		wg.Go(func() { server.Serve(l) })
		a := s.Host("a")
		tr := &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return a.Dial(ctx, addr) }}
		for range 3 {
			resp, err := (&http.Client{Transport: tr}).Get("http://b:80/x")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != "hello /x" || err != nil {
				t.Fatalf("%q, %v", body, err)
			}
		}
		tr.CloseIdleConnections()
		server.Close()
		wg.Wait()
	})
}

func TestWrappedConnectionsCarryMessages(t *testing.T) {
	onStreams(t, func(t *testing.T, s *Streams, a, b net.Conn) {
		x, y := Wrap(a, testOptions), Wrap(b, testOptions)
		sendAll(t, x, []byte("one"), noise(300))
		wantMessage(t, y, []byte("one"))
		wantMessage(t, y, noise(300))
	})
}

func TestAConnectionOfWhichThePeerTakesNothingForTooLongIsLostAndASlowOneIsNot(t *testing.T) {
	onStreams(t, func(t *testing.T, s *Streams, a, b net.Conn) {
		c := Wrap(a, Options{BufferBytes: 1 << 10, StalledMax: 10 * time.Second})
		sent := make(chan error)
		go func() { sent <- errors.Join(c.Send(make([]byte, 1<<20)), c.Flush()) }()
		slow := make([]byte, stepBytes/8)
		for range 8 * (1 << 20) / stepBytes {
			time.Sleep(time.Second)
			if _, err := io.ReadFull(b, slow); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(b, slow[:lengthBytes]); err != nil {
			t.Fatal(err)
		}
		if err := <-sent; err != nil {
			t.Fatalf("to a slow peer: %v", err)
		}
		start := time.Now()
		go func() { sent <- c.Send(make([]byte, 1<<20)) }()
		time.Sleep(time.Second) // it has what the connection holds
		go func() { sent <- c.Send([]byte("waits for the first")) }()
		for range 2 {
			if err := <-sent; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 10*time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		}
	})
}
