package gossip

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

// Registry is a gossip in memory for tests in virtual time: its processes hear of each other at once, and of failures when the test
// says so.
type Registry struct {
	mu      sync.Mutex
	members []*Static // all that ever were and were not replaced
	groups  int
	unseen  map[[2]string]bool // observer and observed
	changed chan struct{}
}

// NewRegistry makes a gossip without members.
func NewRegistry() *Registry {
	return &Registry{unseen: map[[2]string]bool{}, changed: make(chan struct{})}
}

// change makes a change and wakes all that wait.
func (r *Registry) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// Static is the Membership of one process of a Registry.
type Static struct {
	registry *Registry
	self     Member // under registry.mu
	gone     bool   // ended, whether or not the others know it
	group    int    // those of a group have joined each other
	done     chan struct{}
}

// Open adds a process that gossips at address, "host:port"; it is alone until it joins or is joined.
func (r *Registry) Open(name, address string, t Tags) *Static {
	s := &Static{registry: r, self: Member{Name: name, Address: address, Tags: t, Status: Alive}, done: make(chan struct{})}
	r.change(func() {
		r.groups++
		s.group = r.groups
		r.members = append(r.members, s)
	})
	return s
}

// Kill ends the process of a name: nobody can join through it any more, and the others know that it has failed after detect.
func (r *Registry) Kill(name string, detect time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var dead []*Static
	for _, s := range r.members {
		if s.self.Name == name && !s.gone {
			s.end()
			dead = append(dead, s)
		}
	}
	time.AfterFunc(detect, func() {
		r.change(func() {
			for _, s := range dead {
				s.fail()
			}
		})
	})
}

// SetUnseen makes an observer take a member for failed, or see again what it really is.
func (r *Registry) SetUnseen(observer, name string, unseen bool) {
	r.change(func() { r.unseen[[2]string{observer, name}] = unseen })
}

func (s *Static) end() {
	if !s.gone {
		s.gone = true
		close(s.done)
	}
}

func (s *Static) fail() {
	if s.self.Status == Alive {
		s.self.Status = Failed
	}
}

// Members implements Membership.
func (s *Static) Members() []Member {
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []Member{s.self}
	for _, o := range r.members {
		x := o.self
		if o == s || o.group != s.group || x.Name == s.self.Name || x.Tags.Cluster != 0 && s.self.Tags.Cluster != 0 && x.Tags.Cluster != s.self.Tags.Cluster {
			continue
		}
		if r.unseen[[2]string{s.self.Name, x.Name}] && x.Status == Alive {
			x.Status = Failed
		}
		// Of several processes of a name the last one counts.
		all = slices.DeleteFunc(all, func(m Member) bool { return m.Name == x.Name })
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Changed implements Membership.
func (s *Static) Changed() <-chan struct{} {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	return s.registry.changed
}

// Join implements Membership.
func (s *Static) Join(ctx context.Context, addresses []string) error {
	if len(addresses) == 0 {
		return errors.New("gossip: no address to join")
	}
	for {
		s.registry.mu.Lock()
		changed := s.registry.changed
		s.registry.mu.Unlock()
		joined, err := s.attempt(addresses)
		if joined || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return net.ErrClosed
		}
	}
}

func (s *Static) attempt(addresses []string) (joined bool, err error) {
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.gone {
		return false, net.ErrClosed
	}
	for _, o := range slices.Clone(r.members) {
		if o == s || o.gone || !slices.Contains(addresses, o.self.Address) {
			continue
		}
		for _, x := range r.members {
			if x != s && x.group == o.group && x.self.Name == s.self.Name && !x.gone && x.self.Tags.Boot != s.self.Tags.Boot {
				return false, &NameInUseError{Name: s.self.Name, Address: x.self.Address, Data: x.self.Tags.Data}
			}
		}
		joined = true
		from := o.group
		for _, x := range r.members {
			if x.group == from {
				x.group = s.group
			}
		}
	}
	if joined {
		close(r.changed)
		r.changed = make(chan struct{})
	}
	return joined, nil
}

// SetTags implements Membership.
func (s *Static) SetTags(t Tags) error {
	var err error
	s.registry.change(func() {
		if s.gone {
			err = net.ErrClosed
			return
		}
		s.self.Tags = t
	})
	return err
}

// Leave implements Membership.
func (s *Static) Leave(context.Context) error {
	s.registry.change(func() {
		if s.self.Status == Alive {
			s.self.Status = Left
		}
	})
	return nil
}

// Close implements Membership. Without Leave the others know at once that the process has failed; Kill before it delays that.
func (s *Static) Close() error {
	s.registry.change(func() {
		if !s.gone {
			s.fail()
		}
		s.end()
	})
	return nil
}

var _ Membership = (*Static)(nil)
