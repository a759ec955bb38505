package agent

import (
	"context"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// selfWait bounds how long a node is asked what only it knows of itself.
const selfWait = 300 * time.Millisecond

// completed adds what only the nodes themselves know: version, start, and what their vaults hold. A node that does not answer at once
// is told of without.
func (f front) completed(ctx context.Context, list []client.Node) {
	ctx, cancel := context.WithTimeout(ctx, selfWait)
	defer cancel()
	var asking sync.WaitGroup
	for i := range list {
		n := &list[i]
		if n.Version != "" || n.Status != client.NodeAlive {
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
	return askPeer(f.a, n.Addresses.Data, func(c *client.Client) (*client.Node, error) { return c.Node(ctx, n.Name) })
}
