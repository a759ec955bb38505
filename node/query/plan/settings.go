package plan

import (
	"fmt"
	"math/bits"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/spelling"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Limits of settings.
const (
	maxEpochMs          = 60_000
	maxCheckpointEpochs = 1 << 20
	maxSealRows         = 1 << 24
	maxLanes            = 1 << 10
)

// setting is a key of SET.
type setting struct {
	key string
	// apply stores a value; its error says what the value should be.
	apply func(c *compiler, value string) error
}

// settings are sorted by key.
var settings = []setting{
	{"checkpoint.epochs", func(c *compiler, v string) error {
		n, err := parseCount(v, 1, maxCheckpointEpochs)
		if err == nil && bits.OnesCount(uint(n)) != 1 {
			return fmt.Errorf("%q is not a power of two", v)
		}
		c.settings.CheckpointEpochs = n
		return err
	}},
	{"epoch.length", func(c *compiler, v string) error {
		d, err := connector.ParseDuration(v)
		if err != nil {
			return err
		}
		if d < time.Millisecond || d > maxEpochMs*time.Millisecond || d%time.Millisecond != 0 {
			return fmt.Errorf("%q is not between '1 ms' and '%d s' in whole milliseconds", v, maxEpochMs/1000)
		}
		c.settings.EpochMs = d.Milliseconds()
		return nil
	}},
	{"execution.runtime-mode", func(c *compiler, v string) error {
		switch strings.ToLower(v) {
		case "streaming":
			c.settings.Batch = false
		case "batch":
			c.settings.Batch = true
		default:
			return fmt.Errorf("%q is neither 'streaming' nor 'batch'", v)
		}
		return nil
	}},
	{"key-groups", func(c *compiler, v string) (err error) {
		c.settings.KeyGroups, err = parseCount(v, 1, topology.MaxKeyGroups)
		return err
	}},
	{"parallelism.default", func(c *compiler, v string) (err error) {
		c.settings.Parallelism, err = parseCount(v, 1, topology.MaxKeyGroups)
		return err
	}},
	{"seal", func(c *compiler, v string) (err error) {
		c.settings.SealRows, err = parseSeal(v)
		c.sealFrom = "SET 'seal'"
		return err
	}},
	{"seal.retention", func(c *compiler, v string) error {
		switch v {
		case "checkpoint":
			c.settings.KeepSeals = false
		case "all":
			c.settings.KeepSeals = true
		default:
			return fmt.Errorf("%q is neither 'checkpoint' nor 'all'", v)
		}
		return nil
	}},
	{"seed", func(c *compiler, v string) error {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number from 0 to %d", v, uint64(1<<64-1))
		}
		c.settings.Seed = n
		return nil
	}},
	{"sink.lanes", func(c *compiler, v string) (err error) {
		c.sinkLanes, err = parseCount(v, 1, maxLanes)
		return err
	}},
	{"standby", func(c *compiler, v string) (err error) {
		c.settings.Standby, err = parseCount(v, 0, topology.MaxStandby)
		return err
	}},
	{"table.exec.source.idle-timeout", func(c *compiler, v string) error {
		d, err := connector.ParseDuration(v)
		c.idleMs = d.Milliseconds()
		return err
	}},
	{"table.local-time-zone", func(c *compiler, v string) error {
		zone, err := expr.LoadZone(v)
		if err != nil {
			return err
		}
		c.zone, c.settings.Zone = zone, v
		return nil
	}},
}

func findSetting(key string) *setting {
	i := sort.Search(len(settings), func(i int) bool { return settings[i].key >= key })
	if i < len(settings) && settings[i].key == key {
		return &settings[i]
	}
	return nil
}

func settingKeys() []string {
	keys := make([]string, len(settings))
	for i := range settings {
		keys[i] = settings[i].key
	}
	return keys
}

func parseCount(v string, least, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return least, fmt.Errorf("%q is not a whole number from %d to %d", v, least, most)
	}
	return n, nil
}

// parseSeal reads 'rows:N'.
func parseSeal(v string) (int, error) {
	rows, ok := strings.CutPrefix(v, "rows:")
	if !ok {
		return 0, fmt.Errorf("%q is not of the form 'rows:N'", v)
	}
	n, err := strconv.Atoi(rows)
	if err != nil || n < 1 || n > maxSealRows {
		return 0, fmt.Errorf("%q is not 'rows:N' with N from 1 to %d", v, maxSealRows)
	}
	return n, nil
}

// readSettings applies the defaults, then all SETs of the text (they are for the whole query, wherever they stand), then those
// of overrides, and keeps the rest of overrides for tables.
func (c *compiler) readSettings(script *ast.Script, overrides map[string]string) error {
	c.settings = Settings{EpochMs: 10, CheckpointEpochs: 128, KeyGroups: 256, Zone: "UTC", Parallelism: 1}
	c.zone, c.sinkLanes, c.overrides = time.UTC, 1, map[string]string{}
	seen := map[string]*ast.Set{}
	for _, st := range script.Statements {
		set, ok := st.(*ast.Set)
		if !ok {
			continue
		}
		s := findSetting(set.Key)
		if s == nil {
			return hinted(set.Pos, unknownSettingHint(set.Key), "setting '%s' is unknown", set.Key)
		}
		if before := seen[set.Key]; before != nil && before.Value != set.Value {
			return hinted(set.Pos, "a file is one query, and a setting holds for all of it",
				"'%s' is already set to '%s' in line %d", set.Key, before.Value, before.Pos.Line)
		}
		seen[set.Key] = set
		if err := s.apply(c, set.Value); err != nil {
			return errorAt(set.ValuePos, "setting '%s': %v", set.Key, err)
		}
	}
	for _, key := range sortedKeys(overrides) {
		s := findSetting(key)
		if s == nil {
			c.overrides[key] = overrides[key]
			continue
		}
		if err := s.apply(c, overrides[key]); err != nil {
			return errorAt(ast.Pos{Line: 1, Column: 1}, "--set %s: %v", key, err)
		}
	}
	return nil
}

func unknownSettingHint(key string) string {
	if best := spelling.Nearest(key, settingKeys()); best != "" {
		return fmt.Sprintf("did you mean '%s'?", best)
	}
	return "there are '" + strings.Join(settingKeys(), "', '") + "'"
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// checkOverrides refuses what --set gave and neither a setting nor a table took.
func (c *compiler) checkOverrides() error {
	keys := sortedKeys(c.overrides)
	if len(keys) == 0 {
		return nil
	}
	key := keys[0]
	hint := didYouMean(key, settingKeys())
	if name, option, ok := strings.Cut(key, "."); ok && hint == "" {
		names := make([]string, len(c.order))
		for i, t := range c.order {
			names[i] = t.name
		}
		if best := spelling.Nearest(name, names); best != "" {
			hint = fmt.Sprintf("did you mean %q?", best+"."+option)
		}
	}
	if hint == "" {
		hint = "a key is a setting, or TABLE.option"
	}
	return hinted(ast.Pos{Line: 1, Column: 1}, hint, "--set %s: there is no such setting or table", key)
}
