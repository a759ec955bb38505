package gossip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// label keeps other software of the same protocol out. It is the same for all clusters, because a process that joins does not know
	// its cluster yet.
	label = "seepnode"

	joinedAgainEvery = time.Minute
	aloneAgainEvery  = 5 * time.Second
	rivalAgainEvery  = 2 * time.Second // while others still take a former process of this name for it
	joinSaidEvery    = 30 * time.Second
	conflictPings    = 5
	confirmAfter     = 250 * time.Millisecond
)

// Config says how a process gossips.
type Config struct {
	Name string
	// Bind is the IP address that is listened on; empty is all of them.
	Bind string
	Port int // UDP and TCP; 0 is chosen
	// Advertise is the IP address that others reach this process at; empty is Bind, or the machine's private address.
	Advertise string
	// Key encrypts all gossip: 16, 24 or 32 bytes, the same on all nodes; nil does not encrypt.
	Key    []byte
	Tags   Tags
	Logger *slog.Logger
	// Find gives the addresses, HOST or HOST:PORT, that one to join stands for; nil: itself.
	Find func(ctx context.Context, place string) ([]string, error)
	// Resolve finds the addresses of a host name; nil asks the system.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Transport is what packets and streams go over; nil is sockets.
	Transport memberlist.Transport
}

// Serf is the Membership over Serf. A killed process is known to have failed after 0.9 to 1.5 s.
type Serf struct {
	config Config
	serf   *serf.Serf
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	tags    Tags
	changed chan struct{}
	joined  bool
	rejoins bool
	said    map[string]bool           // members of which it was said why they are left out
	rival   *rival                    // another process of this name that was heard of in the last attempt to join
	outside map[topology.Process]bool // members of another cluster that were taken in before they knew theirs
	closed  bool

	setting sync.Mutex // one SetTags at a time
}

type rival struct {
	address string
	tags    Tags
}

// OpenSerf starts gossiping, alone until somebody joins.
func OpenSerf(c Config) (*Serf, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if n := len(c.Key); n != 0 && n != 16 && n != 24 && n != 32 {
		return nil, fmt.Errorf("gossip: the encryption key has %d bytes; it must have 16, 24 or 32", n)
	}
	s := &Serf{config: c, tags: c.Tags, changed: make(chan struct{}), said: map[string]bool{}, outside: map[topology.Process]bool{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	events := make(chan serf.Event, 1024)
	sc := s.serfConfig(events)
	m := sc.MemberlistConfig
	// The transport comes first, because Create leaves a goroutine behind when a port is in use.
	if m.Transport == nil {
		sockets, err := listen(m)
		if err != nil {
			s.cancel()
			return nil, explainOpen(c, err)
		}
		m.Transport = sockets
		m.BindPort, m.AdvertisePort = sockets.port(), sockets.port()
	}
	var err error
	// The library ticks from when it is made. At round instants keep-alives are due, too, here and at its peers: a process that is idle wakes up
	// for all of them at once.
	time.Sleep(m.GossipInterval - time.Duration(time.Now().UnixNano())%m.GossipInterval)
	if s.serf, err = serf.Create(sc); err != nil {
		s.cancel()
		return nil, errors.Join(explainOpen(c, err), m.Transport.Shutdown())
	}
	s.wg.Go(func() { s.follow(events) })
	return s, nil
}

// listen opens a port for UDP and TCP. One that is free for TCP and chosen may be taken for UDP.
func listen(m *memberlist.Config) (t *sockets, err error) {
	for try := 0; try == 0 || err != nil && m.BindPort == 0 && try < 10; try++ {
		t, err = openSockets(m.BindAddr, m.BindPort, m.Logger)
	}
	return t, err
}

func (s *Serf) serfConfig(events chan<- serf.Event) *serf.Config {
	logger := newLogger(s.config.Logger)
	m := memberlist.DefaultLANConfig()
	// Measured: failures are known after 0.94 to 1.4 s, and no false alarm when the CPU is overcommitted.
	m.ProbeInterval, m.ProbeTimeout = 200*time.Millisecond, 100*time.Millisecond
	m.SuspicionMult, m.SuspicionMaxTimeoutMult = 3, 2
	m.GossipInterval = 100 * time.Millisecond // in step with the probes: an idle process wakes up for every tick
	m.TCPTimeout = 3 * time.Second
	m.PushPullInterval = 5 * time.Second // gossip may miss somebody: until the next exchange of all that is known
	m.DeadNodeReclaimTime = 10 * time.Second
	m.EnableCompression = false
	m.Label = label
	m.SecretKey = s.config.Key
	m.BindAddr = cmp.Or(s.config.Bind, "0.0.0.0")
	m.BindPort, m.AdvertisePort = s.config.Port, s.config.Port
	m.AdvertiseAddr = s.config.Advertise
	m.Transport = s.config.Transport
	m.Logger = logger

	c := serf.DefaultConfig()
	c.NodeName = s.config.Name
	c.Tags = s.config.Tags.encode()
	c.MemberlistConfig = m
	c.EventCh = events
	c.Logger = logger
	c.Merge = (*merge)(s)
	c.EnableNameConflictResolution = false // it ends either process by a vote; Join asks the other one itself
	c.DisableCoordinates = true
	c.ReconnectInterval = 5 * time.Second
	c.ReconnectTimeout = 30 * time.Minute
	c.TombstoneTimeout = 10 * time.Minute
	c.BroadcastTimeout = time.Second
	c.LeavePropagateDelay = 500 * time.Millisecond
	c.MsgpackUseNewTimeFormat = true
	m.MsgpackUseNewTimeFormat = true
	return c
}

func explainOpen(c Config, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "address already in use"):
		return fmt.Errorf("gossip: port %d: %w", c.Port, syscall.EADDRINUSE) // the library does not wrap it
	case strings.Contains(text, "no private IP address found"):
		return fmt.Errorf("gossip: this machine has no private address that others could reach it at: set --advertise (or --bind): %w", err)
	case strings.Contains(text, "tags exceeds limit"):
		return fmt.Errorf("gossip: the addresses of this node take more than 512 bytes: use shorter ones: %w", err)
	}
	return fmt.Errorf("gossip: %w", err)
}

// follow turns events into Changed; the channel must never be full.
func (s *Serf) follow(events <-chan serf.Event) {
	for {
		select {
		case e := <-events:
			if _, ok := e.(serf.MemberEvent); ok {
				s.notify()
			}
		case <-s.serf.ShutdownCh():
			// Its sender may be in the middle of the last ones.
			for {
				select {
				case <-events:
				case <-time.After(100 * time.Millisecond):
					return
				}
			}
		}
	}
}

func (s *Serf) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Changed implements Membership.
func (s *Serf) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Address is where this process gossips, as the others see it.
func (s *Serf) Address() string {
	m := s.serf.LocalMember()
	return net.JoinHostPort(m.Addr.String(), strconv.Itoa(int(m.Port)))
}

// Members implements Membership.
func (s *Serf) Members() []Member {
	var all []Member
	for _, m := range s.serf.Members() {
		if x := member(m); m.Name == s.config.Name || !s.foreign(x) {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func member(m serf.Member) Member {
	x := Member{Name: m.Name, Address: net.JoinHostPort(m.Addr.String(), strconv.Itoa(int(m.Port))), Tags: decodeTags(m.Tags), Status: Failed}
	switch m.Status {
	case serf.StatusAlive:
		x.Status = Alive
	case serf.StatusLeaving, serf.StatusLeft:
		x.Status = Left
	}
	return x
}

// foreign says whether a member is of another cluster, and says so once in the log.
func (s *Serf) foreign(m Member) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tags.Cluster == 0 || m.Tags.Cluster == 0 || s.tags.Cluster == m.Tags.Cluster {
		return s.outside[m.Process()]
	}
	if p := m.Process(); !s.outside[p] && len(s.outside) < 1024 {
		// What it says of itself from now on is refused: the library keeps what it said before.
		s.outside[p] = true
		close(s.changed)
		s.changed = make(chan struct{})
	}
	if key := fmt.Sprint(m.Name, m.Address, m.Tags.Cluster); !s.said[key] && len(s.said) < 1024 {
		s.said[key] = true
		s.config.Logger.Warn("refused a member of another cluster: it, or a node it knows, has an address of this cluster in --join", "name", m.Name, "address", m.Address,
			"its_cluster", clusterName(m.Tags.Cluster), "our_cluster", clusterName(s.tags.Cluster))
	}
	return true
}

func clusterName(id uint64) string { return fmt.Sprintf("%016x", id) }

// merge hears of every member before it counts. Its calls come with the library's lock held.
type merge Serf

// NotifyMerge refuses a member of another cluster, or a merge with nothing but such members, and notices other processes of this
// name.
func (g *merge) NotifyMerge(members []*serf.Member) error {
	s := (*Serf)(g)
	var refused error
	friends := 0
	for _, m := range members {
		x := member(*m)
		if s.foreign(x) {
			s.mu.Lock()
			refused = fmt.Errorf("%s at %s is of cluster %s, this process of %s", x.Name, x.Address, clusterName(x.Tags.Cluster), clusterName(s.tags.Cluster))
			s.mu.Unlock()
			continue
		}
		friends++
		if x.Name == s.config.Name && m.Status != serf.StatusLeft {
			s.meet(x)
		}
	}
	if friends > 0 {
		return nil
	}
	return refused
}

// meet notes another process of this name, dead or alive.
func (s *Serf) meet(x Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.Tags.Boot == s.tags.Boot {
		return
	}
	s.rival = &rival{x.Address, x.Tags}
	if key := fmt.Sprint("rival", x.Tags.Boot, x.Address); s.joined && !s.said[key] && len(s.said) < 1024 {
		s.said[key] = true
		s.config.Logger.Warn("another process claims this node's name", "name", x.Name, "address", x.Address, "boot", fmt.Sprintf("%x", uint64(x.Tags.Boot)))
	}
}

// SetTags implements Membership.
func (s *Serf) SetTags(t Tags) error {
	s.setting.Lock()
	defer s.setting.Unlock()
	s.mu.Lock()
	s.tags = t
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	s.notify() // another cluster may leave out others
	err := s.serf.SetTags(t.encode())
	if err != nil && strings.Contains(err.Error(), "timeout waiting for update broadcast") {
		s.config.Logger.Debug("news of this process spread slowly", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// Leave implements Membership.
func (s *Serf) Leave(ctx context.Context) error {
	left := make(chan error, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.wg.Go(func() { left <- s.serf.Leave() })
	s.mu.Unlock()
	select {
	case err := <-left:
		if err != nil {
			return fmt.Errorf("gossip: leaving: %w", err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements Membership.
func (s *Serf) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	var err error
	if first {
		err = s.serf.Shutdown()
	}
	s.wg.Wait()
	if err != nil {
		return fmt.Errorf("gossip: closing: %w", err)
	}
	return nil
}

var _ Membership = (*Serf)(nil)
