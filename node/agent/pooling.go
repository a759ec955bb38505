package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/autoscale"
	"github.com/seepnode/seepnode/autoscale/pool"
	"github.com/seepnode/seepnode/autoscale/provider"
	"github.com/seepnode/seepnode/autoscale/provider/ec2"
	"github.com/seepnode/seepnode/autoscale/provider/exec"
	"github.com/seepnode/seepnode/autoscale/provider/local"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// settingLaunches counts, in the cluster's settings, the launches there ever were: no token is given twice.
const settingLaunches = "pool.launches"

// tagInstance is the tag of a node that says which instance of a provider it runs on.
const tagInstance = "instance"

// InstanceIMDS is the Config.Instance of a machine that is to ask EC2 which one it is.
const InstanceIMDS = "imds"

// Provide makes the provider that starts nodes of a cluster. It is asked when this node begins to lead.
type Provide func(ctx context.Context, a *Agent, cluster string) (provider.Provider, error)

// poolConfig are the pool's limits and the provider's options; an error says what is wrong with them.
func (c *Config) poolConfig() (pool.Config, *provider.Options, error) {
	p := pool.DefaultConfig()
	p.Spares, p.Max = c.Spares, c.MaxNodes
	if c.Provider == providerLocal {
		p.DeadlineMs = 60_000
	}
	o := provider.NewOptions(c.Provider, c.ProviderOptions)
	for key, into := range map[string]*int64{"launch-deadline": &p.DeadlineMs, "idle-timeout": &p.IdleMs} {
		text := o.Text(key, "")
		if text == "" {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second {
			return p, o, fmt.Errorf("--provider-option %s=%s: give a time of at least 1s, like 90s or 3m", key, text)
		}
		*into = d.Milliseconds()
	}
	return p, o, nil
}

// Names of providers.
const (
	providerLocal = "local"
	providerExec  = "exec"
	providerEC2   = "ec2"
)

// policy is what the policies of queries' sizes are told; an error says what is wrong with the options.
func (c *Config) policy() (autoscale.Config, error) {
	p := autoscale.DefaultConfig()
	if c.Autoscale != AutoscaleOff {
		p.Policy = c.Autoscale
	}
	for _, key := range slices.Sorted(maps.Keys(c.AutoscaleOptions)) {
		if err := p.Set(key, c.AutoscaleOptions[key]); err != nil {
			return p, fmt.Errorf("--autoscale-option: %w", err)
		}
	}
	return p, nil
}

func (c *Config) checkAutoscale() error {
	var errs []error
	if !slices.Contains([]string{autoscale.PolicyRate, autoscale.PolicyThreshold, AutoscaleOff}, c.Autoscale) {
		errs = append(errs, fmt.Errorf("--autoscale %q: give %s, %s or %s", c.Autoscale, autoscale.PolicyRate, autoscale.PolicyThreshold, AutoscaleOff))
	}
	if _, err := c.policy(); err != nil {
		errs = append(errs, err)
	}
	if strings.ContainsAny(c.Instance, " \t\r\n") || len(c.Instance) > 256 {
		errs = append(errs, fmt.Errorf("--instance %.60q: give the id of the machine, or %s", c.Instance, InstanceIMDS))
	}
	if c.Provider == "" {
		if c.Spares > 0 || c.MaxNodes > 0 || len(c.ProviderOptions) > 0 {
			errs = append(errs, errors.New("--spares, --max-nodes and --provider-option are for a --provider: give local, exec or ec2"))
		}
		return errors.Join(errs...)
	}
	if c.MaxNodes <= 0 {
		errs = append(errs, fmt.Errorf("--provider %s needs --max-nodes N: the cluster never has more nodes than that", c.Provider))
	}
	if c.Spares < 0 || c.MaxNodes > 0 && c.Spares >= c.MaxNodes || c.MaxNodes > raftfsm.MaxNodes {
		errs = append(errs, fmt.Errorf("--spares %d of --max-nodes %d: give fewer spares than nodes, and at most %d nodes", c.Spares, c.MaxNodes, raftfsm.MaxNodes))
	}
	_, o, err := c.poolConfig()
	if err != nil {
		errs = append(errs, err)
	}
	switch c.Provider {
	case providerLocal:
		o.Text("dir", "")
	case providerExec:
		o.Need("launch", "COMMAND")
		o.Need("terminate", "COMMAND")
		o.Need("list", "COMMAND")
	case providerEC2:
		o.Need("template", "ID-OR-NAME[:VERSION]")
		o.OneOf("market", ec2.OnDemand, ec2.OnDemand, ec2.Spot, ec2.SpotFirst)
		for _, key := range []string{"region", "endpoint", "subnets", "type"} {
			o.Text(key, "")
		}
		if _, err := ec2.ParseTags(o.Text("tags", "")); err != nil {
			errs = append(errs, fmt.Errorf("--provider-option tags: %w", err))
		}
	default:
		return errors.Join(append(errs, fmt.Errorf("--provider %q: give %s, %s or %s", c.Provider, providerLocal, providerExec, providerEC2))...)
	}
	return errors.Join(append(errs, o.Err())...)
}

// provide makes the configured provider.
func provide(ctx context.Context, a *Agent, cluster string) (provider.Provider, error) {
	_, o, err := a.config.poolConfig()
	if err != nil {
		return nil, err
	}
	switch a.config.Provider {
	case providerLocal:
		return a.localProvider(o, cluster)
	case providerExec:
		return exec.New(exec.Config{Cluster: cluster, Launch: o.Need("launch", ""), Terminate: o.Need("terminate", ""), List: o.Need("list", ""), Join: a.gossipAddresses})
	}
	var subnets []string
	if text := o.Text("subnets", ""); text != "" {
		subnets = strings.FieldsFunc(text, func(r rune) bool { return r == '+' || r == ',' || r == ' ' })
	}
	tags, err := ec2.ParseTags(o.Text("tags", ""))
	if err != nil {
		return nil, err
	}
	return ec2.New(ctx, ec2.Config{Access: ec2.Access{Region: o.Text("region", ""), Endpoint: o.Text("endpoint", "")}, Cluster: cluster,
		Template: o.Need("template", ""), Market: o.Text("market", ""), Subnets: subnets, Type: o.Text("type", ""), Tags: tags})
}

// gossipAddresses are where a new node finds the cluster.
func (a *Agent) gossipAddresses() []string {
	const most = 5
	var out []string
	for _, n := range a.Machine().View().Nodes {
		if n.Status == raftfsm.Alive && n.Addresses.Gossip != "" && len(out) < most {
			out = append(out, n.Addresses.Gossip)
		}
	}
	return out
}

// offspring is a provider of processes that end with this one.
type offspring interface {
	provider.Provider
	// Tokens are those of the processes that it started and that have not been seen to end.
	Tokens() []string
	// Revive starts again those that have ended and of which something is still needed, with their disks.
	Revive(ctx context.Context) (tokens []string, err error)
	// Close ends them. Twice is fine.
	Close() error
}

// localProvider starts this binary again on this host. It is kept for the life of the agent: its children end with it.
func (a *Agent) localProvider(o *provider.Options, cluster string) (provider.Provider, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.children != nil {
		return a.children, nil
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l, err := local.New(local.Config{Cluster: cluster, Dir: o.Text("dir", filepath.Join(os.TempDir(), "seepnode-local")), Program: program, Args: a.localArgs, Env: a.localEnv(), Keep: a.needed})
	if err != nil {
		return nil, err
	}
	a.children = l
	return l, nil
}

// localArgs are those of a child: ports of its own, no vote, and otherwise like this agent.
func (a *Agent) localArgs(token, dir string) []string {
	_, number, _ := strings.Cut(token, "-")
	args := []string{"agent", "--name", "local-" + number, "--instance", token, "--bind", a.config.Bind, "--gossip-port", "0", "--data-port", "0", "--http", "127.0.0.1:0",
		"--data-dir", filepath.Join(dir, "data"), "--tag", raftfsm.RoleTag + "=" + raftfsm.RoleWorker, "--autoscale", a.config.Autoscale, "--log-level", strings.ToLower(a.config.LogLevel.String())}
	for _, key := range slices.Sorted(maps.Keys(a.config.AutoscaleOptions)) {
		args = append(args, "--autoscale-option", key+"="+a.config.AutoscaleOptions[key])
	}
	if a.config.Advertise != "" {
		args = append(args, "--advertise", a.config.Advertise)
	}
	if zone := a.config.Tags["zone"]; zone != "" {
		args = append(args, "--tag", "zone="+zone)
	}
	if a.config.MemoryLimit > 0 {
		args = append(args, "--memory-limit", strconv.FormatInt(a.config.MemoryLimit, 10))
	}
	if a.config.LogMemory > 0 {
		args = append(args, "--log-memory", strconv.FormatInt(a.config.LogMemory, 10))
	}
	if a.config.SpillLimit != DefaultSpillLimit {
		args = append(args, "--spill-limit", strconv.FormatInt(a.config.SpillLimit, 10))
	}
	if t := a.config.TLS; t.Cert != "" {
		args = append(args, "--tls-cert", t.Cert, "--tls-key", t.Key, "--tls-ca", t.CA)
	}
	if a.config.EncryptKeyFile != "" {
		args = append(args, "--encrypt-key-file", a.config.EncryptKeyFile)
	}
	for _, path := range a.config.AllowPaths {
		args = append(args, "--allow-path", path)
	}
	for _, peer := range a.gossipAddresses() {
		args = append(args, "--join", peer)
	}
	return args
}

// localEnv is this process's environment without the settings in it: those of a child are its arguments. Its standard input ends with
// this process, and it with that.
func (a *Agent) localEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "SEEPNODE_") })
	env = append(env, "SEEPNODE_PARENT=stdin")
	if a.config.Token != "" {
		env = append(env, "SEEPNODE_TOKEN="+a.config.Token)
	}
	return env
}

// runPool keeps the pool until ctx ends.
func (a *Agent) runPool(ctx context.Context) {
	config, _, err := a.config.poolConfig()
	if err != nil || a.config.Provider == "" {
		return
	}
	cluster := port.ClusterName(a.Machine().View().Cluster.ID)
	var p provider.Provider
	for {
		if p, err = a.world.provide(ctx, a, cluster); err == nil {
			break
		}
		a.log.Error("pool: the provider cannot be used; it is tried again", "provider", a.config.Provider, "error", err)
		a.scaler.poolStands(pool.Standing{AtMs: a.clock.now().UnixMilli(), Error: err.Error(), Waiting: "the provider cannot be used"})
		if !sleep(ctx, provideAgain) {
			return
		}
	}
	if o, ok := p.(offspring); ok {
		a.revive(ctx, o)
		var beside sync.WaitGroup
		beside.Go(func() { a.reviveWaiting(ctx, o) })
		defer beside.Wait()
	}
	(&pool.Runner{Machine: pool.NewMachine(config), Provider: p, Cluster: poolCluster{a, cluster}, Now: a.clock.now, Logger: a.log, Observe: a.scaler.poolStands}).Run(ctx)
}

const (
	provideAgain = 10 * time.Second
	poolPropose  = 5 * time.Second
	reviveEvery  = 5 * time.Second
	// reviveMost is how long it may be between two attempts that came to nothing.
	reviveMost = time.Minute
)

// revive has own processes that have ended come back with their disks, as far as these are needed: they end with the agent that
// started them, and may have held all copies of something.
func (a *Agent) revive(ctx context.Context, o offspring) {
	tokens, err := o.Revive(ctx)
	if len(tokens) > 0 {
		a.log.Info("pool: instances whose disks are needed are started again", "instances", tokens)
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn("pool: not all instances whose disks are needed could be started again", "error", err)
	}
}

// reviveWaiting does so as long as a query waits, until ctx ends.
func (a *Agent) reviveWaiting(ctx context.Context, o offspring) {
	waits := func(s *raftfsm.State) bool {
		return slices.ContainsFunc(s.Queries, func(q *raftfsm.Query) bool { return q.State == raftfsm.Waiting || q.Resolves != "" })
	}
	for pause := reviveEvery; ; pause = min(2*pause, reviveMost) {
		if !waits(a.Machine().View()) {
			pause = reviveEvery
		}
		if _, err := a.Machine().Wait(ctx, waits); err != nil {
			return
		}
		if !a.isLeaving() {
			a.revive(ctx, o)
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// poolCluster is the cluster as the pool needs it.
type poolCluster struct {
	a    *Agent
	name string
}

// working counts what nodes run or bring up of queries, and says which do more than keep standbys: those are kept up on the nodes that there are.
func working(s *raftfsm.State) (works map[topology.NodeID]int, more map[topology.NodeID]bool) {
	works, more = map[topology.NodeID]int{}, map[topology.NodeID]bool{}
	for _, q := range s.Queries {
		for _, st := range q.Stages {
			for _, x := range st.Partitions {
				works[x.Process.Node]++
				more[x.Process.Node] = true
			}
			for _, x := range st.Shadows {
				works[x.Process.Node]++
				if x.Purpose != topology.ForStandby {
					more[x.Process.Node] = true
				}
			}
		}
	}
	return works, more
}

// Look implements pool.Cluster.
func (c poolCluster) Look() pool.Input {
	s := c.a.Machine().View()
	voters := backend{c.a}.voters()
	wanted := c.a.scaler.wantedNodes()
	leaving := c.a.isLeaving()
	in := pool.Input{AtMs: c.a.clock.now().UnixMilli(), Wanted: wanted, Paused: coordinator.AutoscalePaused(s) || wanted == 0 || leaving}
	works, more := working(s)
	if c.a.config.Autoscale == AutoscaleOff {
		in.Wanted, in.Paused = len(more), coordinator.AutoscalePaused(s) || leaving // nobody looks at the load: as many as work, and spares
	}
	for _, n := range s.Nodes {
		x := pool.Node{Name: string(n.ID), Works: works[n.ID], Standby: !more[n.ID], Voter: voters[n.ID], Leader: n.Process() == c.a.self, Status: poolStatus(n),
			Takes: n.Status == raftfsm.Alive && !n.Drain && n.Role() != raftfsm.RoleControl}
		x.Instance = n.Tag(tagInstance)
		x.Holds = x.Works > 0
		if n.Drain {
			x.Drained = drainedBy(n.DrainedBy)
		}
		if x.Instance != "" && x.Status != pool.Alive && x.Status != pool.Left {
			x.Holds = len(s.NamedBy(n.ID, 1)) > 0
		}
		in.Nodes = append(in.Nodes, x)
	}
	return in
}

func drainedBy(by raftfsm.DrainedBy) pool.Drained {
	switch by {
	case raftfsm.ByPool:
		return pool.DrainedByPool
	case raftfsm.ByPerson:
		return pool.DrainedByPerson
	}
	return pool.DrainedByNotice
}

func poolStatus(n *raftfsm.Node) pool.Status {
	switch {
	case n.Status == raftfsm.Left:
		return pool.Left
	case n.Status == raftfsm.Lost:
		return pool.Lost
	case n.Status == raftfsm.Leaving || n.Drain:
		return pool.Leaving
	}
	return pool.Alive
}

// NextToken implements pool.Cluster.
func (c poolCluster) NextToken(ctx context.Context) (string, error) {
	for ctx.Err() == nil {
		s := c.a.Machine().View()
		text, _ := s.Cluster.Setting(settingLaunches)
		n, err := strconv.ParseUint(text, 10, 64)
		if text != "" && err != nil {
			return "", fmt.Errorf("the cluster's setting %s is %.20q", settingLaunches, text)
		}
		out, err := c.propose(ctx, &raftfsm.ClusterSet{Version: s.Cluster.Version, Set: []raftfsm.KV{{Key: settingLaunches, Value: strconv.FormatUint(n+1, 10)}}})
		if err != nil {
			return "", err
		}
		if out.Code == raftfsm.Applied {
			return fmt.Sprintf("%s-%d", c.name, n+1), nil
		}
		if _, err := c.a.Machine().WaitVersion(ctx, max(out.Version, s.Version)); err != nil {
			return "", err
		}
	}
	return "", ctx.Err()
}

// Drain implements pool.Cluster.
func (c poolCluster) Drain(ctx context.Context, x pool.Change) error { return c.drain(ctx, x, true) }

// Undrain implements pool.Cluster.
func (c poolCluster) Undrain(ctx context.Context, x pool.Change) error {
	return c.drain(ctx, x, false)
}

func (c poolCluster) drain(ctx context.Context, x pool.Change, drain bool) error {
	n := c.a.Machine().View().Node(topology.NodeID(x.Node))
	if n == nil {
		return nil
	}
	if !drain && n.DrainedBy != raftfsm.ByPool {
		return nil // somebody else's by now
	}
	return c.do(ctx, &raftfsm.NodeDrain{Node: n.ID, Version: n.Version, Drain: drain, By: raftfsm.ByPool})
}

// Leave implements pool.Cluster.
func (c poolCluster) Leave(ctx context.Context, x pool.Change) error {
	n := c.a.Machine().View().Node(topology.NodeID(x.Node))
	if n == nil {
		return nil
	}
	return c.do(ctx, &raftfsm.NodeLeave{Process: n.Process(), Version: n.Version})
}

// do has a command applied; what was overtaken is decided again.
func (c poolCluster) do(ctx context.Context, k raftfsm.Command) error {
	out, err := c.propose(ctx, k)
	if err == nil && out.Code == raftfsm.Refused {
		err = out.Err()
	}
	return err
}

func (c poolCluster) propose(ctx context.Context, k raftfsm.Command) (raftfsm.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, poolPropose)
	defer cancel()
	return c.a.member.Group().Propose(ctx, raftfsm.Envelope{AtMs: c.a.clock.now().UnixMilli(), Command: k})
}
