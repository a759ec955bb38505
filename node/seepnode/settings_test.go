package seepnode

import (
	"github.com/seepnode/seepnode/node/agent/port"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/agent"
)

func noFlag(string) ([]string, bool) { return nil, false }
func noEnv(string) (string, bool)    { return "", false }

// TestEverySettingHasAFlagAVariableAndAKey goes through the table with values that differ from the defaults.
func TestEverySettingHasAFlagAVariableAndAKey(t *testing.T) {
	dir := t.TempDir()
	token, key := filepath.Join(dir, "token"), filepath.Join(dir, "key")
	for path, text := range map[string]string{token: fakeToken + "\n", key: "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	values := map[string]string{
		"name": "n7", "join": "10.0.0.1", "bootstrap-expect": "3", "bind": "127.0.0.1", "advertise": "10.0.0.7", "gossip-port": "1", "data-port": "2",
		"http": "[::1]:3", "data-dir": dir, "tag": "zone=a", "memory-limit": "1GiB", "log-memory": "8MiB", "spill-limit": "2GB", "allow-path": "/data", "encrypt-key-file": key, "token-file": token,
		"tls-cert": "/c", "tls-key": "/k", "tls-ca": "/a",
		"log-level": "warn", "log-format": "json",
		"autoscale": "threshold", "autoscale-option": "threshold=60", "provider": "local", "provider-option": "dir=/tmp/x", "spares": "2", "max-nodes": "9", "instance": "i-1",
	}
	check := func(where string, s sources) {
		t.Helper()
		l, err := s.load()
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		c := l.config
		if c.Name != "n7" || !slices.Equal(c.Join, []string{"10.0.0.1"}) || c.BootstrapExpect != 3 || c.Bind != "127.0.0.1" || c.Advertise != "10.0.0.7" ||
			c.GossipPort != 1 || c.DataPort != 2 || c.HTTP != "[::1]:3" || c.DataDir != dir || len(c.Tags) != 1 || c.Tags["zone"] != "a" || c.MemoryLimit != 1<<30 ||
			!slices.Equal(c.AllowPaths, []string{"/data"}) || string(c.EncryptKey) != "0123456789abcdef0123456789abcdef" || c.Token != fakeToken ||
			c.LogLevel.String() != "WARN" || c.LogFormat != "json" || c.Autoscale != "threshold" || c.AutoscaleOptions["threshold"] != "60" || c.Provider != "local" || c.ProviderOptions["dir"] != "/tmp/x" ||
			c.Spares != 2 || c.MaxNodes != 9 || c.Instance != "i-1" || c.EncryptKeyFile != key ||
			c.LogMemory != 8<<20 || c.SpillLimit != 2e9 ||
			c.TLS != (port.CredentialFiles{Cert: "/c", Key: "/k", CA: "/a"}) {
			t.Errorf("%s: %+v", where, c)
		}
	}
	var text strings.Builder
	for _, name := range settingNames() {
		if values[name] == "" {
			t.Fatalf("setting %s has no value in this test", name)
		}
		value := yamlText(values[name])
		switch name {
		case "tag":
			value = "{zone: a}"
		case "autoscale-option":
			value = "{threshold: 60}"
		case "provider-option":
			value = "{dir: /tmp/x}"
		}
		text.WriteString(name + ": " + value + "\n")
	}
	file := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	check("flags", sources{env: noEnv, flag: func(name string) ([]string, bool) { return []string{values[name]}, true }})
	check("environment", sources{flag: noFlag, env: func(name string) (string, bool) {
		v, ok := values[strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "SEEPNODE_"), "_", "-"))]
		return v, ok
	}})
	check("YAML", sources{flag: noFlag, env: noEnv, file: file})
}

func TestAnAgentThatJoinsFoundsNoClusterUnlessToldTo(t *testing.T) {
	for _, c := range []struct {
		flags map[string]string
		want  int
	}{
		{map[string]string{"name": "n1"}, 1},
		{map[string]string{"name": "n1", "join": "x"}, 0},
		{map[string]string{"name": "n1", "join": "x", "bootstrap-expect": "3"}, 3},
		{map[string]string{"name": "n1", "bootstrap-expect": "3"}, 3},
	} {
		l, err := sources{env: noEnv, flag: func(name string) ([]string, bool) { v, ok := c.flags[name]; return []string{v}, ok }}.load()
		if err != nil || l.config.BootstrapExpect != c.want {
			t.Errorf("%v: %d, %v; want %d", c.flags, l.config.BootstrapExpect, err, c.want)
		}
	}
}

func TestSizesHaveUnits(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "1": 1, "1000B": 1000, "1kB": 1000, "1KB": 1000, "64MB": 64e6, "1.5GiB": 3 << 29, "2 TiB": 2 << 40, "1GB": 1e9,
		"": -1, "G": -1, "2G": -1, "-1": -1, "1e9": -1, "1.2.3": -1, "99999999TiB": -1, "MB1": -1, "1mb": -1, "NaN": -1, "Inf": -1,
	} {
		got, err := parseBytes(s)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("parseBytes(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
}

func TestAgentsDefaultsAreValid(t *testing.T) {
	c := agent.DefaultConfig()
	c.Name = "n1"
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestDefaultDataDirStaysWhereItIs(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	t.Setenv("STATE_DIRECTORY", "")
	if got := agent.DefaultDataDir(); got != "/state/seepnode" {
		t.Errorf("%s", got)
	}
	t.Setenv("STATE_DIRECTORY", "/var/lib/seepnode:/more")
	if got := agent.DefaultDataDir(); got != "/var/lib/seepnode" {
		t.Errorf("%s", got)
	}
}

func TestDeepYAMLIsRefused(t *testing.T) {
	lines := "join:"
	for depth := 1; len(lines) < configBytesMax-400; depth++ {
		lines += "\n" + strings.Repeat(" ", depth) + "a:"
	}
	for _, text := range []string{
		"join: " + strings.Repeat("[", configBracketsMax), "join: " + strings.Repeat("{a: ", configBracketsMax), "join: " + strings.Repeat("[\n", configBracketsMax+1),
		"join:\n" + strings.Repeat("- ", configLineMax/2), "join:\n" + strings.Repeat("- ", configLineMax), strings.Repeat("? ", configLineMax/2), lines,
	} {
		if _, err := parseYAML("f.yaml", []byte(text)); err == nil {
			t.Errorf("%.40q... is a configuration", text)
		}
	}
}

func FuzzParseYAML(f *testing.F) {
	for _, s := range []string{
		"", "name: n1", "join: [a, b]\ntag: {zone: a}", "# only a comment", "---\nname: a\n---\nname: b", "name: &a x\nbind: *a", "<<: {name: x}", "? name\n: x",
		"tag:\n  - a", "name: !!str 5", "- a\n- b", "{", "name: |\n  text\n", "\x00", "name:\n  name:\n    name: [", "5: 6", "null: null", "join: [[[[[[", "'name': \"x\\n\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		settings, err := parseYAML("f.yaml", data)
		if err != nil && !strings.HasPrefix(err.Error(), "f.yaml") {
			t.Errorf("%q: the error does not name the file: %v", data, err)
		}
		for name, g := range settings {
			if findSetting(name) == nil || len(g.values) == 0 {
				t.Errorf("%q: %s: %v", data, name, g)
			}
		}
	})
}
