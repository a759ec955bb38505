package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// others counts the other members of this cluster that are alive.
func (s *Serf) others() (n int) {
	for _, m := range s.Members() {
		if m.Name != s.config.Name && m.Status == Alive {
			n++
		}
	}
	return n
}

// Join implements Membership.
func (s *Serf) Join(ctx context.Context, addresses []string) error {
	if len(addresses) == 0 {
		return errors.New("gossip: no address to join")
	}
	result := make(chan error, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	// An attempt cannot be interrupted; Join can.
	s.wg.Go(func() { result <- s.join(ctx, addresses) })
	s.mu.Unlock()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ctx.Done():
		return net.ErrClosed
	}
}

// join tries until it has joined, then has it done again from time to time.
func (s *Serf) join(ctx context.Context, addresses []string) error {
	pause, reason, said := time.Duration(0), "", time.Time{}
	for {
		err := s.attempt(ctx, addresses)
		if err == nil && sleep(ctx, s.ctx, confirmAfter) {
			// Of two processes of a name that join at the same time, one hears only now that the other was first.
			err = s.attempt(ctx, addresses)
		}
		var taken *NameInUseError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case s.ctx.Err() != nil:
			return net.ErrClosed
		case errors.As(err, &taken):
			return err
		case err == nil:
			s.config.Logger.Info("joined", "members", s.others()+1)
			s.mu.Lock()
			again := !s.rejoins
			s.joined, s.rejoins = true, true
			if again && !s.closed {
				s.wg.Go(func() { s.rejoin(addresses) })
			}
			s.mu.Unlock()
			return nil
		}
		if text := err.Error(); shape(text) != shape(reason) || time.Since(said) > joinSaidEvery {
			s.config.Logger.Warn("cannot join yet: trying again until it works", "join", strings.Join(addresses, " "), "reason", text)
			reason, said = text, time.Now()
		}
		pause = nextPause(pause)
		if !sleep(ctx, s.ctx, pause) {
			continue // says why at the top
		}
	}
}

// sleep waits, unless one of the contexts is done first.
func sleep(a, b context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-a.Done():
	case <-b.Done():
	}
	return false
}

func (s *Serf) rejoin(addresses []string) {
	for {
		pause := joinedAgainEvery
		s.mu.Lock()
		rival := s.rival != nil
		s.mu.Unlock()
		if rival {
			pause = rivalAgainEvery
		} else if s.others() == 0 {
			pause = aloneAgainEvery
		}
		if !sleep(s.ctx, s.ctx, pause) {
			return
		}
		if err := s.attempt(s.ctx, addresses); err != nil {
			s.config.Logger.Debug("joining again failed", "reason", err)
		}
	}
}

// attempt joins every address that answers. It is nil when there are others afterwards.
func (s *Serf) attempt(ctx context.Context, addresses []string) error {
	s.mu.Lock()
	s.rival = nil
	s.mu.Unlock()
	var failures []error
	tried := map[string]bool{s.Address(): true}
	for _, a := range addresses {
		targets, err := s.find(ctx, a)
		if err != nil {
			failures = append(failures, err)
		}
		for _, target := range targets {
			if tried[target] || ctx.Err() != nil || s.ctx.Err() != nil {
				continue
			}
			tried[target] = true
			if _, err := s.serf.Join([]string{target}, true); err != nil {
				failures = append(failures, explainJoin(a, target, err))
			}
		}
	}
	if err := s.challenge(ctx); err != nil {
		return err
	}
	switch {
	case s.others() > 0:
		return nil
	case len(failures) > 0:
		return errors.Join(failures...)
	}
	return errors.New("nobody but this process itself is at these addresses")
}

// challenge finds out whether the other process of this name that was heard of is there. One that has joined before is not the
// newcomer and stays.
func (s *Serf) challenge(ctx context.Context) error {
	s.mu.Lock()
	r, joined := s.rival, s.joined
	s.mu.Unlock()
	if r == nil || joined || r.address == s.Address() {
		return nil // at this process' own address there is nobody else
	}
	addr, err := net.ResolveUDPAddr("udp", r.address)
	if err != nil {
		return nil
	}
	for range conflictPings {
		if _, err := s.serf.Memberlist().Ping(s.config.Name, addr); err == nil {
			return &NameInUseError{Name: s.config.Name, Address: r.address, Data: r.tags.Data}
		}
		if ctx.Err() != nil || s.ctx.Err() != nil {
			return nil
		}
	}
	s.config.Logger.Info("an earlier process of this node is known to the cluster and does not answer", "address", r.address, "boot", fmt.Sprintf("%x", uint64(r.tags.Boot)))
	return nil
}

// find gives the addresses of all members that one to join stands for, "ip:port".
func (s *Serf) find(ctx context.Context, place string) (all []string, err error) {
	if s.config.Find == nil {
		return s.resolve(ctx, place)
	}
	list, err := s.config.Find(ctx, place)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, address := range list {
		targets, err := s.resolve(ctx, address)
		all, errs = append(all, targets...), append(errs, err)
	}
	return all, errors.Join(errs...)
}

// resolve gives the addresses of a member to join, "ip:port".
func (s *Serf) resolve(ctx context.Context, address string) ([]string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = strings.Trim(address, "[]"), strconv.Itoa(DefaultPort)
	}
	_, noIP := netip.ParseAddr(host)
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || noIP != nil && strings.ContainsAny(host, ":/ ") {
		return nil, fmt.Errorf("%q is no address: write HOST or HOST:PORT", address)
	}
	if noIP == nil {
		return []string{net.JoinHostPort(netip.MustParseAddr(host).Unmap().String(), port)}, nil
	}
	lookup, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ips, err := s.config.Resolve(lookup, host)
	if err != nil {
		return nil, fmt.Errorf("%s: the name %q cannot be resolved: %w", address, host, err)
	}
	all := make([]string, 0, len(ips))
	for _, ip := range ips {
		all = append(all, net.JoinHostPort(ip.Unmap().String(), port))
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// explainJoin says what it means that an address could not be joined.
func explainJoin(address, target string, err error) error {
	text := err.Error()
	where := address
	if where != target {
		where += " (" + target + ")"
	}
	switch {
	case strings.Contains(text, keyTrouble[0].text):
		return fmt.Errorf("%s has another encryption key than this process: %s", where, sameKey)
	case strings.Contains(text, keyTrouble[1].text):
		return fmt.Errorf("%s has no encryption key, and this process has one: %s", where, sameKey)
	case strings.Contains(text, keyTrouble[2].text):
		return fmt.Errorf("%s has an encryption key, and this process has none: %s", where, sameKey)
	case strings.Contains(text, "is of cluster"):
		_, reason, _ := strings.Cut(text, "failed to join ")
		return fmt.Errorf("%s is of another cluster: %s; check --join, or start with an empty --data-dir", where, strings.TrimSpace(reason))
	case strings.Contains(text, "connection refused"):
		return fmt.Errorf("%s: nobody listens there (yet)", where)
	case strings.Contains(text, "i/o timeout"), strings.Contains(text, "deadline exceeded"):
		return fmt.Errorf("%s does not answer", where)
	case strings.Contains(text, "invalid msgType"), strings.Contains(text, "EOF"), strings.Contains(text, "connection reset"):
		return fmt.Errorf("%s ended the connection: is it a seepnode's gossip port (--gossip-port, %d by default)?", where, DefaultPort)
	}
	return fmt.Errorf("%s: %w", where, err)
}
