package peering

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	beatEvery   = 100 * time.Millisecond
	silentAfter = 400 * time.Millisecond
	// firstWithin is what a process has to be heard within when it was not yet, or when this process missed some time itself.
	firstWithin = 1500 * time.Millisecond
	// frozenAfter is how late the own ticker may be before this process counts as having been frozen itself.
	frozenAfter = 300 * time.Millisecond
	// thawing is how long after that connections that end prove nothing: peers may have given this process up meanwhile.
	thawing = time.Second
	// A connection that has been silent that long is made anew: after a partition the kernel would wait long before it sends again.
	reconnectAfter = 3 * time.Second

	backoffMin = 10 * time.Millisecond
	probeEvery = 2 * beatEvery // of a peer that should have dialed
	backoffMax = time.Second
	// leavingWithin is how long a process that said goodbye may take until the cluster knows that it is gone.
	leavingWithin = 3 * time.Second

	connectMax   = 2 * time.Second // for one attempt
	helloMax     = 5 * time.Second // for a dialer to say who it is
	goodbyeGrace = time.Second     // after a goodbye nobody complains about refused connections that long
)

// Kinds of complaints.
const (
	Ended  = "ended"  // a connection ended without a goodbye, or is refused: certain
	Silent = "silent" // keep-alives are missing
)

// Complaint is a fast signal that a process may be dead.
type Complaint struct {
	Process topology.Process
	Kind    string
	Since   time.Time // by this process' clock
	Detail  string    // for people
}

// Info is a process to keep in touch with.
type Info struct {
	Process topology.Process
	Address string // of its data port
}

// Status is how a peer does.
type Status struct {
	Info
	Connected bool // both connections are there
	RTT       time.Duration
	Offset    time.Duration // the peer's clock minus this one's
	Measured  bool          // RTT and Offset are known
}

// Config is what a Peering needs.
type Config struct {
	Self topology.Process
	// Mux makes and takes the connections; Peering takes the kinds Dataplane and KeepAlive.
	Mux *port.Mux
	// Join serves the dataplane connection with a process until it ends, ctx is done or the peer says goodbye; only then it gives
	// nil. It closes the connection. Of one process there is one at a time.
	Join func(ctx context.Context, peer topology.Process, conn dataplane.Conn) error
	// Options are of dataplane connections.
	Options transport.Options
	// Clock is what all time is measured with and offsets are of; it must not step. nil: the wall clock at start and the monotonic one since.
	Clock func() time.Time
	// Ahead is what the cluster's time is ahead of Clock, when this process knows it; peers are told. nil: it does not.
	Ahead func() (ahead time.Duration, known bool)
	// Heard is called, by any goroutine, after each keep-alive of a node. It must not block. May be nil.
	Heard  func(node topology.NodeID)
	Logger *slog.Logger
}

// Peering keeps connections with the processes that Update names until Close.
type Peering struct {
	config Config
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu         sync.Mutex
	peers      map[topology.NodeID]*peer
	served     map[slot]chan struct{} // closed when the connection that is served now has ended
	complaints []Complaint
	onChange   func()
	lastTick   time.Time
	thawed     time.Time // when this process last noticed that it had been frozen
	leaving    bool
}

// Why this side ends connections.
var (
	errClosed    = errors.New("this process ends")
	errDropped   = errors.New("the process is not among the live any more")
	errReplaced  = errors.New("replaced by a newer connection")
	errReconnect = errors.New("silent for too long: connecting anew")
)

// New starts keeping in touch, with nobody until Update.
func New(c Config) (*Peering, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		start := time.Now()
		c.Clock = func() time.Time { return start.Add(time.Since(start)) }
	}
	if c.Ahead == nil {
		c.Ahead = func() (time.Duration, bool) { return 0, false }
	}
	if c.Heard == nil {
		c.Heard = func(topology.NodeID) {}
	}
	if _, err := appendProcess(nil, c.Self); err != nil {
		return nil, err
	}
	data, err := c.Mux.Listen(port.Dataplane)
	if err != nil {
		return nil, err
	}
	beats, err := c.Mux.Listen(port.KeepAlive)
	if err != nil {
		return nil, errors.Join(err, data.Close())
	}
	p := &Peering{config: c, peers: map[topology.NodeID]*peer{}, served: map[slot]chan struct{}{}, onChange: func() {}, lastTick: c.Clock()}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.wg.Go(func() { p.accept(port.Dataplane, data) })
	p.wg.Go(func() { p.accept(port.KeepAlive, beats) })
	p.wg.Go(p.watch)
	return p, nil
}

// OnChange sets what is called, from any goroutine, when Complaints gives something else. It must not block.
func (p *Peering) OnChange(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onChange = f
}

// Update gives the processes that live, in any order; this one may be among them. Connections with others are ended, and complaints
// about them are forgotten.
func (p *Peering) Update(live []Info) {
	now := p.config.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	named := map[topology.NodeID]Info{}
	for _, i := range live {
		if i.Process.Node != p.config.Self.Node {
			named[i.Process.Node] = i
		}
	}
	for id, q := range p.peers {
		if i, ok := named[id]; ok && i == q.info {
			continue
		} else if ok && i.Process == q.info.Process {
			q.cancel(errReconnect) // it has moved
		} else {
			q.cancel(errDropped)
		}
		delete(p.peers, id)
	}
	for id, i := range named {
		if p.peers[id] == nil {
			p.add(i, now)
		}
	}
	p.review(now)
}

// Goodbye tells all peers that this process shuts down, so that they do not complain about it. Close follows when the dataplane has
// said its own.
func (p *Peering) Goodbye() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = true
	for _, q := range p.peers {
		q.kickBeat()
	}
}

// Close ends all connections and waits until Join has returned for each. Closing twice is fine.
func (p *Peering) Close() error {
	p.mu.Lock()
	p.cancel(errClosed)
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}

// Complaints are about the processes that Update named, ascending by node.
func (p *Peering) Complaints() []Complaint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.complaints)
}

// Offset is a node's clock minus this process', once it is measured; add it to the own clock to get the node's.
func (p *Peering) Offset(node topology.NodeID) (time.Duration, bool) {
	e, ok := p.estimate(node)
	return e.offset, ok
}

// Ahead is what the cluster's time is ahead of this process' clock as a node tells, and by how much that may be wrong; ok is false while the
// node does not know, or its clock is not measured.
func (p *Peering) Ahead(node topology.NodeID) (ahead, within time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.peers[node]
	if q == nil || q.ahead == aheadUnknown {
		return 0, 0, false
	}
	e, ok := q.samples.estimate()
	return e.offset + time.Duration(q.ahead), e.rtt / 2, ok
}

// RTT is the shortest round trip to a node of late, once it is measured.
func (p *Peering) RTT(node topology.NodeID) (time.Duration, bool) {
	e, ok := p.estimate(node)
	return e.rtt, ok
}

func (p *Peering) estimate(node topology.NodeID) (sample, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.peers[node]
	if q == nil {
		return sample{}, false
	}
	return q.samples.estimate()
}

// Peers gives how all peers do, ascending by node.
func (p *Peering) Peers() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Status, 0, len(p.peers))
	for _, q := range p.peers {
		e, ok := q.samples.estimate()
		all = append(all, Status{Info: q.info, Connected: q.data.up() && q.beats.up(), RTT: e.rtt, Offset: e.offset, Measured: ok})
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Process.Node, b.Process.Node) })
	return all
}

// until is how long it is until the cluster's time is the next multiple of a period: what all peers have to be told, and what is looked for, is
// due at the same instants, and what they tell arrives then, so that an idle process wakes up for all of it once.
func (p *Peering) until(period time.Duration) time.Duration {
	ahead, _ := p.config.Ahead()
	return period - time.Duration(p.config.Clock().Add(ahead).UnixNano())%period
}

// watch looks for silence, and for time that this process missed itself: with every beat, and when patience with a peer ends.
func (p *Peering) watch() {
	tick := time.NewTimer(p.until(beatEvery))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return
		}
		tick.Reset(min(p.until(beatEvery), p.look()))
	}
}

// look reviews all peers and says how long it is at least until patience with one ends.
func (p *Peering) look() (rest time.Duration) {
	now := p.config.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notice(now)
	p.lastTick, rest = now, beatEvery
	for _, q := range p.peers {
		silent := now.Sub(q.heard)
		if silent > reconnectAfter {
			q.data.end(errReconnect)
			q.beats.end(errReconnect)
		}
		if silent < q.patience {
			rest = min(rest, q.patience-silent)
		}
	}
	p.review(now)
	return rest
}

// notice finds out whether this process was frozen: then nobody is to blame for what was not heard. Called with the lock held before
// anything is concluded from the time.
func (p *Peering) notice(now time.Time) {
	if now.Sub(p.lastTick) <= frozenAfter {
		return
	}
	p.config.Logger.Warn("this process stood still: it was stopped, or the machine is overloaded", "for", now.Sub(p.lastTick).Round(time.Millisecond).String())
	p.thawed, p.lastTick = now, now
	for _, q := range p.peers {
		q.heard, q.patience = now, max(q.patience, firstWithin)
	}
}

// review computes the complaints anew and tells when they have changed. Called with the lock held.
func (p *Peering) review(now time.Time) {
	var all []Complaint
	for _, q := range p.peers {
		if c, ok := q.complaint(now); ok {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Complaint) int { return cmp.Compare(a.Process.Node, b.Process.Node) })
	same := slices.EqualFunc(all, p.complaints, func(a, b Complaint) bool { return a.Process == b.Process && a.Kind == b.Kind })
	if same {
		return
	}
	for _, c := range all {
		if !slices.ContainsFunc(p.complaints, func(o Complaint) bool { return o.Process == c.Process && o.Kind == c.Kind }) {
			p.config.Logger.Warn("lost a peer", "peer", c.Process.String(), "signal", c.Kind, "detail", c.Detail)
		}
	}
	for _, o := range p.complaints {
		if q := p.peers[o.Process.Node]; q != nil && q.info.Process == o.Process && !slices.ContainsFunc(all, func(c Complaint) bool { return c.Process == o.Process }) {
			p.config.Logger.Info("a peer is back", "peer", o.Process.String())
		}
	}
	p.complaints = all
	// Not under the lock, and not by who holds it: the callback may call back.
	f := p.onChange
	p.wg.Go(f)
}

// accept takes the connections that peers dial.
func (p *Peering) accept(k port.Kind, l net.Listener) {
	stop := context.AfterFunc(p.ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	for {
		c, err := l.Accept()
		if err != nil {
			if p.ctx.Err() == nil {
				p.config.Logger.Error("no peer can connect any more", "kind", k.String(), "error", err)
			}
			return
		}
		p.wg.Go(func() { p.greet(k, c) })
	}
}
