package seepnode

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version and commit are set by the build (-ldflags -X); without, they come from what the Go tool knows.
var version, commit string

// command runs the command that args name.
func (a *app) command(args []string) error {
	commands := a.commands()
	ordered, err := arrange(commands, args)
	if err != nil {
		return err
	}
	wrong := func(_ *cli.Context, err error, _ bool) error { return usagef("%v", err) }
	for _, c := range commands {
		setUp(c, wrong)
	}
	c := &cli.App{
		Name: "seepnode", HelpName: "seepnode", Usage: "streaming SQL that gives the same bytes on one node and on many",
		Commands: commands, HideHelpCommand: true, HideVersion: true,
		Reader: a.streams.In, Writer: a.streams.Out, ErrWriter: a.streams.Err,
		CustomAppHelpTemplate: appHelp, DisableSliceFlagSeparator: true,
		OnUsageError: wrong, ExitErrHandler: func(*cli.Context, error) {},
	}
	return c.Run(append([]string{"seepnode"}, ordered...))
}

func setUp(c *cli.Command, wrong cli.OnUsageErrorFunc) {
	c.OnUsageError, c.HideHelpCommand = wrong, true
	c.CustomHelpTemplate = commandHelp
	if len(c.Subcommands) > 0 {
		c.CustomHelpTemplate = groupHelp
	}
	for _, sub := range c.Subcommands {
		setUp(sub, wrong)
	}
	for _, f := range c.Flags {
		if b, ok := f.(*cli.BoolFlag); ok {
			b.DisableDefaultText = true
		}
	}
}

// commands are made anew for each command line: the library keeps what it has read in them.
func (a *app) commands() []*cli.Command {
	set := &cli.StringSliceFlag{Name: "set", KeepSpace: true, Usage: "set `KEY=VALUE`: a setting of SET, or TABLE.option of a table's WITH clause; wins over the text; may be repeated"}
	withConfig := func(do func(Config) error) cli.ActionFunc {
		return func(c *cli.Context) error {
			config, err := configOf(c)
			if err != nil {
				return err
			}
			return do(config)
		}
	}
	return []*cli.Command{
		{
			Name: "run", Usage: "run a query in this process, to its end or until Ctrl-C", ArgsUsage: "FILE",
			Description: runDescription,
			Flags: []cli.Flag{
				set,
				&cli.StringFlag{Name: "workers", Usage: "`N` goroutines at a time work on each node", DefaultText: "one per processor"},
				&cli.StringFlag{Name: "nodes", Usage: "run on `N` nodes in this process, connected by TCP on the loopback", DefaultText: "1"},
				&cli.BoolFlag{Name: "paranoid", Usage: "encode, drop and decode all touched state after every epoch and compare: slow, for testing operators"},
				&cli.BoolFlag{Name: "json", Usage: "printed rows are JSON objects, one a line; the summary is one JSON line on standard error"},
				&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say more on standard error: the plan's stages, the summary also without a terminal"},
			},
			Action: withConfig(a.run),
		},
		{
			Name: "query", Usage: "queries: check them, give them to a cluster, look after them",
			Description: "\"plan\" and \"validate\" need no cluster.\n\nExample:\n  seepnode query add q.sql --wait",
			Subcommands: append([]*cli.Command{
				{
					Name: "plan", Usage: "show how a query would run: its stages and operators", ArgsUsage: "FILE",
					Description: "FILE \"-\" is standard input.\n\nExample:\n  seepnode query plan q.sql --set orders.path=/data/orders",
					Flags:       []cli.Flag{set, &cli.BoolFlag{Name: "json", Usage: "the compiled plan as JSON"}},
					Action:      withConfig(a.queryPlan),
				},
				{
					Name: "validate", Usage: "check a query's text, tables and options", ArgsUsage: "FILE",
					Description: "FILE \"-\" is standard input. The exit code is 0 when the query is right and 1 when it is not.\n\nExample:\n  seepnode query validate q.sql",
					Flags:       []cli.Flag{set, &cli.BoolFlag{Name: "json", Usage: "the answer as JSON on standard output, also when the query is wrong"}},
					Action:      withConfig(a.queryValidate),
				},
			}, a.clusterQueryCommands(set)...),
		},
		a.agentCommand(), a.tableCommand(), a.nodeCommand(), a.statusCommand(), a.autoscaleCommand(), a.operatorCommand(), a.devCommand(),
		{
			Name: "version", Usage: "show version and commit",
			Description: "Example:\n  seepnode version --json",
			Flags:       []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}},
			Action: func(c *cli.Context) error {
				if c.NArg() > 0 {
					return usagef("seepnode version takes no arguments")
				}
				return writeVersion(a.streams.Out, c.Bool("json"))
			},
		},
	}
}

const runDescription = `FILE holds the statements of one query; "-" is standard input. Rows of a SELECT that stands on
its own and of tables with connector 'print' go to standard output, everything else is told on
standard error; on a terminal a line shows how far the query is.

Ctrl-C stops the query cleanly (exit code 0); a second one ends it at once. Files of a
'filesystem' sink appear when they are whole; what was not whole is thrown away.

Exit codes: 0 done or stopped, 1 failed (also a mistake in FILE), 2 wrong usage.

Examples:
  seepnode run q.sql
  seepnode run q.sql --set orders.path=/data/orders --set execution.runtime-mode=batch
  seepnode run --nodes 5 --workers 2 q.sql
  sed 's/orders/returns/' q.sql | seepnode run -`

// The library's templates, cut down to what is said here.
const (
	commandHelp = `{{.HelpName}} - {{.Usage}}

Usage:
  {{.HelpName}}{{if .VisibleFlags}} [flags]{{end}}{{if .ArgsUsage}} {{.ArgsUsage}}{{end}}

{{.Description}}
{{if .VisibleFlags}}
Flags, before or after arguments:{{range .VisibleFlags}}
  {{.}}{{end}}
{{end}}`

	groupHelp = `{{.HelpName}} - {{.Usage}}

Usage:
  {{.HelpName}} COMMAND

Commands:{{range .VisibleCommands}}
  {{.Name}}{{"\t"}}{{.Usage}}{{end}}

{{.Description}}
`

	appHelp = `seepnode - {{.Usage}}

Usage:
  seepnode COMMAND [flags] [arguments]

Commands:{{range .VisibleCommands}}
  {{.Name}}{{"\t"}}{{.Usage}}{{end}}

"seepnode COMMAND --help" says more about a command.

Examples:
  seepnode run q.sql                           here, without a cluster
  seepnode dev                                 a cluster on this machine
  seepnode agent --join 10.0.0.1               a node of a cluster
  seepnode query add q.sql --wait              give a cluster a query
  seepnode table scan q.counts --limit 10      read its results

Commands that talk to a cluster find it by --address or SEEPNODE_ADDR (127.0.0.1:7600 without) and
show its token from --token-file or SEEPNODE_TOKEN. Exit codes: 0 done, 1 failed, 2 wrong usage.
`
)

// builtVersion is the version and the commit of this binary.
func builtVersion() (v, c string) {
	v, c = version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "" && info.Main.Path == "github.com/seepnode/seepnode" {
			v = info.Main.Version
		}
		for _, dep := range info.Deps {
			if v == "" && dep.Path == "github.com/seepnode/seepnode" {
				v = dep.Version
			}
		}
		for _, s := range info.Settings {
			if c == "" && s.Key == "vcs.revision" {
				c = s.Value
			}
		}
	}
	if v == "" {
		v = "(devel)"
	}
	if c == "" {
		c = "unknown"
	}
	return v, c
}

func writeVersion(w io.Writer, asJSON bool) error {
	v, c := builtVersion()
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Version  string `json:"version"`
			Commit   string `json:"commit"`
			Go       string `json:"go"`
			Platform string `json:"platform"`
		}{v, c, runtime.Version(), platform})
	}
	_, err := fmt.Fprintf(w, "seepnode %s (commit %s, %s, %s)\n", v, c, runtime.Version(), platform)
	return err
}
