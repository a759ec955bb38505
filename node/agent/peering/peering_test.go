package peering

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is one of a cluster in memory.
type process struct {
	topology.Process
	host    string
	mux     *port.Mux
	peering *Peering

	mu      sync.Mutex
	joined  map[topology.Process]int // connections served now
	most    int                      // of one peer at a time, ever
	joins   int
	changes int
}

func (p *process) join(ctx context.Context, peer topology.Process, conn dataplane.Conn) error {
	p.mu.Lock()
	p.joins++
	p.joined[peer]++
	p.most = max(p.most, p.joined[peer])
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.joined[peer]--
		p.mu.Unlock()
	}()
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for {
		msg, err := conn.Receive()
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if m, _, err := dataplane.Next(msg); err == nil && m.Type == dataplane.TypeGoodbye {
			return nil
		}
	}
}

func (p *process) connected() (n int) {
	for _, s := range p.peering.Peers() {
		if s.Connected {
			n++
		}
	}
	return n
}

func (p *process) joinsAndChanges() (int, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.joins, p.changes
}

func (p *process) complains() string {
	var b bytes.Buffer
	for _, c := range p.peering.Complaints() {
		fmt.Fprintf(&b, "%s %s;", c.Process, c.Kind)
	}
	return b.String()
}

func (p *process) info() Info { return Info{p.Process, p.host + ":7602"} }

type cluster struct {
	t   *testing.T
	net *port.Memory
	all []*process

	// gate holds a channel: while it is open, everything in the process n2 that looks at its clock stands still.
	gate atomic.Value
}

func (c *cluster) start(host string, boot topology.BootID, clock func() time.Time) *process {
	c.t.Helper()
	n := c.net.Host(host)
	l, err := n.Listen(":7602")
	if err != nil {
		c.t.Fatal(err)
	}
	p := &process{Process: topology.Process{Node: topology.NodeID(host), Boot: boot}, host: host, joined: map[topology.Process]int{}}
	p.mux = port.NewMux(port.Config{Listener: l, Network: n, Cluster: 1})
	if p.peering, err = New(Config{Self: p.Process, Mux: p.mux, Join: p.join, Clock: clock}); err != nil {
		c.t.Fatal(err)
	}
	p.peering.OnChange(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changes++
	})
	c.t.Cleanup(p.stop)
	return p
}

// stop ends a process without a goodbye.
func (p *process) stop() {
	p.peering.Close()
	p.mux.Close()
}

// kill ends a process as kill -9 does.
func (c *cluster) kill(p *process) {
	c.net.Kill(p.host)
	p.stop()
}

func (c *cluster) update() {
	var all []Info
	for _, p := range c.all {
		all = append(all, p.info())
	}
	for _, p := range c.all {
		p.peering.Update(all)
	}
}

// inCluster runs a claim on n connected processes, n1 to n9.
func inCluster(t *testing.T, n int, claim func(t *testing.T, c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, net: port.NewMemory()}
		for i := range n {
			clock := time.Now
			if i == 1 {
				clock = func() time.Time {
					if gate, ok := c.gate.Load().(chan struct{}); ok {
						<-gate
					}
					return time.Now()
				}
			}
			c.all = append(c.all, c.start(fmt.Sprintf("n%d", i+1), topology.BootID(i+1), clock))
		}
		c.update()
		time.Sleep(time.Second)
		for _, p := range c.all {
			if joins, _ := p.joinsAndChanges(); p.connected() != n-1 || p.complains() != "" || joins != n-1 {
				t.Fatalf("%s: %d connected, %d joined, complains %q", p, p.connected(), joins, p.complains())
			}
		}
		claim(t, c)
		for _, p := range c.all {
			p.mu.Lock()
			if p.most > 1 {
				t.Errorf("%s served %d connections of one peer at a time", p, p.most)
			}
			p.mu.Unlock()
		}
	})
}

func (c *cluster) want(p *process, complaints string) {
	c.t.Helper()
	if got := p.complains(); got != complaints {
		c.t.Errorf("%s complains %q, want %q", p, got, complaints)
	}
}

func TestEveryPairIsConnectedOnceAndStaysSo(t *testing.T) {
	inCluster(t, 5, func(t *testing.T, c *cluster) {
		if conns, _ := c.net.Open(); conns != 2*10 {
			t.Errorf("%d connections for 10 pairs", conns)
		}
		time.Sleep(3 * time.Minute)
		for _, p := range c.all {
			if joins, changes := p.joinsAndChanges(); joins != 4 || changes != 0 {
				t.Errorf("%s: %d joins, %d changes of complaints", p, joins, changes)
			}
		}
	})
}

func TestKilledProcessIsComplainedOfAtOnceByAll(t *testing.T) {
	for _, victim := range []int{0, 1, 2} {
		inCluster(t, 3, func(t *testing.T, c *cluster) {
			v := c.all[victim]
			c.kill(v)
			synctest.Wait()
			for _, p := range c.all {
				if p != v {
					c.want(p, v.Process.String()+" ended;")
				}
				if _, changes := p.joinsAndChanges(); p != v && changes != 1 {
					t.Errorf("%s was told %d times", p, changes)
				}
			}
			time.Sleep(10 * time.Second)
			// A new process of that name is another one: the old one stays dead until the list says so.
			next := c.start(v.host, 77, nil)
			time.Sleep(5 * time.Second)
			for _, p := range c.all {
				if p != v {
					c.want(p, v.Process.String()+" ended;")
				}
			}
			c.all[victim] = next
			c.update()
			time.Sleep(5 * time.Second)
			for _, p := range c.all {
				c.want(p, "")
				if p.connected() != 2 {
					t.Errorf("%s: %d connected", p, p.connected())
				}
			}
		})
	}
}

func TestLostConnectionComesBackAndTheComplaintIsWithdrawn(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, c *cluster) {
		// A process that dialed before the other knew of it waits longer, until a connection has lasted.
		time.Sleep(backoffMax)
		c.net.Disconnect("n1", "n2")
		synctest.Wait()
		c.want(c.all[0], "n2/2 ended;")
		c.want(c.all[1], "n1/1 ended;")
		time.Sleep(backoffMin + time.Millisecond)
		for _, p := range c.all {
			c.want(p, "")
			if joins, _ := p.joinsAndChanges(); p.connected() != 1 || joins != 2 {
				t.Errorf("%s: %d connected, %d joins", p, p.connected(), joins)
			}
		}
	})
}

func TestVanishedHostIsSilentAfter400Ms(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *cluster) {
		c.net.SetFrozen("n2", true)
		c.net.Kill("n2")
		c.all[1].stop()
		time.Sleep(silentAfter - beatEvery - time.Millisecond)
		c.want(c.all[0], "")
		time.Sleep(beatEvery + 2*time.Millisecond)
		c.want(c.all[0], "n2/2 silent;")
		c.want(c.all[2], "n2/2 silent;")
		time.Sleep(time.Minute)
		c.want(c.all[0], "n2/2 silent;")
		c.all = []*process{c.all[0], c.all[2]}
		c.update()
		c.want(c.all[0], "")
	})
}

func TestOneWayPartitionIsNoticedByThoseWhoHearNothing(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, c *cluster) {
		c.net.SetHeld("n1", "n2", true)
		time.Sleep(time.Second)
		c.want(c.all[0], "")
		c.want(c.all[1], "n1/1 silent;")
		time.Sleep(time.Minute)
		c.net.SetHeld("n1", "n2", false)
		time.Sleep(3 * time.Second)
		for _, p := range c.all {
			c.want(p, "")
			if p.connected() != 1 {
				t.Errorf("%s is not connected", p)
			}
		}
	})
}

func TestRefusedPeerIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, net: port.NewMemory()}
		p := c.start("n1", 1, nil)
		p.peering.Update([]Info{{topology.Process{Node: "n2", Boot: 2}, "n2:7602"}})
		synctest.Wait()
		c.want(p, "n2/2 ended;")
	})
}

func TestGoodbyeIsNoComplaint(t *testing.T) {
	for _, leaver := range []int{0, 1, 2} {
		inCluster(t, 3, func(t *testing.T, c *cluster) {
			l := c.all[leaver]
			l.peering.Goodbye()
			if leaver != 1 {
				time.Sleep(time.Second)
			}
			l.stop()
			time.Sleep(goodbyeGrace - 100*time.Millisecond)
			for _, p := range c.all {
				if p != l {
					c.want(p, "")
				}
			}
			// If the cluster still counts on it after some time, somebody has to say that it is gone.
			time.Sleep(leavingWithin)
			for _, p := range c.all {
				if p != l && p.complains() == "" {
					t.Errorf("%s says nothing", p)
				}
			}
		})
	}
}

func TestProcessThatWasFrozenBlamesNobody(t *testing.T) {
	for _, dropped := range []bool{false, true} {
		inCluster(t, 4, func(t *testing.T, c *cluster) {
			f := c.all[1]
			c.net.SetFrozen(f.host, true)
			c.gate.Store(make(chan struct{}))
			time.Sleep(20 * time.Second)
			others := []*process{c.all[0], c.all[2], c.all[3]}
			for _, p := range others {
				c.want(p, "n2/2 silent;")
			}
			if dropped {
				for _, p := range others {
					p.peering.Update([]Info{c.all[0].info(), c.all[2].info(), c.all[3].info()})
				}
				time.Sleep(time.Second)
			}
			c.net.SetFrozen(f.host, false)
			close(c.gate.Load().(chan struct{}))
			time.Sleep(10 * time.Second)
			c.want(f, "")
			if _, changes := f.joinsAndChanges(); changes != 0 {
				t.Errorf("complaints changed %d times", changes)
			}
			for _, p := range others {
				c.want(p, "")
			}
			if want := map[bool]int{false: 3, true: 0}[dropped]; f.connected() != want {
				t.Errorf("%d connected, want %d", f.connected(), want)
			}
		})
	}
}

func TestPeerDroppedByOneSideOnlyIsNotBlamedForIt(t *testing.T) {
	for _, by := range []int{0, 1} {
		inCluster(t, 2, func(t *testing.T, c *cluster) {
			dropping, other := c.all[by], c.all[1-by]
			dropping.peering.Update(nil)
			time.Sleep(time.Minute)
			c.want(dropping, "")
			c.want(other, "")
			if n := len(dropping.peering.Peers()) + other.connected(); n != 0 {
				t.Errorf("%d connected", n)
			}
			c.update()
			time.Sleep(2 * time.Second)
			for _, p := range c.all {
				c.want(p, "")
				if p.connected() != 1 {
					t.Errorf("%s is not connected", p)
				}
			}
		})
	}
}

func TestMovedPeerIsFollowed(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, c *cluster) {
		// The same process at a second address: only the list changes.
		l, err := c.net.Host("n2").Listen(":9000")
		if err != nil {
			t.Fatal(err)
		}
		mux := port.NewMux(port.Config{Listener: l, Network: c.net.Host("n2"), Cluster: 1})
		defer mux.Close()
		i := c.all[1].info()
		i.Address = "n2:9000"
		c.all[0].peering.Update([]Info{i})
		time.Sleep(time.Second)
		if got := c.all[0].peering.Peers(); len(got) != 1 || got[0].Connected || got[0].Address != "n2:9000" {
			t.Errorf("%+v", got)
		}
		c.all[0].peering.Update([]Info{c.all[1].info()})
		time.Sleep(3 * time.Second)
		if c.all[0].connected() != 1 || c.all[1].connected() != 1 {
			t.Error("not connected after it moved back")
		}
	})
}

func TestOffsetAndRoundTripAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, net: port.NewMemory()}
		const ahead = 90 * time.Second
		c.all = []*process{c.start("n1", 1, nil), c.start("n2", 2, func() time.Time { return time.Now().Add(ahead) })}
		c.net.SetDelay("n1", "n2", 3*time.Millisecond)
		c.net.SetDelay("n2", "n1", 3*time.Millisecond)
		c.update()
		time.Sleep(50 * time.Millisecond)
		for i, p := range c.all {
			want := []time.Duration{ahead, -ahead}[i]
			peer := c.all[1-i].Node
			offset, ok := p.peering.Offset(peer)
			rtt, ok2 := p.peering.RTT(peer)
			if !ok || !ok2 || offset != want || rtt != 6*time.Millisecond {
				t.Errorf("%s: offset %v, round trip %v", p, offset, rtt)
			}
		}
		// One-sided delays that come and go do not move it.
		for range 10 {
			c.net.SetDelay("n1", "n2", 200*time.Millisecond)
			time.Sleep(250 * time.Millisecond)
			c.net.SetDelay("n1", "n2", 3*time.Millisecond)
			time.Sleep(750 * time.Millisecond)
			if offset, _ := c.all[0].peering.Offset("n2"); offset != ahead {
				t.Errorf("offset %v", offset)
			}
		}
		if _, ok := c.all[0].peering.Offset("nobody"); ok {
			t.Error("the offset of an unknown node is known")
		}
	})
}

func TestRandomFaultsEndConnectedAndAtPeace(t *testing.T) {
	inCluster(t, 4, func(t *testing.T, c *cluster) {
		pairs := [][2]string{{"n1", "n2"}, {"n2", "n1"}, {"n1", "n3"}, {"n3", "n2"}, {"n4", "n1"}, {"n2", "n4"}}
		for i := range 200 {
			p := pairs[i*7%len(pairs)]
			switch i % 5 {
			case 0:
				c.net.Disconnect(p[0], p[1])
			case 1:
				c.net.SetHeld(p[0], p[1], true)
			case 2:
				c.net.SetRefused(p[0], p[1], true)
			case 3:
				c.net.SetDelay(p[0], p[1], time.Duration(i)*time.Millisecond)
			case 4:
				for _, p := range pairs {
					c.net.SetHeld(p[0], p[1], false)
					c.net.SetRefused(p[0], p[1], false)
					c.net.SetDelay(p[0], p[1], 0)
				}
			}
			time.Sleep(time.Duration(i*i%997) * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		for _, p := range c.all {
			c.want(p, "")
			if p.connected() != 3 {
				t.Errorf("%s: %d connected", p, p.connected())
			}
		}
	})
}

func TestGarbageOnConnectionsEndsThemOnly(t *testing.T) {
	inCluster(t, 2, func(t *testing.T, c *cluster) {
		for _, k := range []port.Kind{port.Dataplane, port.KeepAlive} {
			for _, msg := range []string{"", "\x00", "\xff", "\x02n9\x00\x00\x00\x00\x00\x00\x00\x01\x02n2\x00\x00\x00\x00\x00\x00\x00\x02"} {
				conn, err := port.Dial(t.Context(), c.net.Host("n9"), k, "n2:7602", 1)
				if err != nil {
					t.Fatal(err)
				}
				conn.Write([]byte(msg))
				time.Sleep(helloMax + time.Second)
				conn.Close()
			}
		}
		c.want(c.all[1], "")
	})
}

func TestPeersOverTCPConnectAndSeeAnEnd(t *testing.T) {
	start := func(name string) (*process, chan struct{}) {
		l, err := port.TCP{}.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p := &process{Process: topology.Process{Node: topology.NodeID(name), Boot: 1}, joined: map[topology.Process]int{}}
		p.mux = port.NewMux(port.Config{Listener: l, Network: port.TCP{}})
		up := make(chan struct{}, 1)
		join := func(ctx context.Context, peer topology.Process, conn dataplane.Conn) error {
			up <- struct{}{}
			return p.join(ctx, peer, conn)
		}
		if p.peering, err = New(Config{Self: p.Process, Mux: p.mux, Join: join}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.stop)
		return p, up
	}
	a, aUp := start("a")
	b, bUp := start("b")
	ended := make(chan struct{}, 16)
	a.peering.OnChange(func() { ended <- struct{}{} })
	all := []Info{{a.Process, a.mux.Addr().String()}, {b.Process, b.mux.Addr().String()}}
	a.peering.Update(all)
	b.peering.Update(all)
	<-aUp
	<-bUp
	b.stop()
	for a.complains() != "b/1 ended;" {
		<-ended
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(frame{beat, 1, 2, 3, aheadUnknown}.append(nil), int64(4))
	f.Add(frame{goodbye, math.MinInt64, math.MaxInt64, -1, 5}.append(nil), int64(math.MaxInt64))
	f.Add([]byte{9}, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		x, err := decodeFrame(b)
		if err != nil {
			return
		}
		if !bytes.Equal(x.append(nil), b[:frameBytes]) {
			t.Fatalf("%+v of %x", x, b)
		}
		var s samples
		for range 2 * samplesKept {
			s.take(x, now)
		}
		if e, ok := s.estimate(); ok && e.rtt < 0 {
			t.Fatalf("round trip %v", e.rtt)
		}
	})
}

func FuzzHello(f *testing.F) {
	h, _ := appendHello(nil, topology.Process{Node: "n1", Boot: 1}, topology.Process{Node: "n2", Boot: math.MaxUint64})
	f.Add(h)
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if from, to, err := readHello(r); err == nil {
			if again, err := appendHello(nil, from, to); err != nil || !bytes.Equal(again, b[:len(b)-r.Len()]) {
				t.Fatalf("%v %v of %x: %v", from, to, b, err)
			}
		}
		if a, p, err := readAnswer(bytes.NewReader(b)); err == nil {
			if again, err := appendProcess([]byte{byte(a)}, p); err != nil || !slices.Equal(again, b[:len(again)]) {
				t.Fatalf("%d %v of %x: %v", a, p, b, err)
			}
		}
	})
}
