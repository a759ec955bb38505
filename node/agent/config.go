package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/autoscale"
	"github.com/seepnode/seepnode/node/agent/discovery"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/raftfsm"
)

// Defaults of Config.
const (
	DefaultGossipPort = 7601
	DefaultDataPort   = 7602
	DefaultHTTP       = "127.0.0.1:7600"
	DefaultBind       = "0.0.0.0"
	DefaultSpillLimit = 4 << 30
)

// Limits of Config.
const (
	nameBytesMax    = 128 // as in the cluster's metadata
	joinMax         = 64
	bootstrapMax    = 5 // there are never more voters
	tagsMax         = 32
	tagsBytesMax    = 256 // keys and values of all tags: gossip carries them with the node's own in 512 bytes
	allowPathsMax   = 256
	memoryBytesMin  = 64 << 20
	encryptKeyBytes = 32
	tokenBytesMin   = 16
	tokenBytesMax   = 1024
)

// ErrStop is the cause of an agent's context when a person or the system asks it to stop: it hands its partitions over first. A
// context that ends for any other cause ends the agent at once.
var ErrStop = errors.New("asked to stop")

// Config is all that an agent is told from outside. It is plain data: where its values come from is the command line's affair.
type Config struct {
	Name            string               // of the node: the same at every start with the same DataDir
	Join            []string             // where the gossip of some nodes of the cluster is, see package discovery; empty: this node is the first
	BootstrapExpect int                  // found a cluster as soon as this many nodes know each other; 0: found none, join one
	Bind            string               // IP address that gossip and the data port listen on
	Advertise       string               // IP address or host name that others reach this node at; "": the one of Bind, or a private one of this host
	GossipPort      int                  // TCP and UDP; 0: any free one
	DataPort        int                  // TCP, for raft, dataplane, vault and control; 0: any free one
	HTTP            string               // HOST:PORT of the API for people; port 0: any free one
	DataDir         string               // of this node alone
	Tags            map[string]string    // what placement may be told about this node: "zone", "spot", ...
	MemoryLimit     int64                // bytes, a soft limit of the process; 0: none
	LogMemory       int64                // bytes that output logs may keep in memory before sources on this node may stand still at a checkpoint; 0: DefaultLogMemory
	SpillLimit      int64                // bytes that output logs may take on disk when memory is short; 0: none
	AllowPaths      []string             // absolute directories that 'filesystem' may use; see RestrictsPaths
	EncryptKey      []byte               // 32 bytes that encrypt and authenticate gossip; nil: none. The data port has TLS
	TLS             port.CredentialFiles // of TLS on the data port, and of HTTP beyond the loopback; zero: none
	Token           string               // what HTTP requests must bear; "": none, which only a loopback HTTP may have
	Autoscale       string               // policy of queries' sizes: "rate", "threshold" or "off"
	// AutoscaleOptions are numbers of the policy, see autoscale.Config.Set.
	AutoscaleOptions map[string]string
	Provider         string            // starts nodes when this one leads: "local", "exec" or "ec2"; "": none
	ProviderOptions  map[string]string // of the provider, see its package
	Spares           int               // idle nodes that the pool keeps joined
	MaxNodes         int               // the most nodes that the pool lets the cluster have
	Instance         string            // of the provider, what this machine is there; "imds": EC2 is asked; "": of no provider
	EncryptKeyFile   string            // where EncryptKey comes from, for nodes that this one starts
	LogLevel         slog.Level
	LogFormat        string // "text" or "json"

	Connectors *connector.Registry // what this binary knows
	Operators  *operator.Registry
	Version    string // of this binary, for people
}

// DefaultConfig is the agent with no flags: a working cluster of one. Name is empty when the host has no usable name.
func DefaultConfig() Config {
	return Config{
		Name: hostName(), BootstrapExpect: 1, Bind: DefaultBind, GossipPort: DefaultGossipPort, DataPort: DefaultDataPort,
		HTTP: DefaultHTTP, DataDir: DefaultDataDir(), SpillLimit: DefaultSpillLimit, Autoscale: autoscale.PolicyRate, LogLevel: slog.LevelInfo, LogFormat: "text",
	}
}

// hostName is the host's name up to its first dot, as others on its network say it.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	name, _, _ = strings.Cut(name, ".")
	if CheckName(name) != nil {
		return ""
	}
	return name
}

// DefaultDataDir is the same wherever the process is started, so that a node finds itself again: systemd's $STATE_DIRECTORY, for
// root /var/lib/seepnode, else seepnode below $XDG_STATE_HOME, which is ~/.local/state when not set.
func DefaultDataDir() string {
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return dir
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "seepnode")
	}
	if os.Getuid() == 0 {
		return "/var/lib/seepnode"
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "seepnode")
	}
	return "seepnode-data"
}

// CheckName says what is wrong with a node's name.
func CheckName(name string) error {
	if name == "" {
		return errors.New("the node has no name and the host's cannot be used: give one with --name")
	}
	if len(name) > nameBytesMax {
		return fmt.Errorf("node name %.20q... has %d bytes; give one of at most %d", name, len(name), nameBytesMax)
	}
	for i, r := range []byte(name) {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || r != '_' && r != '-' && r != '.') {
			return fmt.Errorf("node name %q: give one of letters and digits, and behind the first also _ - and .", name)
		}
	}
	return nil
}

// Validate says what is wrong and what to do about it, everything at once. It touches no file and no network.
func (c *Config) Validate() error {
	return errors.Join(CheckName(c.Name), c.checkCluster(), c.checkAddresses(), c.checkHTTP(), c.checkTags(), c.checkPaths(), c.checkAutoscale(), c.checkRest())
}

func (c *Config) checkCluster() error {
	var errs []error
	if len(c.Join) > joinMax {
		errs = append(errs, fmt.Errorf("%d nodes to join: a few are enough, at most %d", len(c.Join), joinMax))
	}
	for _, address := range c.Join {
		if err := discovery.Check(address); err != nil {
			errs = append(errs, fmt.Errorf("cannot join %q: %w", address, err))
		}
	}
	switch {
	case c.BootstrapExpect < 0 || c.BootstrapExpect > bootstrapMax:
		errs = append(errs, fmt.Errorf("%d nodes to found a cluster: give the number of the first ones, 1 to %d; all others only join", c.BootstrapExpect, bootstrapMax))
	case c.BootstrapExpect == 0 && len(c.Join) == 0:
		errs = append(errs, errors.New("this node founds no cluster and joins none: give --join HOST:PORT of a node, or --bootstrap-expect 1"))
	}
	return errors.Join(errs...)
}

func checkHost(host string) error {
	if host == "" || len(host) > 253 || strings.ContainsAny(host, " \t\r\n/@?#") || strings.Contains(host, "://") {
		return fmt.Errorf("%.60q is no host name or IP address", host)
	}
	return nil
}

func (c *Config) checkAddresses() error {
	var errs []error
	if _, err := netip.ParseAddr(c.Bind); err != nil {
		errs = append(errs, fmt.Errorf("cannot bind to %q: give an IP address of this host without a port, 0.0.0.0 for all", c.Bind))
	}
	if c.Advertise != "" {
		ip, err := netip.ParseAddr(c.Advertise)
		switch {
		case err == nil && ip.IsUnspecified():
			errs = append(errs, fmt.Errorf("cannot advertise %s: give the address at which other nodes reach this one", c.Advertise))
		case err != nil && (strings.Contains(c.Advertise, ":") || checkHost(c.Advertise) != nil):
			errs = append(errs, fmt.Errorf("cannot advertise %q: give an IP address or a host name without a port", c.Advertise))
		}
	}
	for _, p := range []struct {
		flag string
		port int
	}{{"gossip-port", c.GossipPort}, {"data-port", c.DataPort}} {
		if p.port < 0 || p.port > 65535 {
			errs = append(errs, fmt.Errorf("--%s %d: give a port from 1 to 65535, or 0 for any free one", p.flag, p.port))
		}
	}
	if c.GossipPort != 0 && c.GossipPort == c.DataPort {
		errs = append(errs, fmt.Errorf("port %d is given for gossip and for data: they need two", c.DataPort))
	}
	return errors.Join(errs...)
}

// HTTPIsLoopback says whether only processes of this host reach the API for people.
func (c *Config) HTTPIsLoopback() bool {
	host, _, err := net.SplitHostPort(c.HTTP)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// RestrictsPaths says whether 'filesystem' may use only what is in AllowPaths: when some are given, and whenever HTTP can be reached
// from other hosts, so that none given means none allowed there.
func (c *Config) RestrictsPaths() bool { return len(c.AllowPaths) > 0 || !c.HTTPIsLoopback() }

func (c *Config) checkHTTP() error {
	host, port, err := net.SplitHostPort(c.HTTP)
	if err != nil {
		return fmt.Errorf("cannot listen for HTTP on %q: give HOST:PORT, like %s", c.HTTP, DefaultHTTP)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("cannot listen for HTTP on %q: port %q is no number from 0 to 65535", c.HTTP, port)
	}
	if n != 0 && (n == c.DataPort || n == c.GossipPort) {
		return fmt.Errorf("port %d is given for HTTP and for gossip or data: they need three", n)
	}
	if host != "" {
		if err := checkHost(host); err != nil {
			return fmt.Errorf("cannot listen for HTTP on %q: %w", c.HTTP, err)
		}
	}
	if c.Token != "" && (len(c.Token) < tokenBytesMin || len(c.Token) > tokenBytesMax) {
		return fmt.Errorf("the token has %d bytes; give one of %d to %d, like that of: openssl rand -hex 32", len(c.Token), tokenBytesMin, tokenBytesMax)
	}
	if strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("the token has blanks or characters beyond ASCII; give one like that of: openssl rand -hex 32")
	}
	if set := []bool{c.TLS.Cert != "", c.TLS.Key != "", c.TLS.CA != ""}; slices.Contains(set, true) && slices.Contains(set, false) {
		return errors.New("TLS needs three files: --tls-cert, --tls-key and --tls-ca, or none of them")
	}
	if c.HTTPIsLoopback() || c.Token != "" {
		return nil
	}
	return fmt.Errorf("HTTP on %s can be reached from other hosts, so it needs a token: give --token-file FILE (or SEEPNODE_TOKEN), or --http 127.0.0.1:%s", c.HTTP, port)
}

func (c *Config) checkTags() error {
	bytes := 0
	for key, value := range c.Tags {
		bytes += len(key) + len(value)
		if key == "" {
			return fmt.Errorf("tag \"=%s\" has no key: give KEY=VALUE", value)
		}
	}
	if role, ok := c.Tags[raftfsm.RoleTag]; ok && role != raftfsm.RoleControl && role != raftfsm.RoleWorker {
		return fmt.Errorf("tag role=%s: a role is %s (no partitions) or %s (no vote); leave the tag out for both", role, raftfsm.RoleControl, raftfsm.RoleWorker)
	}
	if len(c.Tags) > tagsMax || bytes > tagsBytesMax {
		return fmt.Errorf("%d tags with %d bytes in all: gossip carries them, so at most %d with %d bytes", len(c.Tags), bytes, tagsMax, tagsBytesMax)
	}
	return nil
}

func (c *Config) checkPaths() error {
	if c.DataDir == "" {
		return errors.New("the data directory's name is empty: give --data-dir DIR")
	}
	if len(c.AllowPaths) > allowPathsMax {
		return fmt.Errorf("%d allowed paths: at most %d", len(c.AllowPaths), allowPathsMax)
	}
	for _, path := range c.AllowPaths {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("--allow-path %q: give an absolute directory", path)
		}
	}
	return nil
}

func (c *Config) checkRest() error {
	var errs []error
	if c.MemoryLimit != 0 && c.MemoryLimit < memoryBytesMin {
		errs = append(errs, fmt.Errorf("--memory-limit of %d bytes: give at least %d MiB, or 0 for none", c.MemoryLimit, memoryBytesMin>>20))
	}
	if c.EncryptKey != nil && len(c.EncryptKey) != encryptKeyBytes {
		errs = append(errs, fmt.Errorf("the encryption key has %d bytes; give %d in base64, like: head -c %d /dev/urandom | base64", len(c.EncryptKey), encryptKeyBytes, encryptKeyBytes))
	}
	if !slices.Contains([]string{"text", "json"}, c.LogFormat) {
		errs = append(errs, fmt.Errorf("--log-format %q: give text or json", c.LogFormat))
	}
	return errors.Join(errs...)
}
