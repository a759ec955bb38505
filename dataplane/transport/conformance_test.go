package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testOptions = Options{MessageBytesMax: 1 << 20, BufferBytes: 8 << 10}

// onEveryTransport runs a claim over TCP, and over memory in virtual time.
func onEveryTransport(t *testing.T, claim func(t *testing.T, a, b Conn)) {
	t.Run("tcp", func(t *testing.T) {
		tr := NewTCP(testOptions)
		withPair(t, tr, tr, "127.0.0.1:0", claim)
	})
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := NewMemory(testOptions)
			withPair(t, m.Node("a"), m.Node("b"), "", claim)
			if conns, listeners := m.Open(); conns != 0 || listeners != 0 {
				t.Errorf("%d connections and %d listeners are left", conns, listeners)
			}
		})
	})
}

func withPair(t *testing.T, ta, tb Transport, addr string, claim func(t *testing.T, a, b Conn)) {
	l, err := tb.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	a, b := connect(t, ta, l)
	claim(t, a, b)
	for _, c := range []io.Closer{a, b, a, b, l, l} {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func connect(t *testing.T, from Transport, l Listener) (a, b Conn) {
	t.Helper()
	a, err := from.Dial(context.Background(), l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func sendAll(t *testing.T, c Conn, msgs ...[]byte) {
	t.Helper()
	for _, m := range msgs {
		if err := c.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

func wantMessage(t *testing.T, c Conn, want []byte) {
	t.Helper()
	if got, err := c.Receive(); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("received %d bytes, %v; want %d", len(got), err, len(want))
	}
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(uint64(n), 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestMessagesArriveWholeAndInOrder(t *testing.T) {
	onEveryTransport(t, func(t *testing.T, a, b Conn) {
		r := rand.New(rand.NewPCG(1, 2))
		sizes := []int{0, 1, 3, 8<<10 - 5, 8<<10 - 4, 8<<10 - 3, 8 << 10, 8<<10 + 1, 16 << 10, 100000}
		for range 3000 {
			sizes = append(sizes, r.IntN(500))
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for i, n := range sizes {
				if err := a.Send(noise(n)); err != nil {
					t.Errorf("message %d: %v", i, err)
				}
				if i%100 == 0 || i == len(sizes)-1 {
					if err := a.Flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
		for i, n := range sizes {
			if got, err := b.Receive(); err != nil || !bytes.Equal(got, noise(n)) {
				t.Errorf("message %d of %d bytes: got %d, %v", i, n, len(got), err)
				break
			}
		}
		wg.Wait()
	})
}

func TestBothEndsSendAndReceiveAtOnce(t *testing.T) {
	onEveryTransport(t, func(t *testing.T, a, b Conn) {
		var wg sync.WaitGroup
		for _, c := range []Conn{a, b} {
			wg.Go(func() {
				for i := range 2000 {
					if err := errors.Join(c.Send(fmt.Appendf(nil, "message %d", i)), c.Flush()); err != nil {
						t.Error(err)
						return
					}
				}
			})
			wg.Go(func() {
				for i := range 2000 {
					if got, err := c.Receive(); err != nil || string(got) != fmt.Sprintf("message %d", i) {
						t.Errorf("received %q, %v", got, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestSeveralSendersKeepMessagesWhole(t *testing.T) {
	onEveryTransport(t, func(t *testing.T, a, b Conn) {
		const senders, each = 4, 300
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					msg := binary.LittleEndian.AppendUint32([]byte{byte(s)}, uint32(i))
					if err := errors.Join(a.Send(append(msg, noise(i*13)...)), a.Flush()); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		var next [senders]uint32
		for range senders * each {
			got, err := b.Receive()
			if err != nil {
				t.Error(err)
				break
			}
			i := binary.LittleEndian.Uint32(got[1:])
			if next[got[0]] != i || !bytes.Equal(got[5:], noise(int(i)*13)) {
				t.Errorf("sender %d: message %d, want %d, or other bytes", got[0], i, next[got[0]])
				break
			}
			next[got[0]]++
		}
		wg.Wait()
	})
}

func TestMessageIsCopiedWhenSent(t *testing.T) {
	onEveryTransport(t, func(t *testing.T, a, b Conn) {
		for _, n := range []int{10, 6000} {
			msg := noise(n)
			if err := a.Send(msg); err != nil {
				t.Fatal(err)
			}
			clear(msg)
			if err := a.Flush(); err != nil {
				t.Fatal(err)
			}
			wantMessage(t, b, noise(n))
		}
	})
}

func TestMessagesBeyondTheLimitAreRefusedOnBothEnds(t *testing.T) {
	onEveryTransport(t, func(t *testing.T, a, b Conn) {
		var wg sync.WaitGroup
		wg.Go(func() { sendAll(t, a, noise(testOptions.MessageBytesMax)) })
		wantMessage(t, b, noise(testOptions.MessageBytesMax))
		wg.Wait()
		if err := a.Send(make([]byte, testOptions.MessageBytesMax+1)); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("send: %v", err)
		}
		sendAll(t, a, []byte("still fine"))
		wantMessage(t, b, []byte("still fine"))
		c := b.(*conn)
		if _, err := c.stream.Write([]byte{0xff, 0xff, 0xff, 0x7f}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := a.Receive(); !errors.Is(err, ErrTooLarge) {
				t.Fatalf("receive: %v", err)
			}
		}
	})
}

func TestClosedPeerIsEndOfStreamAfterWhatItSent(t *testing.T) {
	onEveryTransport(t, func(t *testing.T, a, b Conn) {
		sendAll(t, a, []byte("one"), []byte("two"))
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, b, []byte("one"))
		wantMessage(t, b, []byte("two"))
		for range 2 {
			if _, err := b.Receive(); err != io.EOF {
				t.Fatalf("after the end: %v", err)
			}
		}
		for _, err := range []error{a.Send(nil), a.Flush()} {
			if !errors.Is(err, ErrClosed) {
				t.Fatalf("on the closed end: %v", err)
			}
		}
		if _, err := a.Receive(); !errors.Is(err, ErrClosed) {
			t.Fatalf("on the closed end: %v", err)
		}
	})
}

func TestPeerClosedInsideAMessageIsNoEndOfStream(t *testing.T) {
	onEveryTransport(t, func(t *testing.T, a, b Conn) {
		if _, err := a.(*conn).stream.Write([]byte{10, 0, 0, 0, 'x'}); err != nil {
			t.Fatal(err)
		}
		a.Close()
		if _, err := b.Receive(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("receive: %v", err)
		}
	})
}

func TestCloseUnblocksReceiveOnBothEnds(t *testing.T) {
	onEveryTransport(t, func(t *testing.T, a, b Conn) {
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.Receive(); !errors.Is(err, ErrClosed) {
				t.Errorf("the end that closes: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := b.Receive(); err != io.EOF {
				t.Errorf("the other end: %v", err)
			}
		})
		a.Close()
		wg.Wait()
	})
}

func TestSenderWaitsForAReceiverAndCloseUnblocksIt(t *testing.T) {
	for _, closer := range []string{"sender", "receiver"} {
		onEveryTransport(t, func(t *testing.T, a, b Conn) {
			var wg sync.WaitGroup
			sent := make(chan struct{}, 64<<20/1000*2)
			for range 2 {
				wg.Go(func() {
					// Far more than all buffers hold.
					for range 64 << 20 / 1000 {
						if err := errors.Join(a.Send(noise(1000)), a.Flush()); err != nil {
							if closer == "sender" && !errors.Is(err, ErrClosed) {
								t.Errorf("send: %v", err)
							}
							return
						}
						sent <- struct{}{}
					}
					t.Error("64 MiB were sent to nobody")
				})
			}
			<-sent
			if closer == "sender" {
				a.Close()
			} else {
				b.Close()
			}
			wg.Wait()
		})
	}
}

func TestClosedListenerAcceptsNothing(t *testing.T) {
	check := func(t *testing.T, tr Transport, addr string) {
		l, err := tr.Listen(addr)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := l.Accept(); !errors.Is(err, ErrClosed) {
				t.Errorf("accept: %v", err)
			}
		})
		l.Close()
		wg.Wait()
		if _, err := l.Accept(); !errors.Is(err, ErrClosed) {
			t.Errorf("accept: %v", err)
		}
		if c, err := tr.Dial(context.Background(), l.Addr()); err == nil {
			c.Close()
			t.Error("connected to a closed listener")
		}
		// The address is free again.
		if l, err = tr.Listen(l.Addr()); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Listen(l.Addr()); err == nil {
			t.Error("two listeners at one address")
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := tr.Dial(ctx, l.Addr()); !errors.Is(err, context.Canceled) {
			t.Errorf("dial with a cancelled context: %v", err)
		}
		l.Close()
	}
	t.Run("tcp", func(t *testing.T) { check(t, NewTCP(testOptions), "127.0.0.1:0") })
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { check(t, NewMemory(testOptions).Node("a"), "") })
	})
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	onEveryTransport(t, func(t *testing.T, a, b Conn) {
		msg := noise(5000)
		n := testing.AllocsPerRun(100, func() {
			if err := errors.Join(a.Send(msg), a.Send(msg[:100]), a.Flush()); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := b.Receive(); err != nil {
					t.Fatal(err)
				}
			}
		})
		if n >= 1 {
			t.Errorf("%v allocations", n)
		}
	})
}

// BenchmarkTransport sends messages of 64 KiB, flushed one by one.
func BenchmarkTransport(b *testing.B) {
	mem := NewMemory(Options{})
	for name, tr := range map[string][2]Transport{"tcp": {NewTCP(Options{}), NewTCP(Options{})}, "memory": {mem.Node("a"), mem.Node("b")}} {
		b.Run(name, func(b *testing.B) {
			l, err := tr[1].Listen(map[string]string{"tcp": "127.0.0.1:0"}[name])
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			x, err := tr[0].Dial(context.Background(), l.Addr())
			if err != nil {
				b.Fatal(err)
			}
			defer x.Close()
			y, err := l.Accept()
			if err != nil {
				b.Fatal(err)
			}
			defer y.Close()
			msg := make([]byte, 64<<10)
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			var wg sync.WaitGroup
			wg.Go(func() {
				for range b.N {
					if err := errors.Join(x.Send(msg), x.Flush()); err != nil {
						b.Error(err)
						return
					}
				}
			})
			for range b.N {
				if _, err := y.Receive(); err != nil {
					b.Error(err)
					break
				}
			}
			wg.Wait()
		})
	}
}
