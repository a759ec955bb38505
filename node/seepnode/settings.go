package seepnode

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/agent"
)

// An agent's settings come from flags, the environment and a YAML file, in this order of strength, under one name each: --data-dir,
// SEEPNODE_DATA_DIR, data-dir. One table says all of them.

// setting is one of them.
type setting struct {
	name  string
	usage string // with the value's kind in backquotes
	text  string // the default, for people; "" when there is none
	many  bool   // it may be repeated; in the environment the values stand between commas
	pairs bool   // the values are KEY=VALUE, in YAML a mapping
	set   func(c *agent.Config, values []string) error
}

func (s *setting) env() string {
	return "SEEPNODE_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))
}

func (s *setting) flag() cli.Flag {
	if s.many {
		return &cli.StringSliceFlag{Name: s.name, KeepSpace: true, Usage: s.usage + "; may be repeated"}
	}
	return &cli.StringFlag{Name: s.name, Usage: s.usage, DefaultText: s.text}
}

// tokenEnv holds the token itself, for agents and for clients.
const tokenEnv = "SEEPNODE_TOKEN"

// agentSettings are in the order in which people want to read them.
var agentSettings = []setting{
	{name: "name", usage: "the node's `NAME`: the same at every start", text: "the host's name", set: text(func(c *agent.Config) *string { return &c.Name })},
	{name: "join", usage: "`HOST:PORT` of the gossip of a node of the cluster (port " + strconv.Itoa(agent.DefaultGossipPort) + " when left out), or dns:NAME, file:PATH, 'provider=aws tag_key=K tag_value=V'; this node then founds none", many: true,
		set: func(c *agent.Config, values []string) error { c.Join = values; return nil }},
	{name: "bootstrap-expect", usage: "found a cluster as soon as `N` nodes with this flag know each other", text: "1; with --join: none is founded", set: number(func(c *agent.Config) *int { return &c.BootstrapExpect }, 1)},
	{name: "bind", usage: "IP `ADDRESS` that gossip and the data port listen on", text: agent.DefaultBind, set: text(func(c *agent.Config) *string { return &c.Bind })},
	{name: "advertise", usage: "IP `ADDRESS` or host name at which other nodes reach this one", text: "that of --bind, or a private one of this host", set: text(func(c *agent.Config) *string { return &c.Advertise })},
	{name: "gossip-port", usage: "`PORT` of gossip, TCP and UDP", text: strconv.Itoa(agent.DefaultGossipPort), set: number(func(c *agent.Config) *int { return &c.GossipPort }, 0)},
	{name: "data-port", usage: "`PORT` of all else between nodes, TCP", text: strconv.Itoa(agent.DefaultDataPort), set: number(func(c *agent.Config) *int { return &c.DataPort }, 0)},
	{name: "http", usage: "`HOST:PORT` of the HTTP API; beyond the loopback it needs a token", text: agent.DefaultHTTP, set: text(func(c *agent.Config) *string { return &c.HTTP })},
	{name: "data-dir", usage: "`DIR` of this node's own files", text: "/var/lib/seepnode for root, else ~/.local/state/seepnode", set: dataDir},
	{name: "tag", usage: "tell placement `KEY=VALUE` about this node, like zone=a", many: true, pairs: true, set: tags},
	{name: "memory-limit", usage: "soft limit of the process in `BYTES`, like 4GiB", text: "none", set: bytesOf(func(c *agent.Config) *int64 { return &c.MemoryLimit }, 0)},
	{name: "log-memory", usage: "what output logs may keep in memory, in `BYTES`, before sources on this node may stand still at a checkpoint; from three quarters of it on they go to disk", text: "256MiB, at most a quarter of the memory", set: bytesOf(func(c *agent.Config) *int64 { return &c.LogMemory }, 1)},
	{name: "spill-limit", usage: "what they may take on disk below --data-dir, in `BYTES`; 0: nothing", text: "4GiB", set: bytesOf(func(c *agent.Config) *int64 { return &c.SpillLimit }, 0)},
	{name: "allow-path", usage: "`DIR` that 'filesystem' tables may use; without, all while HTTP is on the loopback and none beyond", many: true, set: allowPaths},
	{name: "encrypt-key-file", usage: "`FILE` with the key of gossip, 32 bytes in base64, the same on all nodes", set: encryptKeyFile},
	{name: "tls-cert", usage: "`FILE` with this node's certificate in PEM: the data port then speaks TLS, and HTTP beyond the loopback HTTPS", set: file(func(c *agent.Config) *string { return &c.TLS.Cert })},
	{name: "tls-key", usage: "`FILE` with the certificate's key", set: file(func(c *agent.Config) *string { return &c.TLS.Key })},
	{name: "tls-ca", usage: "`FILE` with the authorities whose certificates make a node, the same on all nodes", set: file(func(c *agent.Config) *string { return &c.TLS.CA })},
	{name: "token-file", usage: "`FILE` with the token that HTTP requests must bear", set: tokenFile},
	{name: "autoscale", usage: "`POLICY` that queries follow the load by while this node leads: rate, threshold or off", text: agent.DefaultConfig().Autoscale, set: text(func(c *agent.Config) *string { return &c.Autoscale })},
	{name: "autoscale-option", usage: "change `KEY=VALUE` of the policy; the README lists what there is", many: true, pairs: true, set: autoscaleOptions},
	{name: "provider", usage: "start nodes through `NAME` while this node leads: local (processes), exec (your commands) or ec2", set: text(func(c *agent.Config) *string { return &c.Provider })},
	{name: "provider-option", usage: "tell the provider `KEY=VALUE`; the README lists what each takes", many: true, pairs: true, set: providerOptions},
	{name: "spares", usage: "keep `N` idle nodes joined, so that load finds them at once", text: "0", set: number(func(c *agent.Config) *int { return &c.Spares }, 0)},
	{name: "max-nodes", usage: "start no node beyond `N` in the cluster, those of other origin counted", set: number(func(c *agent.Config) *int { return &c.MaxNodes }, 1)},
	{name: "instance", usage: "`ID` of this machine at the provider, imds to ask EC2, and to drain when it is to be taken away; a node with one may be given back", set: text(func(c *agent.Config) *string { return &c.Instance })},
	{name: "log-level", usage: "`LEVEL` debug, info, warn or error", text: "info", set: logLevel},
	{name: "log-format", usage: "`FORMAT` text or json", text: "text", set: text(func(c *agent.Config) *string { return &c.LogFormat })},
}

func findSetting(name string) *setting {
	i := slices.IndexFunc(agentSettings, func(s setting) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return &agentSettings[i]
}

func settingNames() []string {
	names := make([]string, len(agentSettings))
	for i, s := range agentSettings {
		names[i] = s.name
	}
	return names
}

func text(field func(*agent.Config) *string) func(*agent.Config, []string) error {
	return func(c *agent.Config, values []string) error {
		*field(c) = values[0]
		return nil
	}
}

func number(field func(*agent.Config) *int, least int) func(*agent.Config, []string) error {
	return func(c *agent.Config, values []string) error {
		n, err := strconv.Atoi(values[0])
		if err != nil || n < least || n > 65535 {
			return fmt.Errorf("it must be a number from %d to 65535", least)
		}
		*field(c) = n
		return nil
	}
}

// file is a setting whose file is read later, wherever the process is then.
func file(field func(*agent.Config) *string) func(*agent.Config, []string) error {
	return func(c *agent.Config, values []string) (err error) {
		if values[0] == "" {
			return errors.New("it must name a file")
		}
		*field(c), err = filepath.Abs(values[0])
		return err
	}
}

func dataDir(c *agent.Config, values []string) (err error) {
	if values[0] == "" {
		return errors.New("it must name a directory")
	}
	c.DataDir, err = filepath.Abs(values[0])
	return err
}

func allowPaths(c *agent.Config, values []string) error {
	c.AllowPaths = nil
	for _, v := range values {
		path, err := filepath.Abs(v)
		if v == "" || err != nil {
			return errors.New("it must name a directory")
		}
		c.AllowPaths = append(c.AllowPaths, path)
	}
	return nil
}

func tags(c *agent.Config, values []string) (err error) {
	c.Tags, err = keyValues(values)
	return err
}

func autoscaleOptions(c *agent.Config, values []string) (err error) {
	c.AutoscaleOptions, err = keyValues(values)
	return err
}

func providerOptions(c *agent.Config, values []string) (err error) {
	c.ProviderOptions, err = keyValues(values)
	return err
}

func keyValues(pairs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%q must be KEY=VALUE", pair)
		}
		if before, ok := out[key]; ok && before != value {
			return nil, fmt.Errorf("key %q has two values, %q and %q", key, before, value)
		}
		out[key] = value
	}
	return out, nil
}

// bytesOf is a setting that is a size.
func bytesOf(field func(*agent.Config) *int64, least int64) func(*agent.Config, []string) error {
	return func(c *agent.Config, values []string) error {
		n, err := parseBytes(values[0])
		if err == nil && n < least {
			err = fmt.Errorf("%q: it must be at least %d byte", values[0], least)
		}
		*field(c) = n
		return err
	}
}

// parseBytes reads a size with a unit of 1000 (kB, MB, GB, TB) or 1024 (KiB, MiB, GiB, TiB), or none.
func parseBytes(s string) (int64, error) {
	wrong := fmt.Errorf("%q is no size: give bytes, or a number with kB, MB, GB, TB, KiB, MiB, GiB or TiB", s)
	digits := strings.TrimRight(s, "kKMGTiB ")
	unit, ok := map[string]float64{"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[strings.TrimSpace(s[len(digits):])]
	if !ok || digits == "" || strings.Trim(digits, "0123456789.") != "" {
		return 0, wrong
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n*unit > 1<<52 {
		return 0, wrong
	}
	return int64(n * unit), nil
}

func logLevel(c *agent.Config, values []string) error {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[values[0]]
	if !ok {
		return errors.New("it must be debug, info, warn or error")
	}
	c.LogLevel = level
	return nil
}

// secretBytesMax bounds what is read of a file with a token or a key.
const secretBytesMax = 4096

func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, secretBytesMax+1))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	if len(data) > secretBytesMax {
		return "", fmt.Errorf("%s has more than %d bytes: it is no file with a token or a key", path, secretBytesMax)
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}

func tokenFile(c *agent.Config, values []string) (err error) {
	c.Token, err = readSecret(values[0])
	return err
}

func encryptKeyFile(c *agent.Config, values []string) error {
	secret, err := readSecret(values[0])
	if err != nil {
		return err
	}
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil || len(key) != 32 {
		return fmt.Errorf("%s holds no key of 32 bytes in base64; make one with: head -c 32 /dev/urandom | base64", values[0])
	}
	c.EncryptKey, c.EncryptKeyFile = key, values[0]
	return nil
}

// given is a setting's values and where they stand.
type given struct {
	values []string
	from   string // "--data-port", "SEEPNODE_DATA_PORT", "agent.yaml:3: data-port"; "" for the default
}

// loaded is an agent's configuration and where each of its settings comes from.
type loaded struct {
	config agent.Config
	given  map[string]given // by setting; without those that have their default
}

// sources are the places where settings may stand.
type sources struct {
	flag func(name string) ([]string, bool)
	env  func(name string) (string, bool)
	file string // YAML; "": none
}

// load puts the sources together. What is wrong is a usage error that names the place.
func (s sources) load() (loaded, error) {
	l := loaded{config: agent.DefaultConfig(), given: map[string]given{}}
	if s.file != "" {
		var err error
		if l.given, err = readYAML(s.file); err != nil {
			return l, err
		}
	}
	for i := range agentSettings {
		t := &agentSettings[i]
		if value, ok := s.env(t.env()); ok && value != "" {
			values := []string{value}
			if t.many {
				values = strings.Split(value, ",")
			}
			l.given[t.name] = given{values, t.env()}
		}
		if values, ok := s.flag(t.name); ok {
			l.given[t.name] = given{values, "--" + t.name}
		}
	}
	if err := s.loadToken(&l); err != nil {
		return l, err
	}
	if _, joins := l.given["join"]; joins {
		l.config.BootstrapExpect = 0
	}
	for _, t := range agentSettings {
		if g, ok := l.given[t.name]; ok {
			if err := t.set(&l.config, g.values); err != nil {
				return l, usagef("%s %s: %v", g.from, strings.Join(g.values, ","), err)
			}
		}
	}
	if err := l.config.Validate(); err != nil {
		return l, usagef("%s", strings.ReplaceAll(err.Error(), "\n", "\nseepnode: "))
	}
	return l, nil
}

// loadToken takes the token of the environment, which is as strong as a file's name that stands there.
func (s sources) loadToken(l *loaded) error {
	token, ok := s.env(tokenEnv)
	token = strings.TrimSpace(token)
	if !ok || token == "" {
		return nil
	}
	file, given := l.given["token-file"]
	switch {
	case given && file.from == "SEEPNODE_TOKEN_FILE":
		return usagef("%s and SEEPNODE_TOKEN_FILE are both set: leave one out", tokenEnv)
	case given && file.from == "--token-file":
		return nil
	}
	delete(l.given, "token-file")
	l.config.Token = token
	return nil
}

// write prints the effective configuration as a YAML file that --config takes, each line with its source.
func (l loaded) write(w io.Writer) error {
	var b strings.Builder
	for _, t := range agentSettings {
		g, ok := l.given[t.name]
		values, from := g.values, strings.TrimSuffix(g.from, ": "+t.name)
		if !ok {
			values, from = l.standard(t.name), "default"
		}
		switch {
		case !ok && t.name == "token-file" && l.config.Token != "":
			fmt.Fprintf(&b, "# %s: the token is in %s\n", t.name, tokenEnv)
		case len(values) == 0:
			fmt.Fprintf(&b, "# %s: not set\n", t.name)
		case t.pairs:
			fmt.Fprintf(&b, "%s: # %s\n", t.name, from)
			for _, pair := range values {
				key, value, _ := strings.Cut(pair, "=")
				fmt.Fprintf(&b, "  %s: %s\n", yamlText(key), yamlText(value))
			}
		case t.many:
			fmt.Fprintf(&b, "%s: # %s\n", t.name, from)
			for _, v := range values {
				fmt.Fprintf(&b, "  - %s\n", yamlText(v))
			}
		default:
			fmt.Fprintf(&b, "%s: %s # %s\n", t.name, yamlText(values[0]), from)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// standard is what a setting that was not given has.
func (l loaded) standard(name string) []string {
	c := &l.config
	switch name {
	case "name":
		return []string{c.Name}
	case "bootstrap-expect":
		if c.BootstrapExpect == 0 {
			return nil
		}
		return []string{strconv.Itoa(c.BootstrapExpect)}
	case "bind":
		return []string{c.Bind}
	case "gossip-port":
		return []string{strconv.Itoa(c.GossipPort)}
	case "data-port":
		return []string{strconv.Itoa(c.DataPort)}
	case "http":
		return []string{c.HTTP}
	case "data-dir":
		return []string{c.DataDir}
	case "autoscale":
		return []string{c.Autoscale}
	case "spares":
		return []string{strconv.Itoa(c.Spares)}
	case "log-level":
		return []string{strings.ToLower(c.LogLevel.String())}
	case "log-format":
		return []string{c.LogFormat}
	}
	return nil
}

// yamlText is a scalar that YAML reads back as s: plain when it is a number or a harmless word.
func yamlText(s string) string {
	if _, err := strconv.ParseUint(s, 10, 63); err == nil && (s == "0" || s[0] != '0') {
		return s
	}
	word := s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" && (s[0] >= 'a' && s[0] <= 'z' || s[0] == '/')
	if word && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s)
}
