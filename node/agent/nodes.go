package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

const (
	// pathNode is a node on itself. The API on the control channel answers for the cluster, so on the leader only.
	pathNode = "/v1/internal/node"
	// selfWait bounds how long a node is asked what only it knows of itself.
	selfWait = 300 * time.Millisecond
)

// completed adds what only the nodes themselves know: version, start, and what their vaults hold. A node that does not answer at once
// is told of without.
func (f front) completed(ctx context.Context, list []client.Node) {
	ctx, cancel := context.WithTimeout(ctx, selfWait)
	defer cancel()
	var asking sync.WaitGroup
	for i := range list {
		n := &list[i]
		if !n.Started.IsZero() || n.Status != client.NodeAlive {
			continue
		}
		asking.Go(func() {
			own, err := f.aboutItself(ctx, n)
			if err == nil && own.Boot == n.Boot {
				n.Version, n.Started, n.UptimeMs, n.VaultBytes = own.Version, own.Started, own.UptimeMs, own.VaultBytes
			}
		})
	}
	asking.Wait()
}

func (f front) aboutItself(ctx context.Context, n *client.Node) (*client.Node, error) {
	if n.Name == string(f.a.self.Node) {
		return f.backend.Node(ctx, n.Name)
	}
	status, answer, err := f.a.member.Control().Get(ctx, n.Addresses.Data, pathNode, recordBytesMax)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("node %s answered with status %d: %.200s", n.Name, status, answer)
	}
	own := new(client.Node)
	return own, json.Unmarshal(answer, own)
}

// tellNode answers another node's aboutItself.
func (a *Agent) tellNode(w http.ResponseWriter, r *http.Request) {
	own, err := backend{a}.Node(r.Context(), string(a.self.Node))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(own) //nolint:errcheck // the peer has gone
}
