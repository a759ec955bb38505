package gossip

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// DefaultPort is the gossip port where an address names none.
const DefaultPort = 7601

// Membership is who is there, as this process has heard it.
type Membership interface {
	// Members gives all that are known, this process among them, ascending by name; those that have failed or left stay for some
	// minutes.
	Members() []Member
	// Changed gives a channel that is closed at the next change of Members. Ask for it before Members, so that none is missed.
	Changed() <-chan struct{}
	// Join finds the cluster through any of the addresses ("host", "host:port"; all addresses of a name are tried) and keeps trying
	// until it has. Afterwards it goes on joining them from time to time in the background, to heal partitions. Errors: ctx's,
	// *NameInUseError, net.ErrClosed.
	Join(ctx context.Context, addresses []string) error
	// SetTags tells the others something new about this process.
	SetTags(t Tags) error
	// Leave tells the others that this process goes on purpose. It takes a second or two.
	Leave(ctx context.Context) error
	// Close ends it. Without Leave the others will take this process for failed. Closing twice is fine.
	Close() error
}

// Status is what is known of a member.
type Status string

const (
	Alive  Status = "alive"
	Failed Status = "failed"
	Left   Status = "left"
)

// Member is a process as the others hear of it.
type Member struct {
	Name    string
	Address string // of its gossip, "ip:port"
	Tags    Tags
	Status  Status
}

// Process is the member's node and boot id.
func (m Member) Process() topology.Process {
	return topology.Process{Node: topology.NodeID(m.Name), Boot: m.Tags.Boot}
}

// Tags are what a process says of itself. On the wire they may take 512 bytes in all, which two long host names do not reach.
type Tags struct {
	Data    string // address of the data port
	HTTP    string // address of the HTTP API, for people
	Cluster uint64 // the cluster's id, 0 while it is not known
	Expect  int    // --bootstrap-expect, 0 without
	Boot    topology.BootID
}

const (
	tagData    = "d"
	tagHTTP    = "h"
	tagCluster = "c"
	tagExpect  = "e"
	tagBoot    = "b"
)

func (t Tags) encode() map[string]string {
	m := map[string]string{tagData: t.Data, tagHTTP: t.HTTP, tagBoot: strconv.FormatUint(uint64(t.Boot), 16)}
	if t.Cluster != 0 {
		m[tagCluster] = strconv.FormatUint(t.Cluster, 16)
	}
	if t.Expect != 0 {
		m[tagExpect] = strconv.Itoa(t.Expect)
	}
	return m
}

// decodeTags reads what a member says of itself, whatever that is: what is no number is 0.
func decodeTags(m map[string]string) Tags {
	number := func(key string) uint64 {
		n, err := strconv.ParseUint(m[key], 16, 64)
		if err != nil {
			return 0
		}
		return n
	}
	expect, err := strconv.Atoi(m[tagExpect])
	if err != nil || expect < 0 {
		expect = 0
	}
	return Tags{Data: m[tagData], HTTP: m[tagHTTP], Cluster: number(tagCluster), Expect: expect, Boot: topology.BootID(number(tagBoot))}
}

// NameInUseError says that another process, which answers, has this one's name.
type NameInUseError struct {
	Name    string
	Address string // of the other's gossip
	Data    string // of the other's data port
}

func (e *NameInUseError) Error() string {
	return fmt.Sprintf("name %q is in use by the process at %s (data port %s): end it first, or give this one another --name (and its own --data-dir)", e.Name, e.Address, e.Data)
}

// nextPause is how long to wait before another attempt to join.
func nextPause(last time.Duration) time.Duration {
	return min(max(2*last, 500*time.Millisecond), 10*time.Second)
}
