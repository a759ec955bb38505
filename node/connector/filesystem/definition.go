package filesystem

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format"
)

var definition = &connector.Definition{
	Name: "filesystem",
	Doc:  "Reads and writes files that all nodes see.",
	Options: []connector.Option{
		{Name: "path", Required: true, Doc: "A file, a directory with all below it except names that begin with '.' or '_', or a pattern with '*', '?', '[a-z]' and '**' for any depth of directories; of a sink, the directory it writes to."},
		{Name: "format", Kind: connector.Enum, Required: true, Values: format.Names(), Doc: "How rows stand in files."},
		{Name: "source.monitor-interval", Kind: connector.Duration, Doc: "Follow new files and appended lines, looking for files this often; the table is bounded without it."},
		{Name: "source.path.regex-pattern", Doc: "Only files whose whole path matches this regular expression are read."},
		{Name: "source.split.bytes", Kind: connector.Memory, Default: "16 mb", Doc: "Big files are read in parallel in ranges of this many bytes, where the format allows it."},
		{Name: "source.bytes-per-second", Kind: connector.Memory, Doc: "How much of a bounded table is read in a second, over all splits, one after the other; without it at full speed."},
		{Name: "on-error", Kind: connector.Enum, Default: "fail", Values: []string{"fail", "skip"}, Doc: "What a record that cannot be read does: fail the query, or be skipped, counted and sampled."},
		{Name: "sink.rolling.epochs", Kind: connector.Int, Doc: "Epochs that one file of a sink covers; must divide the checkpoint interval, which is the default."},
	},
	Format: true,
}

// The functions read their options' defaults from the definition, so it cannot name them in its initializer.
func init() {
	definition.NewSource = newSource
	definition.NewSink = newSink
	definition.Check = check
	definition.Bounded = func(c connector.Config) bool { return c.Get(definition, "source.monitor-interval") == "" }
}

// Definition declares the connector.
func Definition() *connector.Definition { return definition }

// DefinitionWithin declares the connector with paths that lie in one of the directories allowed, links followed, or below; others are
// refused, while planning and again where files are opened. Relative paths are the working directory's. Without a directory all paths are.
func DefinitionWithin(allowed []string) *connector.Definition {
	within := newBoundary(allowed)
	d := *definition
	d.NewSource = func(c connector.Config) (connector.Source, error) { return newSourceWithin(c, within) }
	d.NewSink = func(c connector.Config) (connector.Sink, error) { return newSinkWithin(c, within) }
	d.Check = func(c connector.Config) error {
		if err := check(c); err != nil {
			return err
		}
		path, err := tablePath(c)
		if err != nil {
			return err
		}
		return within.check(c.Table, fixedPart(path))
	}
	return &d
}

// check looks at what both a source and a sink need.
func check(c connector.Config) error {
	if _, err := tablePath(c); err != nil {
		return err
	}
	if _, err := sourceOptions(c); err != nil {
		return err
	}
	if _, err := rollingEpochs(c); err != nil {
		return err
	}
	name := c.Get(definition, "format")
	if _, err := format.Read(name, c); err != nil {
		return err
	}
	_, err := format.Write(name, c)
	return err
}

// tablePath is the option 'path' without the scheme "file:".
func tablePath(c connector.Config) (string, error) {
	path := c.Get(definition, "path")
	if rest, ok := strings.CutPrefix(path, "file:"); ok {
		path = rest
		if strings.HasPrefix(path, "//") {
			path = "/" + strings.TrimLeft(path, "/")
		}
	} else if scheme, _, ok := strings.Cut(path, "://"); ok {
		return "", fmt.Errorf("table %s: option 'path': file system %q is not supported", c.Table, scheme)
	}
	if path == "" {
		return "", fmt.Errorf("table %s: option 'path' is empty", c.Table)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return "", fmt.Errorf("table %s: option 'path' holds a zero byte", c.Table)
	}
	return path, nil
}

type sourceSettings struct {
	regex      *regexp.Regexp
	splitBytes int64
	rate       int64 // bytes in a second; 0 full speed
	interval   time.Duration
	following  bool
	skip       bool
}

func sourceOptions(c connector.Config) (s sourceSettings, err error) {
	if text := c.Get(definition, "source.path.regex-pattern"); text != "" {
		if s.regex, err = regexp.Compile(`^(?:` + text + `)$`); err != nil {
			return s, fmt.Errorf("table %s: option 'source.path.regex-pattern': %w", c.Table, err)
		}
	}
	if s.splitBytes, err = c.Memory(definition, "source.split.bytes"); err != nil {
		return s, err
	}
	if s.splitBytes < 1 {
		return s, fmt.Errorf("table %s: option 'source.split.bytes' must be at least 1", c.Table)
	}
	if s.interval, err = c.Duration(definition, "source.monitor-interval"); err != nil {
		return s, err
	}
	_, s.following = c.Options["source.monitor-interval"]
	if s.following && s.interval <= 0 {
		return s, fmt.Errorf("table %s: option 'source.monitor-interval' must be more than 0", c.Table)
	}
	if s.rate, err = c.Memory(definition, "source.bytes-per-second"); err != nil {
		return s, err
	}
	if _, set := c.Options["source.bytes-per-second"]; set && s.rate < 1 {
		return s, fmt.Errorf("table %s: option 'source.bytes-per-second' must be at least 1", c.Table)
	}
	if s.rate > 0 && s.following {
		return s, fmt.Errorf("table %s: option 'source.bytes-per-second' is not supported together with 'source.monitor-interval'", c.Table)
	}
	s.skip = c.Get(definition, "on-error") == "skip"
	return s, nil
}

// rollingEpochs is how many epochs a file covers.
func rollingEpochs(c connector.Config) (int64, error) {
	interval := int64(max(c.CheckpointEpochs, 1))
	if _, set := c.Options["sink.rolling.epochs"]; !set {
		return interval, nil
	}
	n, err := c.Int(definition, "sink.rolling.epochs")
	if err != nil {
		return 0, err
	}
	if n < 1 || c.CheckpointEpochs > 0 && interval%n != 0 {
		return 0, fmt.Errorf("table %s: option 'sink.rolling.epochs' is %d; it must divide the checkpoint interval of %d epochs", c.Table, n, interval)
	}
	return n, nil
}
