package gossip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// address is where member i is: 10.0.0.<i>, and in further networks from 250 on.
func address(i int) string { return fmt.Sprintf("10.0.%d.%d", i/250, i%250) }

// opener starts a member "n<i>" at its address, with changes to its configuration.
type opener func(t *testing.T, i int, change func(c *Config)) *Serf

func onLAN(t *testing.T, claim func(t *testing.T, l *lan, open opener, log *lockedBuffer)) {
	synctest.Test(t, func(t *testing.T) {
		// The library's probes that are under way end some time after it was closed.
		t.Cleanup(func() { time.Sleep(10 * time.Second) })
		l, log := newLAN(), &lockedBuffer{}
		claim(t, l, func(t *testing.T, i int, change func(c *Config)) *Serf {
			t.Helper()
			ip := address(i)
			c := Config{Name: fmt.Sprintf("n%d", i), Logger: log.logger().With("node", i), Transport: l.open(t, ip, DefaultPort),
				Tags: Tags{Data: ip + ":7602", HTTP: "127.0.0.1:7600", Boot: topology.BootID(0xb000 + i)}}
			if change != nil {
				change(&c)
			}
			s, err := OpenSerf(c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				for range 2 {
					if err := s.Close(); err != nil {
						t.Errorf("close: %v", err)
					}
				}
			})
			return s
		}, log)
	})
}

func show(m Membership) string {
	var b strings.Builder
	for _, x := range m.Members() {
		fmt.Fprintf(&b, "%s:%s ", x.Name, x.Status)
	}
	return strings.TrimSpace(b.String())
}

func want(t *testing.T, m Membership, members string) {
	t.Helper()
	if got := show(m); got != members {
		t.Errorf("members %q, want %q", got, members)
	}
}

func join(t *testing.T, m Membership, addresses ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.Join(ctx, addresses); err != nil {
		t.Fatal(err)
	}
}

func TestMembersHearOfEachOtherAndOfAFailure(t *testing.T) {
	onLAN(t, func(t *testing.T, l *lan, open opener, log *lockedBuffer) {
		var all []*Serf
		for i := range 5 {
			s := open(t, i+1, nil)
			if i > 0 {
				join(t, s, "10.0.0.1")
			}
			all = append(all, s)
		}
		time.Sleep(15 * time.Second)
		for _, s := range all {
			want(t, s, "n1:alive n2:alive n3:alive n4:alive n5:alive")
		}
		m := all[4].Members()[1]
		if m.Address != "10.0.0.2:7601" || m.Tags != (Tags{Data: "10.0.0.2:7602", HTTP: "127.0.0.1:7600", Boot: 0xb002}) || m.Process().Boot != 0xb002 {
			t.Errorf("%+v", m)
		}
		changed := all[0].Changed()
		l.setCut("10.0.0.3", true)
		start := time.Now()
		<-changed
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("known after %v", d)
		}
		time.Sleep(15 * time.Second)
		want(t, all[0], "n1:alive n2:alive n3:failed n4:alive n5:alive")
		want(t, all[4], "n1:alive n2:alive n3:failed n4:alive n5:alive")
		l.setCut("10.0.0.3", false)
		time.Sleep(time.Minute)
		for _, s := range all {
			want(t, s, "n1:alive n2:alive n3:alive n4:alive n5:alive")
		}
	})
}

func TestTagsAndLeavingSpread(t *testing.T) {
	onLAN(t, func(t *testing.T, l *lan, open opener, log *lockedBuffer) {
		a, b := open(t, 1, nil), open(t, 2, nil)
		join(t, b, "10.0.0.1:7601")
		time.Sleep(time.Second)
		news := b.config.Tags
		news.Cluster, news.Expect = 0xc1, 3
		if err := b.SetTags(news); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := a.Members()[1].Tags; got != news {
			t.Errorf("%+v", got)
		}
		if err := b.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.Close()
		time.Sleep(3 * time.Second)
		want(t, a, "n1:alive n2:left")
		if err := b.SetTags(news); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
		if err := b.Join(t.Context(), []string{"10.0.0.1"}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestJoinGoesOnUntilItSucceedsAndSaysSo(t *testing.T) {
	onLAN(t, func(t *testing.T, l *lan, open opener, log *lockedBuffer) {
		b := open(t, 2, func(c *Config) {
			c.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
				if host != "seeds" {
					return nil, errors.New("no such host")
				}
				return []netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")}, nil
			}
		})
		result := make(chan error, 1)
		go func() { result <- b.Join(t.Context(), []string{"seeds", "nobody:7601"}) }()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := strings.Count(log.String(), "trying again until it works"); n < 2 || n > 6 || !strings.Contains(log.String(), "nobody listens there (yet)") ||
			!strings.Contains(log.String(), "cannot be resolved") {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		open(t, 1, nil)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		want(t, b, "n1:alive n2:alive")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := open(t, 3, nil)
		if err := c.Join(ctx, []string{"10.0.0.3:7601", "10.9.9.9", "no address:at:all"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nobody there: %v", err)
		}
	})
}

func TestMembersOfAnotherClusterAreRefused(t *testing.T) {
	onLAN(t, func(t *testing.T, l *lan, open opener, log *lockedBuffer) {
		inCluster := func(id uint64) func(*Config) { return func(c *Config) { c.Tags.Cluster = id } }
		a1, a2 := open(t, 1, inCluster(0xa)), open(t, 2, inCluster(0xa))
		b1, b2 := open(t, 11, inCluster(0xb)), open(t, 12, inCluster(0xb))
		join(t, a2, "10.0.0.1")
		join(t, b2, "10.0.0.11")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := a2.Join(ctx, []string{"10.0.0.11"}); err != nil {
			t.Errorf("joined already: %v", err)
		}
		lone := open(t, 3, inCluster(0xc))
		if err := lone.Join(ctx, []string{"10.0.0.11"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("joined a foreign cluster: %v", err)
		}
		if !strings.Contains(log.String(), "is of another cluster") || !strings.Contains(log.String(), "empty --data-dir") {
			t.Errorf("the joining side does not say it:\n%s", log.String())
		}
		// A process that does not know its cluster yet and joins both does not bring them together.
		fresh := open(t, 4, nil)
		join(t, fresh, "10.0.0.1", "10.0.0.11")
		time.Sleep(time.Minute)
		want(t, a1, "n1:alive n2:alive n4:alive")
		want(t, a2, "n1:alive n2:alive n4:alive")
		want(t, b1, "n11:alive n12:alive n4:alive")
		tags := fresh.config.Tags
		tags.Cluster = 0xa
		fresh.SetTags(tags)
		time.Sleep(2 * time.Minute) // it may be heard of only with the next exchange of all that is known
		want(t, fresh, "n1:alive n2:alive n4:alive")
		want(t, b1, "n11:alive n12:alive")
		if n := strings.Count(log.String(), "refused a member of another cluster"); n == 0 || n > 20 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestWrongKeyIsNamedOnBothSides(t *testing.T) {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	for _, c := range []struct {
		theirs, ours []byte
		joiner       string
		acceptor     string
	}{
		{key(1), key(2), "has another encryption key than this process", "it has another encryption key"},
		{key(1), nil, "has an encryption key, and this process has none", "it has no encryption key"},
		{nil, key(2), "has no encryption key, and this process has one", "it has an encryption key"},
	} {
		onLAN(t, func(t *testing.T, l *lan, open opener, log *lockedBuffer) {
			a := open(t, 1, func(x *Config) { x.Key = c.theirs })
			b := open(t, 2, func(x *Config) { x.Key = c.ours })
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := b.Join(ctx, []string{"10.0.0.1"}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("joined: %v", err)
			}
			want(t, a, "n1:alive")
			for _, text := range []string{c.joiner, c.acceptor, "--encrypt-key-file"} {
				if !strings.Contains(log.String(), text) {
					t.Errorf("nobody says %q:\n%s", text, log.String())
				}
			}
			if n := strings.Count(log.String(), "\n"); n > 20 {
				t.Errorf("%d lines in a minute:\n%s", n, log.String())
			}
		})
	}
	if _, err := OpenSerf(Config{Name: "n1", Key: []byte("short")}); err == nil || !strings.Contains(err.Error(), "16, 24 or 32") {
		t.Errorf("short key: %v", err)
	}
}

func TestSecondProcessOfANameIsRefusedWhileTheFirstAnswers(t *testing.T) {
	onLAN(t, func(t *testing.T, l *lan, open opener, log *lockedBuffer) {
		a, b := open(t, 1, nil), open(t, 2, nil)
		join(t, b, "10.0.0.1")
		for _, through := range []string{"10.0.0.1", "10.0.0.2"} {
			second := open(t, 9, func(c *Config) { c.Name = "n2" })
			err := second.Join(t.Context(), []string{through})
			var taken *NameInUseError
			if !errors.As(err, &taken) || taken.Address != "10.0.0.2:7601" || taken.Data != "10.0.0.2:7602" || !strings.Contains(err.Error(), "--name") {
				t.Fatalf("through %s: %v", through, err)
			}
			second.Close()
		}
		time.Sleep(10 * time.Second)
		want(t, a, "n1:alive n2:alive")
		if m := a.Members()[1]; m.Tags.Boot != 0xb002 {
			t.Errorf("n2 is %+v", m)
		}
		// When the first one is dead the next one of the name gets in, at another address after DeadNodeReclaimTime.
		l.setCut("10.0.0.2", true)
		b.Close()
		next := open(t, 8, func(c *Config) { c.Name = "n2" })
		join(t, next, "10.0.0.1")
		time.Sleep(30 * time.Second)
		if m := a.Members()[1]; m.Tags.Boot != 0xb008 || m.Status != Alive || m.Address != "10.0.0.8:7601" {
			t.Errorf("n2 is %+v", m)
		}
	})
}

func TestRestartedProcessAtTheSameAddressReplacesTheFormer(t *testing.T) {
	onLAN(t, func(t *testing.T, l *lan, open opener, log *lockedBuffer) {
		a, b := open(t, 1, nil), open(t, 2, nil)
		join(t, b, "10.0.0.1")
		time.Sleep(time.Second)
		b.Close()
		next := open(t, 2, func(c *Config) { c.Tags.Boot = 77 })
		join(t, next, "10.0.0.1")
		time.Sleep(2 * time.Second)
		want(t, a, "n1:alive n2:alive")
		if m := a.Members()[1]; m.Tags.Boot != 77 {
			t.Errorf("n2 is %+v", m)
		}
	})
}

func TestGossipRunsOverSocketsAndAPortInUseIsSaid(t *testing.T) {
	open := func(name string, port int) (*Serf, error) {
		return OpenSerf(Config{Name: name, Bind: "127.0.0.1", Port: port, Key: bytes.Repeat([]byte{1}, 16), Tags: Tags{Boot: 1}})
	}
	a, err := open("a", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := open("b", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	join(t, b, a.Address())
	want(t, b, "a:alive b:alive")
	_, port, _ := net.SplitHostPort(a.Address())
	var n int
	fmt.Sscan(port, &n)
	if c, err := open("c", n); err == nil {
		t.Error("two processes have one port")
		c.Close()
	} else if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("port in use: %v", err)
	}
}

func TestRegistryDoesAsSerfDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		a := r.Open("n1", "n1:7601", Tags{Boot: 1})
		b := r.Open("n2", "n2:7601", Tags{Boot: 2})
		result := make(chan error, 1)
		c := r.Open("n3", "n3:7601", Tags{Boot: 3})
		go func() { result <- c.Join(t.Context(), []string{"n9:7601"}) }()
		join(t, b, "n1:7601")
		want(t, a, "n1:alive n2:alive")
		want(t, c, "n3:alive")
		d := r.Open("n9", "n9:7601", Tags{Boot: 9})
		join(t, d, "n1:7601")
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		want(t, b, "n1:alive n2:alive n3:alive n9:alive")
		var taken *NameInUseError
		if err := r.Open("n2", "x:7601", Tags{Boot: 22}).Join(t.Context(), []string{"n1:7601"}); !errors.As(err, &taken) || taken.Address != "n2:7601" {
			t.Errorf("second n2: %v", err)
		}
		changed := a.Changed()
		r.Kill("n2", time.Second)
		start := time.Now()
		<-changed
		if time.Since(start) != time.Second {
			t.Errorf("known after %v", time.Since(start))
		}
		want(t, a, "n1:alive n2:failed n3:alive n9:alive")
		join(t, r.Open("n2", "x:7601", Tags{Boot: 23}), "n1:7601")
		want(t, a, "n1:alive n2:alive n3:alive n9:alive")
		r.SetUnseen("n1", "n3", true)
		want(t, a, "n1:alive n2:alive n3:failed n9:alive")
		want(t, d, "n1:alive n2:alive n3:alive n9:alive")
		c.Leave(t.Context())
		c.Close()
		want(t, d, "n1:alive n2:alive n3:left n9:alive")
		d.Close()
		want(t, b, "n1:alive n2:failed n3:left n9:failed")
	})
}

func FuzzTags(f *testing.F) {
	f.Add("a:1", "b:2", "c0ffee", "3", "1")
	f.Add("", "", "-1", "-1", "10000000000000000")
	f.Fuzz(func(t *testing.T, data, http, cluster, expect, boot string) {
		x := decodeTags(map[string]string{tagData: data, tagHTTP: http, tagCluster: cluster, tagExpect: expect, tagBoot: boot})
		if again := decodeTags(x.encode()); again != x || x.Expect < 0 {
			t.Fatalf("%+v, again %+v", x, again)
		}
	})
}

// TestProbesAreSentAtRoundInstants: when keep-alives are, by whichever process and whenever it was started.
func TestProbesAreSentAtRoundInstants(t *testing.T) {
	onLAN(t, func(t *testing.T, l *lan, open opener, _ *lockedBuffer) {
		var all []*Serf
		for i := 1; i <= 3; i++ {
			time.Sleep(37 * time.Millisecond)
			all = append(all, open(t, i, nil))
		}
		for _, s := range all[1:] {
			if err := s.Join(t.Context(), []string{"10.0.0.1"}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second) // until there is no news any more
		var mu sync.Mutex
		round, other := 0, 0
		l.watch(func(at time.Time) {
			mu.Lock()
			defer mu.Unlock()
			if at.UnixNano()%int64(100*time.Millisecond) == 0 {
				round++
			} else {
				other++
			}
		})
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		if round < 2*3*40 || other > 0 { // a probe and its answer for each process and 200 ms
			t.Errorf("%d packets at round instants, %d at others", round, other)
		}
	})
}
