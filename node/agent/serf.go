package agent

import "github.com/seepnode/seepnode/raftfsm/topology"

// startSerf starts gossip over the network.
func (a *Agent) startSerf(topology.NodeID, map[string]string, func()) (Gossiper, error) {
	return alone{}, nil
}
