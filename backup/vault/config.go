package vault

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Config says where a vault is and how it behaves. DefaultConfig has values for all but the first four.
type Config struct {
	Dir     string          // made when it is not there
	Cluster string          // a directory of another cluster is refused; at most 64 bytes
	Node    topology.NodeID // a directory of another node is refused; at most 64 bytes
	Boot    topology.BootID // of this process: seal logs are joined under it

	FS     FS           // nil is OS
	Logger *slog.Logger // nil says nothing

	CommitDelay  time.Duration // how long the first put waits for others to share its fsync; 0: not at all, those that come while one runs share the next
	CommitBytes  int           // of deltas in one commit at most, so that seals wait for no more
	PendingBytes int           // of deltas, and again of seals, that wait for their fsync; more puts wait
	SegmentBytes int64         // after which a new file is begun; at most 1 GiB
	ReserveBytes int64         // kept free on disk, so that seals and trims go on for a while when it is full
	RetryDelay   time.Duration // after which seals that are held but found no room are written again
	// ManualCompaction leaves all compaction to calls of Compact.
	ManualCompaction bool
}

// DefaultConfig is a vault in dir with the sizes that are meant for production.
func DefaultConfig(dir, cluster string, node topology.NodeID, boot topology.BootID) Config {
	return Config{Dir: dir, Cluster: cluster, Node: node, Boot: boot, CommitBytes: 8 << 20,
		PendingBytes: 128 << 20, SegmentBytes: 64 << 20, ReserveBytes: 1 << 20, RetryDelay: 250 * time.Millisecond}
}

// Validate says which setting makes no sense.
func (c *Config) Validate() error {
	switch {
	case c.Dir == "":
		return fmt.Errorf("vault: no directory is given")
	case len(c.Cluster) > headerTextMax || len(c.Node) > headerTextMax:
		return fmt.Errorf("vault: the names of cluster %q and node %q may have %d bytes each", c.Cluster, c.Node, headerTextMax)
	case c.Boot == 0:
		return fmt.Errorf("vault: boot id 0 stands for none")
	case c.CommitDelay < 0 || c.RetryDelay <= 0:
		return fmt.Errorf("vault: commit delay %v must not be negative, retry delay %v must be positive", c.CommitDelay, c.RetryDelay)
	case c.CommitBytes <= 0 || c.PendingBytes <= 0 || c.ReserveBytes < 0 || max(c.CommitBytes, c.PendingBytes) > 1<<30:
		return fmt.Errorf("vault: commit bytes %d and pending bytes %d must be positive and at most 1 GiB, reserve bytes %d not negative", c.CommitBytes, c.PendingBytes, c.ReserveBytes)
	case c.SegmentBytes < segmentHeaderBytes || c.SegmentBytes > 1<<30:
		return fmt.Errorf("vault: segment bytes %d must be between %d and %d", c.SegmentBytes, segmentHeaderBytes, 1<<30)
	}
	return nil
}
