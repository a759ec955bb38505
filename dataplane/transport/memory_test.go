package transport

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// inMemory connects nodes a and b in a bubble.
func inMemory(t *testing.T, claim func(t *testing.T, m *Memory, a, b Conn)) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(testOptions)
		withPair(t, m.Node("a"), m.Node("b"), "", func(t *testing.T, a, b Conn) { claim(t, m, a, b) })
	})
}

func TestDelayedMessagesArriveInOrderAfterExactlyTheDelay(t *testing.T) {
	inMemory(t, func(t *testing.T, m *Memory, a, b Conn) {
		start := time.Now()
		m.SetDelay("a", "b", 40*time.Millisecond)
		sendAll(t, a, []byte("late"))
		// A shorter delay does not let the second message overtake the first.
		m.SetDelay("a", "b", 10*time.Millisecond)
		sendAll(t, a, []byte("later"))
		wantMessage(t, b, []byte("late"))
		wantMessage(t, b, []byte("later"))
		if d := time.Since(start); d != 40*time.Millisecond {
			t.Fatalf("both arrived after %v", d)
		}
		sendAll(t, b, []byte("back"))
		wantMessage(t, a, []byte("back"))
		if d := time.Since(start); d != 40*time.Millisecond {
			t.Fatalf("the other direction took %v", d-40*time.Millisecond)
		}
	})
}

func TestHeldDirectionHoldsMessagesAndEndsUntilItIsLifted(t *testing.T) {
	inMemory(t, func(t *testing.T, m *Memory, a, b Conn) {
		m.SetHeld("a", "b", true)
		sendAll(t, a, []byte("held"))
		a.Close()
		start := time.Now()
		time.AfterFunc(time.Minute, func() { m.SetHeld("a", "b", false) })
		// The other way is open: b cannot know yet that nobody listens.
		sendAll(t, b, []byte("hello?"))
		wantMessage(t, b, []byte("held"))
		if _, err := b.Receive(); err != io.EOF {
			t.Fatal(err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Fatalf("arrived after %v", d)
		}
		if err := errors.Join(b.Send([]byte("x")), b.Flush()); !errors.Is(err, ErrReset) {
			t.Fatalf("b sends to a closed peer: %v", err)
		}
	})
}

func TestDisconnectFailsBothEnds(t *testing.T) {
	inMemory(t, func(t *testing.T, m *Memory, a, b Conn) {
		sendAll(t, a, []byte("lost"))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := a.Receive(); !errors.Is(err, ErrReset) {
				t.Errorf("a receives: %v", err)
			}
		})
		synctest.Wait()
		m.Disconnect("b", "a")
		wg.Wait()
		if _, err := b.Receive(); !errors.Is(err, ErrReset) {
			t.Errorf("b receives: %v", err)
		}
		for range 2 {
			if err := errors.Join(a.Send([]byte("x")), a.Flush()); !errors.Is(err, ErrReset) {
				t.Errorf("a sends: %v", err)
			}
		}
	})
}

func TestDialTakesARoundTripAndWaitsForAHeldDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(testOptions)
		l, err := m.Node("b").Listen("b:7")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		m.SetDelay("a", "b", 30*time.Millisecond)
		m.SetDelay("b", "a", 20*time.Millisecond)
		start := time.Now()
		a, b := connect(t, m.Node("a"), l)
		if d := time.Since(start); d != 50*time.Millisecond {
			t.Errorf("connected after %v", d)
		}
		a.Close()
		b.Close()
		m.SetHeld("b", "a", true)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := m.Node("a").Dial(ctx, "b:7"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial through a partition: %v", err)
		}
		time.AfterFunc(time.Second, func() { m.SetHeld("b", "a", false) })
		a, b = connect(t, m.Node("a"), l)
		// Nodes without a fault between them are not concerned.
		m.SetHeld("a", "b", true)
		c, d := connect(t, m.Node("c"), l)
		sendAll(t, c, []byte("hello"))
		wantMessage(t, d, []byte("hello"))
		for _, x := range []Conn{a, b, c, d} {
			x.Close()
		}
	})
}

func TestDialRefusesAnAddressWithoutListenerAndAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(testOptions)
		if _, err := m.Node("a").Dial(context.Background(), "nowhere"); !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
		l, err := m.Node("b").Listen("b:1")
		if err != nil {
			t.Fatal(err)
		}
		var conns []Conn
		for {
			c, err := m.Node("a").Dial(context.Background(), "b:1")
			if errors.Is(err, ErrRefused) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		l.Close()
		for _, c := range conns {
			if _, err := c.Receive(); err != io.EOF {
				t.Fatalf("connection that nobody accepted: %v", err)
			}
			c.Close()
		}
		if len(conns) != 64 || len(m.ends) != 0 {
			t.Fatalf("%d connections waited, %d ends are left", len(conns), len(m.ends))
		}
	})
}
