package seepnode

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// Limits of flags, so that a slip of a finger does not start ten thousand nodes.
const (
	nodesMax   = 64
	workersMax = 1024
)

// Config is a command line, understood. Nothing but configOf looks at the command-line library's values.
type Config struct {
	File     string            // of the query; "-" is standard input
	Set      map[string]string // settings and TABLE.option, which win over the text
	Nodes    int               // in-process nodes
	Workers  int               // of each node; 0: as many as there are processors
	Paranoid bool              // encode, drop and decode touched state after every epoch
	JSON     bool
	Verbose  bool
}

// configOf turns a command's flags and arguments into a Config. A flag that the command does not have has its zero value.
func configOf(c *cli.Context) (Config, error) {
	f := Config{Nodes: 1, Paranoid: c.Bool("paranoid"), JSON: c.Bool("json"), Verbose: c.Bool("verbose"), Set: map[string]string{}}
	switch c.NArg() {
	case 0:
		return f, usagef("%s needs a FILE (\"-\" is standard input)", c.Command.HelpName)
	case 1:
		f.File = c.Args().First()
	default:
		return f, usagef("%s takes one FILE, and %q is one more", c.Command.HelpName, c.Args().Get(1))
	}
	if f.File == "" {
		return f, usagef("%s: the name of FILE is empty", c.Command.HelpName)
	}
	for _, pair := range c.StringSlice("set") {
		key, value, ok := strings.Cut(pair, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return f, usagef("--set %s: it must be KEY=VALUE, where KEY is a setting or TABLE.option", pair)
		}
		f.Set[key] = value
	}
	for _, n := range []struct {
		name string
		most int
		to   *int
	}{{"nodes", nodesMax, &f.Nodes}, {"workers", workersMax, &f.Workers}} {
		if !c.IsSet(n.name) {
			continue
		}
		v, err := strconv.Atoi(c.String(n.name))
		if err != nil || v < 1 || v > n.most {
			return f, usagef("--%s %s: it must be a number from 1 to %d", n.name, c.String(n.name), n.most)
		}
		*n.to = v
	}
	return f, nil
}
