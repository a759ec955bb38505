package peering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// peer is one process to keep in touch with. Its fields are under the Peering's lock.
type peer struct {
	info   Info
	ctx    context.Context
	cancel context.CancelCauseFunc // with why; ends all that goes on with it

	data, beats link
	kick        chan struct{} // a beat is due now
	heard       time.Time     // when it last proved to be alive
	patience    time.Duration // how long it may be silent
	left        time.Time     // when it said goodbye; zero: it did not
	unlisted    bool          // it does not count this process among the live: it will not connect

	samples samples
	// The last beat that came, to be echoed.
	lastSent, lastReceived int64
	ahead                  int64 // as it told last
}

// link is a connection of one kind with a peer.
type link struct {
	cancel context.CancelCauseFunc // ends what is served now; nil while nothing is
	lost   time.Time               // since when it is gone and nothing but a death explains it
	why    error
}

func (l *link) up() bool { return l.cancel != nil }

func (l *link) end(why error) {
	if l.cancel != nil {
		l.cancel(why)
	}
}

// slot is what at most one connection at a time is served for.
type slot struct {
	process topology.Process
	kind    port.Kind
}

func (q *peer) link(k port.Kind) *link {
	if k == port.Dataplane {
		return &q.data
	}
	return &q.beats
}

func (q *peer) kickBeat() {
	select {
	case q.kick <- struct{}{}:
	default:
	}
}

// complaint is what there is against the peer.
func (q *peer) complaint(now time.Time) (Complaint, bool) {
	var first *link
	for _, l := range []*link{&q.data, &q.beats} {
		if !l.lost.IsZero() && (first == nil || l.lost.Before(first.lost)) {
			first = l
		}
	}
	silent := now.Sub(q.heard)
	switch {
	case first != nil:
		return Complaint{q.info.Process, Ended, first.lost, first.why.Error()}, true
	case silent >= q.patience && !q.unlisted:
		return Complaint{q.info.Process, Silent, q.heard, fmt.Sprintf("no keep-alive for %v", silent.Round(time.Millisecond))}, true
	}
	return Complaint{}, false
}

// hear notes that the peer is alive. Before there are keep-alives, or when they have ended for a good reason, it has some time until
// they come.
func (q *peer) hear(now time.Time) {
	q.heard = now
	switch {
	case !q.left.IsZero():
		q.patience = leavingWithin
	case q.beats.up():
		q.patience = silentAfter
	default:
		q.patience = firstWithin
	}
}

// add begins to keep in touch with a process. Called with the lock held.
func (p *Peering) add(i Info, now time.Time) {
	q := &peer{info: i, kick: make(chan struct{}, 1), heard: now, patience: firstWithin, ahead: aheadUnknown}
	q.ctx, q.cancel = context.WithCancelCause(p.ctx)
	p.peers[i.Process.Node] = q
	if p.config.Self.Node < i.Process.Node {
		p.wg.Go(func() { p.dial(q, port.Dataplane) })
		p.wg.Go(func() { p.dial(q, port.KeepAlive) })
	} else {
		p.wg.Go(func() { p.probe(q) })
	}
}

// probe asks a peer that should have dialed and has not whether it is there, and whether it counts this process among the live.
func (p *Peering) probe(q *peer) {
	tick := time.NewTimer(p.until(probeEvery))
	defer tick.Stop()
	for missing := 0; ; {
		select {
		case <-tick.C:
			tick.Reset(p.until(probeEvery))
		case <-q.ctx.Done():
			return
		}
		p.mu.Lock()
		up := q.beats.up()
		p.mu.Unlock()
		if up {
			missing = 0
			continue
		}
		if missing++; missing < 2 {
			continue
		}
		c, err := p.connect(q, port.KeepAlive)
		if err == nil {
			err = errors.New("peering: a probe was taken for a connection")
			c.Close()
		}
		p.failed(q, port.KeepAlive, err)
	}
}

// dial makes a connection to a peer, and again when it has ended.
func (p *Peering) dial(q *peer, k port.Kind) {
	backoff := backoffMin
	for {
		began := time.Now()
		c, err := p.connect(q, k)
		if err == nil {
			p.serve(q, k, c)
		} else {
			p.failed(q, k, err)
		}
		if err == nil && time.Since(began) > backoffMax {
			backoff = backoffMin
		}
		pause := time.NewTimer(backoff)
		select {
		case <-pause.C:
		case <-q.ctx.Done():
			pause.Stop()
			return
		}
		backoff = min(2*backoff, backoffMax)
	}
}

// notWelcome is an answer to a hello that refuses.
type notWelcome struct {
	answer answer
	want   topology.Process
	by     topology.Process
}

func (e *notWelcome) Error() string {
	switch e.answer {
	case otherProcess:
		return fmt.Sprintf("at its address process %v answers, not %v", e.by, e.want)
	case wait:
		return fmt.Sprintf("%v is alive and will dial", e.by)
	}
	return fmt.Sprintf("%v does not count this process among the live", e.by)
}

// connect dials and says hello.
func (p *Peering) connect(q *peer, k port.Kind) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(q.ctx, connectMax)
	defer cancel()
	c, err := p.config.Mux.Dial(ctx, k, q.info.Address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = func() error {
		hello, err := appendHello(nil, p.config.Self, q.info.Process)
		if err != nil {
			return err
		}
		if _, err := c.Write(hello); err != nil {
			return err
		}
		a, by, err := readAnswer(c)
		if err != nil {
			return err
		}
		if a == welcome && by != q.info.Process {
			a = otherProcess
		}
		if a != welcome {
			return &notWelcome{a, q.info.Process, by}
		}
		return nil
	}()
	if !stop() && err == nil {
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// failed judges why no connection came about: only a refusal by the peer's host, or another process in its place, is proof.
func (p *Peering) failed(q *peer, k port.Kind, err error) {
	now := p.config.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if q.ctx.Err() != nil {
		return
	}
	p.notice(now)
	l := q.link(k)
	var other *notWelcome
	switch errors.As(err, &other); {
	case other != nil && other.answer == notListed:
		q.hear(now)
		if !q.unlisted {
			p.config.Logger.Debug("a peer does not know this process (yet, or any more)", "peer", q.info.Process.String())
		}
		l.lost, q.unlisted = time.Time{}, true // there is a process, and it is the right one
	case other != nil && other.answer == wait:
		q.hear(now)
		l.lost, q.unlisted = time.Time{}, false
	case (port.Refused(err) || other != nil) && l.lost.IsZero() && (q.left.IsZero() || now.Sub(q.left) > goodbyeGrace):
		l.lost, l.why = now, err
	default:
		p.config.Logger.Debug("cannot connect to a peer", "peer", q.info.Process.String(), "kind", k.String(), "error", err)
	}
	p.review(now)
}

// greet answers who dials.
func (p *Peering) greet(k port.Kind, c net.Conn) {
	stop := context.AfterFunc(p.ctx, func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(helloMax))
	from, to, err := readHello(c)
	if err != nil {
		stop()
		c.Close()
		p.config.Logger.Debug("a connection did not say whose it is", "kind", k.String(), "from", c.RemoteAddr().String(), "error", err)
		return
	}
	p.mu.Lock()
	q, a := p.peers[from.Node], welcome
	switch {
	case to != p.config.Self:
		a = otherProcess
	case q == nil || q.info.Process != from:
		a = notListed
	case from.Node > to.Node:
		a = wait
	}
	p.mu.Unlock()
	reply, err := appendProcess([]byte{byte(a)}, p.config.Self)
	if err == nil {
		if a == welcome && !p.vacate(q, k) {
			err = errReplaced
		} else {
			_, err = c.Write(reply)
		}
	}
	if err != nil || a != welcome {
		stop()
		c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	stop()
	p.serve(q, k, c)
}

// vacate ends the connection of the kind with the peer that is served, if any, and waits for that. The peer would not dial if it
// had not lost it. It gives false when the peer is dropped.
func (p *Peering) vacate(q *peer, k port.Kind) bool {
	for {
		p.mu.Lock()
		served := p.served[slot{q.info.Process, k}]
		q.link(k).end(errReplaced)
		p.mu.Unlock()
		if served == nil {
			return q.ctx.Err() == nil
		}
		select {
		case <-served:
		case <-q.ctx.Done():
			return false
		}
	}
}

// occupy makes a connection the one that is served. ctx is nil when the peer is dropped.
func (p *Peering) occupy(q *peer, k port.Kind) (ctx context.Context, ended chan struct{}) {
	for p.vacate(q, k) {
		now := p.config.Clock()
		p.mu.Lock()
		at := slot{q.info.Process, k}
		if p.served[at] != nil {
			p.mu.Unlock()
			continue
		}
		l := q.link(k)
		ended = make(chan struct{})
		p.served[at] = ended
		ctx, l.cancel = context.WithCancelCause(q.ctx)
		l.lost, l.why = time.Time{}, nil
		q.left, q.unlisted = time.Time{}, false
		p.notice(now)
		q.hear(now)
		p.review(now)
		p.mu.Unlock()
		return ctx, ended
	}
	return nil, nil
}

// serve has a connection served until it ends, and judges its end.
func (p *Peering) serve(q *peer, k port.Kind, c net.Conn) {
	defer c.Close()
	ctx, ended := p.occupy(q, k)
	if ctx == nil {
		return
	}
	p.config.Logger.Debug("connected to a peer", "peer", q.info.Process.String(), "kind", k.String())
	var err error
	if k == port.Dataplane {
		err = p.config.Join(ctx, q.info.Process, &dataConn{Conn: transport.Wrap(c, p.config.Options), stream: c, ctx: ctx, polite: p.polite})
	} else {
		err = p.exchange(ctx, q, c)
	}
	p.finish(ctx, q, k, err)
	p.mu.Lock()
	delete(p.served, slot{q.info.Process, k})
	p.mu.Unlock()
	close(ended)
}

func (p *Peering) finish(ctx context.Context, q *peer, k port.Kind, err error) {
	now := p.config.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	l := q.link(k)
	ours := ctx.Err() != nil
	l.cancel(nil)
	l.cancel = nil
	if q.ctx.Err() != nil {
		return
	}
	p.notice(now)
	switch {
	case ours:
		err = context.Cause(ctx)
		q.hear(now)
	case err == nil:
		err = errors.New("the peer said goodbye")
		q.left = now
		q.hear(now)
	case errors.Is(err, errReconnect):
		q.hear(now)
	case !q.left.IsZero() || q.unlisted:
	case errors.Is(err, os.ErrDeadlineExceeded):
		// It does not take what it is sent: if it is dead its silence says so.
	case !p.thawed.IsZero() && now.Sub(p.thawed) < thawing:
		// Others may have given this process up while it stood still. A refused connection will tell whether the peer is dead.
		q.hear(now)
	default:
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("its %v connection ended without a goodbye", k)
		}
		l.lost, l.why = now, err
	}
	p.config.Logger.Debug("the connection to a peer ended", "peer", q.info.Process.String(), "kind", k.String(), "reason", err)
	p.review(now)
}

// dataConn says goodbye when this side ends a dataplane connection on purpose, whoever closes it.
type dataConn struct {
	transport.Conn
	stream net.Conn
	ctx    context.Context
	polite func(why error) bool
	once   sync.Once
}

func (c *dataConn) Close() error {
	c.once.Do(func() {
		if why := context.Cause(c.ctx); c.ctx.Err() == nil || !c.polite(why) {
			return
		}
		// A peer that takes nothing gets no goodbye.
		_ = c.stream.SetWriteDeadline(time.Now().Add(beatEvery))
		_ = errors.Join(c.Send((&dataplane.Goodbye{Reason: context.Cause(c.ctx).Error()}).Append(nil)), c.Flush())
	})
	return c.Conn.Close()
}

// polite says whether the peer is to know that this side ends a connection on purpose: a process that ends without Goodbye is taken
// for dead by design.
func (p *Peering) polite(why error) bool {
	if !errors.Is(why, errClosed) {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leaving
}

// exchange sends and receives beats. It returns nil when ctx is done, errReconnect when the peer wants a new connection, and io.EOF and
// other errors when the connection has ended.
func (p *Peering) exchange(ctx context.Context, q *peer, c net.Conn) error {
	sending, cancel := context.WithCancelCause(ctx)
	// A beat that the connection does not take must not hold up its end.
	stop := context.AfterFunc(sending, func() { _ = c.SetWriteDeadline(time.Now().Add(beatEvery)) })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.sendBeats(sending, q, c)
	}()
	err := p.receiveBeats(q, c)
	cancel(err)
	<-done
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// farewell is what is said when this side ends a connection, if the peer is to know why.
func (p *Peering) farewell(why error) (frameKind, bool) {
	switch {
	case errors.Is(why, errClosed) && p.polite(why):
		return goodbye, true
	case errors.Is(why, errDropped):
		return dropped, true
	case errors.Is(why, errReconnect), errors.Is(why, errReplaced):
		return reconnect, true
	}
	return 0, false
}

// sendBeats sends a beat per interval, and at once when one is due, until ctx is done; then it closes the connection. When nothing
// can be sent any more it leaves a moment to receive what the peer said before, its goodbye for one.
func (p *Peering) sendBeats(ctx context.Context, q *peer, c net.Conn) {
	tick := time.NewTimer(p.until(beatEvery))
	defer tick.Stop()
	buf := make([]byte, 0, frameBytes)
	send := func(k frameKind, within time.Duration) error {
		p.mu.Lock()
		f := frame{kind: k, echo: q.lastSent, received: q.lastReceived, ahead: aheadUnknown}
		p.mu.Unlock()
		if ahead, known := p.config.Ahead(); known {
			f.ahead = int64(ahead)
		}
		_ = c.SetWriteDeadline(time.Now().Add(within))
		f.sent = p.config.Clock().UnixNano()
		_, err := c.Write(f.append(buf[:0]))
		return err
	}
	for said := false; ; {
		p.mu.Lock()
		leaving := p.leaving
		p.mu.Unlock()
		k := beat
		if leaving && !said {
			k, said = goodbye, true
		}
		if send(k, time.Second) != nil {
			_ = c.SetReadDeadline(time.Now().Add(beatEvery))
			return
		}
		select {
		case <-tick.C:
			tick.Reset(p.until(beatEvery))
		case <-q.kick:
		case <-ctx.Done():
			if k, ok := p.farewell(context.Cause(ctx)); ok {
				_ = send(k, beatEvery)
			}
			c.Close()
			return
		}
	}
}

func (p *Peering) receiveBeats(q *peer, c net.Conn) error {
	b := make([]byte, frameBytes)
	// The first few are answered at once, so that the offset is known within milliseconds.
	for quick := 8; ; quick-- {
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		now := p.config.Clock()
		f, err := decodeFrame(b)
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.notice(now)
		q.hear(now)
		switch f.kind {
		case beat:
			q.lastSent, q.lastReceived = f.sent, now.UnixNano()
			q.samples.take(f, now.UnixNano())
			q.ahead = f.ahead
		case goodbye:
			q.left = now
			q.hear(now)
		case dropped:
			q.unlisted = true
		}
		p.review(now)
		p.mu.Unlock()
		p.config.Heard(q.info.Process.Node)
		if f.kind == reconnect {
			return errReconnect
		}
		if quick > 0 {
			q.kickBeat()
		}
	}
}
