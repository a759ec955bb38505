package cluster

import (
	"errors"
	"fmt"
	"slices"
)

// Ports of agents that have an address of their own.
const (
	networkHTTPPort   = 7600
	networkGossipPort = 7601
	networkDataPort   = 7602
)

// Cut loses all that agent from sends to agent to, silently; the other way is not touched. It takes effect on open connections, too.
// Requests of this program's clients are never cut.
func (c *Cluster) Cut(from, to int) error { return c.reach(from, to, false) }

// Mend ends a Cut.
func (c *Cluster) Mend(from, to int) error { return c.reach(from, to, true) }

func (c *Cluster) reach(from, to int, reaches bool) error {
	if c.network == nil {
		return errors.New("agents without a network of their own cannot be cut off")
	}
	if n := c.Len(); from < 0 || to < 0 || from >= n || to >= n || from == to {
		return fmt.Errorf("there is nothing between agents %d and %d of %d", from, to, n)
	}
	if err := c.network.reach(from+1, to+1, reaches); err != nil {
		return fmt.Errorf("between %s and %s: %w", c.Agent(from).Name, c.Agent(to).Name, err)
	}
	return nil
}

// Isolate cuts both ways between the agents with these numbers and all others, those that do not run included.
func (c *Cluster) Isolate(agents ...int) error { return c.border(agents, false) }

// Rejoin ends an Isolate.
func (c *Cluster) Rejoin(agents ...int) error { return c.border(agents, true) }

func (c *Cluster) border(agents []int, reaches bool) error {
	for other := range c.Len() {
		if slices.Contains(agents, other) {
			continue
		}
		for _, i := range agents {
			if err := errors.Join(c.reach(i, other, reaches), c.reach(other, i, reaches)); err != nil {
				return err
			}
		}
	}
	return nil
}
