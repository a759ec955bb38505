package connector

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Definition declares a connector: its options as data, from which validation and documentation come.
type Definition struct {
	Name    string
	Doc     string
	Options []Option
	// NewSource makes a source of a checked Config; nil: cannot be read.
	NewSource func(Config) (Source, error)
	// NewSink makes a sink of a checked Config; nil: cannot be written.
	NewSink func(Config) (Sink, error)
	// Check looks at table and options while planning, beyond what Options says; nil: nothing more to check.
	Check func(Config) error
	// Fused sinks have the producing stage's key groups as lanes and run in its stage.
	Fused bool
	// Updates says that the sink takes retractions. Without it a query that updates is refused while planning.
	Updates bool
	// Bounded says, for planning, whether a source with this Config ends; nil: never.
	Bounded func(Config) bool
	// Format says that the connector has a 'format' whose options (format.Options) are allowed too.
	Format bool
}

// OptionKind is the type of an option's value.
type OptionKind uint8

const (
	String   OptionKind = 1
	Int      OptionKind = 2
	Bool     OptionKind = 3
	Duration OptionKind = 4 // Flink's: "10 s", "1min", "500 ms"; a bare number is milliseconds
	Memory   OptionKind = 5 // Flink's: "128mb", "1 gb"; a bare number is bytes
	Enum     OptionKind = 6
)

// Option declares one key of the WITH clause. A '#' in Name stands for any column's name: "fields.#.kind".
type Option struct {
	Name     string
	Kind     OptionKind
	Default  string // "" none
	Required bool
	Values   []string // Enum
	Doc      string
}

// Config is a table's declaration as a connector gets it.
type Config struct {
	Table   string
	Schema  *batch.Schema // physical columns only
	Primary []int         // primary key columns, nil without
	Options map[string]string
	// Incarnation of the query, for names outside.
	Incarnation uint64
	// CheckpointEpochs is the length of a checkpoint interval in epochs, a power of two; rolls divide it.
	CheckpointEpochs int
	// EpochMs is the length of an epoch in milliseconds; 0 when the query has no clock ('seal' = 'rows:N').
	EpochMs int64
	Lanes   int // of a sink
	Zone    *time.Location
	Logger  *slog.Logger
	Stdout  io.Writer
	// Skipped is told of every row left out; never nil. Safe for concurrent use.
	Skipped func(SkippedRow)
	// UpsertKey are the columns by which a changelog's retraction and insert belong together, for sinks that show +U and -U; nil: unknown.
	UpsertKey []int
	// Query is the identity of the query's generation.
	Query topology.QueryID
	// Resealed is the last generation that gave up what was sealed, 0 when none did: behind where it began, earlier ones may have put
	// other rows outside than this one will. Generations that only start anew from the same seals put the same there.
	Resealed uint32
}

// Get is the value of an option, its default when not set. The name must be declared.
func (c Config) Get(def *Definition, name string) string {
	if v, ok := c.Options[name]; ok {
		return v
	}
	if o := findOption(def.Options, name); o != nil {
		return o.Default
	}
	return ""
}

// ParseDuration reads Flink's durations: "10 s", "1min", "500 ms", a bare number is milliseconds.
func ParseDuration(s string) (time.Duration, error) {
	num, unit := splitUnit(s)
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a duration such as '10 s' or '500 ms'", s)
	}
	var u time.Duration
	switch unit {
	case "", "ms", "milli", "millis", "millisecond", "milliseconds":
		u = time.Millisecond
	case "s", "sec", "secs", "second", "seconds":
		u = time.Second
	case "m", "min", "mins", "minute", "minutes":
		u = time.Minute
	case "h", "hour", "hours":
		u = time.Hour
	case "d", "day", "days":
		u = 24 * time.Hour
	case "us", "micro", "micros", "microsecond", "microseconds", "µs":
		u = time.Microsecond
	case "ns", "nano", "nanos", "nanosecond", "nanoseconds":
		u = time.Nanosecond
	default:
		return 0, fmt.Errorf("%q has an unknown unit %q; use ms, s, min, h or d", s, unit)
	}
	if n > int64(1<<63-1)/int64(u) {
		return 0, fmt.Errorf("%q is too long a duration", s)
	}
	return time.Duration(n) * u, nil
}

// ParseMemory reads Flink's memory sizes in bytes: "128mb", "1 gb", a bare number is bytes.
func ParseMemory(s string) (int64, error) {
	num, unit := splitUnit(s)
	n, err := strconv.ParseInt(num, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a memory size such as '128 mb'", s)
	}
	shift := 0
	switch unit {
	case "", "b", "bytes":
	case "k", "kb", "kibibytes":
		shift = 10
	case "m", "mb", "mebibytes":
		shift = 20
	case "g", "gb", "gibibytes":
		shift = 30
	case "t", "tb", "tebibytes":
		shift = 40
	default:
		return 0, fmt.Errorf("%q has an unknown unit %q; use b, kb, mb, gb or tb", s, unit)
	}
	if n > (1<<63-1)>>shift {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return n << shift, nil
}

func splitUnit(s string) (number, unit string) {
	s = strings.TrimSpace(s)
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return s[:i], strings.ToLower(strings.TrimSpace(s[i:]))
}

func matchOption(pattern, name string) bool {
	before, after, wild := strings.Cut(pattern, "#")
	if !wild {
		return pattern == name
	}
	return len(name) > len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}
