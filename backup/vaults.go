package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Vaults finds the vault of a process. It gives no other process's, not even the same node's next one: *GoneError.
type Vaults interface {
	// Vault waits until the vault of p answers or an attempt to reach it that is made now has failed. What it gives stays usable
	// until its connection ends; then its calls fail, and Vault gives another.
	Vault(ctx context.Context, p topology.Process) (vault.Access, error)
}

// Dialer opens a connection to the vault of a process: the address is the node's, whichever process runs there now.
type Dialer func(ctx context.Context, p topology.Process) (vault.Conn, error)

// GoneError says that a node runs another process than the one that was asked for.
type GoneError struct {
	Process topology.Process
	Now     topology.Process // who answered
}

func (e *GoneError) Error() string {
	return fmt.Sprintf("backup: vault of %v is gone: %v answers in its place", e.Process, e.Now)
}

// ErrClosed is returned by what was closed.
var ErrClosed = errors.New("backup: closed")

const (
	dialTimeout    = 3 * time.Second
	dialBackoffMin = 20 * time.Millisecond
	dialBackoffMax = time.Second
)

// Pool keeps one connection to each vault that is asked for, and dials again, not too often, when it broke.
type Pool struct {
	self  topology.Process
	local vault.Access
	dial  Dialer

	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu     sync.Mutex
	links  map[topology.Process]*link
	closed bool
}

var _ Vaults = (*Pool)(nil)

// link is the way to one vault.
type link struct {
	cancel  context.CancelFunc
	client  *vault.Client // nil while there is none
	attempt *attempt      // under way, or nil
	backoff time.Duration
	next    time.Time // no attempt before
}

// attempt is one dialing; done is closed with client or err set.
type attempt struct {
	done   chan struct{}
	client *vault.Client
	err    error
}

// NewPool makes a pool of the process self, whose own vault is local. It owns neither local nor what dial uses.
func NewPool(self topology.Process, local vault.Access, dial Dialer) *Pool {
	p := &Pool{self: self, local: local, dial: dial, links: map[topology.Process]*link{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Vault implements Vaults.
//
// Errors: *GoneError, ErrClosed, those of dialing and ctx.
func (p *Pool) Vault(ctx context.Context, of topology.Process) (vault.Access, error) {
	if of == p.self && p.local != nil {
		return p.local, nil
	}
	if of.Node == p.self.Node {
		return nil, &GoneError{of, p.self}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrClosed
	}
	l := p.links[of]
	if l == nil {
		l = &link{}
		p.links[of] = l
	}
	if l.client != nil {
		defer p.mu.Unlock()
		return l.client, nil
	}
	if l.attempt == nil {
		p.start(of, l)
	}
	a := l.attempt
	p.mu.Unlock()
	select {
	case <-a.done:
		if a.err != nil {
			return nil, a.err
		}
		return a.client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// start begins an attempt, once the last failure is long enough ago; p.mu is held.
func (p *Pool) start(of topology.Process, l *link) {
	a := &attempt{done: make(chan struct{})}
	l.attempt = a
	wait := time.Until(l.next)
	ctx, cancel := context.WithCancel(p.ctx)
	l.cancel = cancel
	p.workers.Go(func() {
		defer cancel()
		if wait > 0 {
			t := time.NewTimer(wait)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
				p.ended(l, a, nil, fmt.Errorf("backup: vault of %v: %w", of, ErrClosed))
				return
			}
		}
		client, run, err := p.connect(ctx, of)
		p.ended(l, a, client, err)
		if err == nil {
			<-run
			p.broke(l, client)
		}
	})
}

// ended tells everybody who waits how an attempt went.
func (p *Pool) ended(l *link, a *attempt, client *vault.Client, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.client, a.err = client, err
	l.client, l.attempt = client, nil
	if err != nil {
		p.punish(l)
	}
	close(a.done)
}

// broke takes a client out whose connection has ended.
func (p *Pool) broke(l *link, client *vault.Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.client == client {
		l.client = nil
		p.punish(l)
	}
}

// punish puts the next attempt off. A connection that lived for long starts over with the shortest wait.
func (p *Pool) punish(l *link) {
	now := time.Now()
	if now.Sub(l.next) > 2*dialBackoffMax {
		l.backoff = 0
	}
	l.backoff = min(max(2*l.backoff, dialBackoffMin), dialBackoffMax)
	l.next = now.Add(l.backoff)
}

// connect dials and asks who is there. run is closed when the client has ended.
func (p *Pool) connect(ctx context.Context, of topology.Process) (client *vault.Client, run <-chan struct{}, err error) {
	dialing, stop := context.WithTimeout(ctx, dialTimeout)
	defer stop()
	conn, err := p.dial(dialing, of)
	if err != nil {
		return nil, nil, fmt.Errorf("backup: connecting to the vault of %v: %w", of, err)
	}
	client = vault.NewClient(conn)
	running, end := context.WithCancel(ctx)
	ran := make(chan struct{})
	p.workers.Go(func() {
		defer end()
		defer close(ran)
		// How the connection ended is said by the calls that it failed.
		_ = client.Run(running)
	})
	err = client.Hello(dialing)
	if now := (topology.Process{Node: client.Node(), Boot: client.Boot()}); err == nil && now != of {
		err = &GoneError{of, now}
	} else if err != nil {
		err = fmt.Errorf("backup: connecting to the vault of %v: %w", of, err)
	}
	if err != nil {
		end()
		<-ran
		return nil, nil, err
	}
	return client, ran, nil
}

// Forget ends the connection to a process that is gone for good.
func (p *Pool) Forget(of topology.Process) {
	p.mu.Lock()
	l := p.links[of]
	delete(p.links, of)
	p.mu.Unlock()
	if l != nil && l.cancel != nil {
		l.cancel()
	}
}

// Close ends all connections and waits until they have ended. The local vault stays open. Closing twice is fine.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.workers.Wait()
	return nil
}
