package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/autoscale/provider/ec2"
	"github.com/seepnode/seepnode/autoscale/provider/ec2/fake"
	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/node/agent/gossip"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/blackhole"
	"github.com/seepnode/seepnode/node/connector/datagen"
	"github.com/seepnode/seepnode/node/connector/filesystem"
	"github.com/seepnode/seepnode/raftfsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testToken is what HTTP asks for: its listeners are on hosts of the network in memory.
const testToken = "0123456789abcdef"

// cluster is agents in one process, over a network in memory, with gossip that knows everything at once.
type cluster struct {
	t   *testing.T
	net *port.Memory
	dir string

	mu     sync.Mutex
	agents map[string]*Agent
	gossip *gossip.Registry
	disks  map[string]*disk
	boots  uint64
	// provide makes the provider of nodes, for agents that have one.
	provide Provide
	// metadata are the metadata services of nodes that are machines of EC2, by name.
	metadata map[string]*fake.Metadata
}

// disk is what of a node outlives its process.
type disk struct {
	stores *raftfsm.Stores
	vault  *vault.Memory
	slow   time.Duration // what it takes to look into the vault's directory
}

// slowFS is a file system that takes its time.
type slowFS struct {
	vault.FS
	list time.Duration
}

func (f slowFS) List(dir string) ([]string, error) {
	time.Sleep(f.list)
	return f.FS.List(dir)
}

func newCluster(t *testing.T) *cluster {
	return &cluster{t: t, net: port.NewMemory(), dir: t.TempDir(), agents: map[string]*Agent{}, gossip: gossip.NewRegistry(), disks: map[string]*disk{}, metadata: map[string]*fake.Metadata{}}
}

func (c *cluster) join(name string, tags gossip.Tags) (gossip.Membership, error) {
	return c.gossip.Open(name, net.JoinHostPort(name, "7601"), tags), nil
}

// registry is what test binaries know.
func registry(t *testing.T) *connector.Registry {
	t.Helper()
	r := &connector.Registry{}
	if err := errors.Join(r.Register(datagen.Definition()), r.Register(blackhole.Definition()), r.Register(filesystem.Definition())); err != nil {
		t.Fatal(err)
	}
	return r
}

func (c *cluster) config(name string) Config {
	config := DefaultConfig()
	config.Name, config.Advertise, config.HTTP, config.Token = name, name, "0.0.0.0:7600", testToken
	config.DataDir, config.Connectors = filepath.Join(c.dir, name), registry(c.t)
	config.AllowPaths = []string{c.dir}
	config.Autoscale = AutoscaleOff
	return config
}

// start starts a node on the disk that it had before, if any.
func (c *cluster) start(name string, tune func(*Config)) *Agent {
	c.t.Helper()
	config := c.config(name)
	if tune != nil {
		tune(&config)
	}
	d := c.disks[name]
	if d == nil {
		d = &disk{stores: raftfsm.MemoryStores(), vault: vault.NewMemory()}
		c.disks[name] = d
	}
	options := []Option{WithNetwork(c.net.Host(name), c.join), WithLogger(testLogger(c.t, name)), WithChance(c.chance), WithProvider(c.provide),
		WithRaft(func(r *raftfsm.Config) { r.Dir, r.Stores = "", d.stores }), WithVault(func(v *vault.Config) { v.FS = slowFS{d.vault, d.slow} })}
	if m := c.metadata[name]; m != nil {
		options = append(options, WithMetadata(ec2.MetadataThrough("http://metadata.test", m)))
	}
	a, err := Start(c.t.Context(), config, options...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.agents[name] = a
	c.mu.Unlock()
	return a
}

// testLogger is silent unless SEEPNODE_TEST_LOG is set.
func testLogger(t *testing.T, name string) *slog.Logger {
	if os.Getenv("SEEPNODE_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", name)
}

// chance draws 1, 2, 3: a failing test fails again.
func (c *cluster) chance() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.boots++
	return c.boots, nil
}

// kill ends a node as if its process had been killed: nobody is told.
func (c *cluster) kill(a *Agent) {
	c.t.Helper()
	name := a.config.Name
	c.net.Kill(name)
	c.gossip.Kill(name, time.Second)
	c.disks[name].vault.Kill()
	if err := a.Close(); err != nil {
		c.t.Logf("closing what was killed: %v", err)
	}
	c.mu.Lock()
	delete(c.agents, name)
	c.mu.Unlock()
}

func (c *cluster) close() {
	for _, a := range c.running() {
		if err := errors.Join(a.Close(), a.Close()); err != nil {
			c.t.Errorf("%s: %v", a.config.Name, err)
		}
	}
}

// running are the agents ascending by name.
func (c *cluster) running() []*Agent {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*Agent
	for _, a := range c.agents {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *Agent) int { return strings.Compare(a.config.Name, b.config.Name) })
	return list
}

// ready waits until a node works.
func (c *cluster) ready(agents ...*Agent) {
	c.t.Helper()
	for _, a := range agents {
		var err error
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if err = (backend{a}).Ready(c.t.Context()); err == nil {
				break
			}
		}
		if err != nil {
			c.t.Fatalf("%s is not ready after a minute: %v; %v", a.config.Name, err, a.Err())
		}
	}
}

// three are n1, n2 and n3, which found a cluster together.
func (c *cluster) three() []*Agent {
	c.t.Helper()
	var list []*Agent
	for i := 1; i <= 3; i++ {
		list = append(list, c.start(fmt.Sprintf("n%d", i), func(k *Config) { k.BootstrapExpect, k.Join = 3, everybody }))
	}
	c.ready(list...)
	return list
}

// leader waits for one.
func (c *cluster) leader() *Agent {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, a := range c.running() {
			if _, ok := a.member.Group().Leads(); ok {
				return a
			}
		}
	}
	c.t.Fatal("no leader for a minute")
	return nil
}

// api is a person's client at a node.
func (c *cluster) api(a *Agent) *client.Client {
	c.t.Helper()
	host := c.net.Host("person")
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return host.Dial(ctx, address) }}
	k, err := client.New(client.Config{Address: a.HTTPAddr(), Token: testToken, HTTPClient: &http.Client{Transport: transport}, RetryFor: 30 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

// everybody is where the nodes of tests gossip.
var everybody = []string{"n1:7601", "n2:7601", "n3:7601"}
