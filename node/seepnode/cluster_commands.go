package seepnode

import (
	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/api/client"
)

// The commands of a cluster and their help. What they do stands in agent.go, dev.go and remote_*.go.

func (a *app) agentCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "YAML `FILE` with settings under the names of these flags [$SEEPNODE_CONFIG]"},
		&cli.BoolFlag{Name: "config-check", Usage: "print the effective configuration, where each value comes from, and do nothing else"},
	}
	for i := range agentSettings {
		flags = append(flags, agentSettings[i].flag())
	}
	return &cli.Command{Name: "agent", Usage: "run a node of a cluster", Description: agentDescription, Flags: flags, Action: a.agent}
}

const agentDescription = `Without flags the agent is a cluster of one, which survives its own restart. With --join it
becomes a node of another's cluster, and tries until it is. The first nodes of a cluster may also
all be given --bootstrap-expect N and each other's addresses: together they found it once.

Settings come from flags, else from the environment (--data-dir is SEEPNODE_DATA_DIR; lists
with commas between), else from the file of --config, where they have the flags' names:

  data-dir: /var/lib/seepnode
  join: [10.0.0.1, 10.0.0.2]
  tag: {zone: eu-1a}

The data directory is this node's alone; its default stays the same wherever the agent is started:
$STATE_DIRECTORY (systemd), /var/lib/seepnode for root, else $XDG_STATE_HOME/seepnode or
~/.local/state/seepnode. Ports: HTTP API 7600 (loopback), gossip 7601 (TCP, UDP), data 7602 (TCP).

SIGTERM or Ctrl-C hands this node's work over to others, at most 30 s; a second one ends it at
once, from which the cluster recovers as from a crash.

Examples:
  seepnode agent
  seepnode agent --name n2 --join 10.0.0.1 --tag zone=eu-1a
  seepnode agent --http 0.0.0.0:7600 --token-file /etc/seepnode/token --allow-path /data
  seepnode agent --config /etc/seepnode/agent.yaml --config-check`

func (a *app) devCommand() *cli.Command {
	return &cli.Command{
		Name: "dev", Usage: "a local cluster of real processes, until Ctrl-C", Description: devDescription,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "nodes", Usage: "start `N` agents", DefaultText: "3"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "the agents' logs on standard error"},
		},
		Action: a.dev,
	}
}

const devDescription = `Starts agents as processes of their own on free ports of the loopback, with their files in a
temporary directory, and shows how they are doing. Kill one of them to see the others take over.
Ctrl-C ends them and removes their files.

Example:
  seepnode dev --nodes 5`

// clusterQueryCommands are those of "query" that talk to a cluster.
func (a *app) clusterQueryCommands(set cli.Flag) []*cli.Command {
	limit := &cli.StringFlag{Name: "limit", Usage: "the last `N` only"}
	pause := change(func(r *remote, name string) (*client.Query, error) { return r.PauseQuery(r.ctx, name) }, "is paused")
	resume := change(func(r *remote, name string) (*client.Query, error) { return r.ResumeQuery(r.ctx, name) }, "goes on")
	return []*cli.Command{
		{
			Name: "add", Usage: "give the cluster a query", ArgsUsage: "FILE", Description: addDescription,
			Flags: remoteFlags(
				&cli.StringFlag{Name: "name", Usage: "the query's `NAME`", DefaultText: "FILE's, without directory and ending"}, set,
				&cli.BoolFlag{Name: "wait", Usage: "wait until all of it runs, or it has ended"}),
			Action: a.withRemote((*remote).queryAdd),
		},
		{
			Name: "list", Usage: "the cluster's queries", Description: "Example:\n  seepnode query list --address 10.0.0.1:7600",
			Flags: remoteFlags(), Action: a.withRemote((*remote).queryList),
		},
		{
			Name: "show", Usage: "how a query is doing: epoch, lag, rates, stages, partitions, recoveries", ArgsUsage: "QUERY",
			Description: "Example:\n  seepnode query show wordcount",
			Flags:       remoteFlags(), Action: a.withRemote((*remote).queryShow),
		},
		{
			Name: "topology", Usage: "where a query's partitions, copies of state and seals are", ArgsUsage: "QUERY",
			Description: "Example:\n  seepnode query topology wordcount",
			Flags:       remoteFlags(), Action: a.withRemote((*remote).queryTopology),
		},
		{
			Name: "history", Usage: "what happened to a query: failures, recoveries, changes", ArgsUsage: "QUERY",
			Description: "Example:\n  seepnode query history wordcount --limit 20",
			Flags:       remoteFlags(limit), Action: a.withRemote((*remote).queryHistory),
		},
		{
			Name: "pause", Usage: "make a query's sources stand still", ArgsUsage: "QUERY",
			Description: "Example:\n  seepnode query pause wordcount", Flags: remoteFlags(), Action: a.withRemote(pause),
		},
		{
			Name: "resume", Usage: "let a paused query go on", ArgsUsage: "QUERY",
			Description: "Example:\n  seepnode query resume wordcount", Flags: remoteFlags(), Action: a.withRemote(resume),
		},
		{
			Name: "scale", Usage: "say how many partitions its stages have", ArgsUsage: "QUERY [STAGE=N | STAGE=auto]...", Description: scaleDescription,
			Flags: remoteFlags(&cli.StringFlag{Name: "min", Usage: "at least `N` partitions of stages that are automatic"},
				&cli.StringFlag{Name: "max", Usage: "at most `N` of them"}),
			Action: a.withRemote((*remote).queryScale),
		},
		{
			Name: "rm", Usage: "remove a query, its state and its tables", ArgsUsage: "QUERY",
			Description: "What it wrote outside, like files, stays. On a terminal you are asked first.\n\nExample:\n  seepnode query rm wordcount --yes",
			Flags:       remoteFlags(&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}), Action: a.withRemote((*remote).queryRemove),
		},
		{
			Name: "verify", Usage: "run what is kept of a query's input again on one node and compare", ArgsUsage: "QUERY",
			Description: verifyDescription,
			Flags:       remoteFlags(), Action: a.withRemote((*remote).queryVerify),
		},
		{
			Name: "recover", Usage: "let a WAITING query go on without what was lost", ArgsUsage: "QUERY", Description: recoverDescription,
			Flags:  remoteFlags(&cli.BoolFlag{Name: "accept-loss", Usage: "say that results may be missing or wrong"}),
			Action: a.withRemote((*remote).queryRecover),
		},
		{
			Name: "tail", Usage: "rows as a sink gets them, until Ctrl-C", ArgsUsage: "QUERY [SINK]",
			Description: "Rows come once they are durable, from now on, each once wherever the parts of the sink go. The query never waits for who reads: a reader that is too slow is told how many rows were left out (with --json as dropped, of the row behind them).\n\nSINK is needed when the query has several. With --json each row is a line with op, epoch, key_group, index and row.\n\nExample:\n  seepnode query tail wordcount --limit 10",
			Flags:       remoteFlags(&cli.StringFlag{Name: "limit", Usage: "end after `N` rows"}), Action: a.withRemote((*remote).queryTail),
		},
	}
}

const addDescription = `FILE holds the statements of one query; "-" is standard input. Files that it names are looked for
on the nodes, from their working directories: absolute paths are safest. Any node takes it.

Examples:
  seepnode query add wordcount.sql --set lines.path=/data/lines --wait
  sed 's/orders/returns/' q.sql | seepnode query add - --name returns`

const verifyDescription = `The node that answers reads the query's checkpoints from their vaults, runs the query once more by
itself from what its sources sealed, and compares: the hash chains of all key groups at each checkpoint,
files of sinks byte for byte, tables row for row. It reads sources again, writes nowhere, takes half of
one core and a quarter of the node's memory limit at most, and ends with Ctrl-C. It goes up to the latest
complete checkpoint, from as far back as there are seals: some checkpoints, or the query's start with
SET 'seal.retention' = 'all'. The exit code is 1 when something differs or it cannot be verified.

Examples:
  seepnode query verify wordcount
  seepnode query verify wordcount --json`

const scaleDescription = `STAGE is a stage's number in the plan, its name, a part of its name, or * for all of them. A stage with N is fixed;
one that is auto, as all are at first, grows and shrinks with its load. A stage has at most one
partition on each node that takes partitions, whatever is wanted, and follows when nodes come. Limits
are of each stage that is named with auto, which has no others then; without stages, of those that are
auto, where a limit that is not given stays as it is. Without stages and limits the answer is how they are. Nothing stops
meanwhile: new partitions are brought up beside the old ones and take over when they have caught up;
"seepnode query history" tells of each change.

Examples:
  seepnode query scale wordcount
  seepnode query scale wordcount count=4
  seepnode query scale wordcount '*=auto' --min 1 --max 8
  seepnode query scale wordcount --max 12`

const recoverDescription = `A query is WAITING when the seals or the state of some of its partitions are on no node that can be
reached. It goes on by itself, without any loss, when such a node comes back with its disk; "seepnode
query show" names them. This command is for when none ever will: the query goes on from its latest
complete checkpoint, and the answer says what may be missing.

Example:
  seepnode query recover wordcount --accept-loss`

func (a *app) tableCommand() *cli.Command {
	epoch := &cli.StringFlag{Name: "epoch", Usage: "as of epoch `E`", DefaultText: "the latest"}
	format := &cli.StringFlag{Name: "format", Usage: "`FORMAT` table, csv or json (one object a line)", DefaultText: "table"}
	return &cli.Command{
		Name: "table", Usage: "read materialized tables", Description: "Example:\n  seepnode table scan wordcount.counts --order-by n --desc --limit 10",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "the tables of all queries", Description: "Example:\n  seepnode table list",
				Flags: remoteFlags(), Action: a.withRemote((*remote).tableList),
			},
			{
				Name: "get", Usage: "the row with a primary key", ArgsUsage: "QUERY.TABLE KEY...",
				Description: "One KEY for each column of the primary key, in its order. The exit code is 1 when there is no such row.\n\nExample:\n  seepnode table get wordcount.counts the",
				Flags:       remoteFlags(epoch, format), Action: a.withRemote((*remote).tableGet),
			},
			{
				Name: "scan", Usage: "the rows of a table at one epoch", ArgsUsage: "QUERY.TABLE",
				Description: "All rows are of the same epoch, a consistent cut.\n\nExample:\n  seepnode table scan wordcount.counts --where 'n > 100' --order-by n --desc --limit 10 --format csv",
				Flags: remoteFlags(
					&cli.StringFlag{Name: "where", Usage: "only rows for which the SQL `CONDITION` is true"},
					&cli.StringFlag{Name: "order-by", Usage: "in the order of `COLUMN`"},
					&cli.BoolFlag{Name: "desc", Usage: "the greatest first"},
					&cli.StringFlag{Name: "limit", Usage: "at most `N` rows", DefaultText: "1000"},
					epoch, format),
				Action: a.withRemote((*remote).tableScan),
			},
		},
	}
}

func (a *app) nodeCommand() *cli.Command {
	return &cli.Command{
		Name: "node", Usage: "look at the cluster's nodes", Description: "Example:\n  seepnode node list",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "all nodes", Description: "Example:\n  seepnode node list --json",
				Flags:  remoteFlags(&cli.BoolFlag{Name: "all", Usage: "those that have left, too"}),
				Action: a.withRemote((*remote).nodeList),
			},
			{
				Name: "show", Usage: "all of one node", ArgsUsage: "NODE", Description: "Example:\n  seepnode node show n1",
				Flags: remoteFlags(), Action: a.withRemote((*remote).nodeShow),
			},
			{
				Name: "drain", Usage: "move everything off a node, so that it may leave", ArgsUsage: "NODE",
				Description: "Partitions, copies of state and seals, and its vote go to others; it gets nothing new until it is undrained,\nalso when it is restarted.\n\nExample:\n  seepnode node drain n3 --wait",
				Flags:       remoteFlags(&cli.BoolFlag{Name: "wait", Usage: "wait until it holds nothing any more"}), Action: a.withRemote((*remote).nodeDrain),
			},
			{
				Name: "undrain", Usage: "let a node get partitions again", ArgsUsage: "NODE", Description: "Example:\n  seepnode node undrain n3",
				Flags: remoteFlags(), Action: a.withRemote((*remote).nodeUndrain),
			},
		},
	}
}

func (a *app) autoscaleCommand() *cli.Command {
	return &cli.Command{
		Name: "autoscale", Usage: "what changes the layout of queries by itself", Description: "Example:\n  seepnode autoscale status",
		Subcommands: []*cli.Command{
			{
				Name: "status", Usage: "what it does, and what is wanted of each stage", Description: "Example:\n  seepnode autoscale status",
				Flags: remoteFlags(), Action: a.withRemote((*remote).autoscaleStatus),
			},
			{
				Name: "pause", Usage: "let all layouts be; what people ask for is still done", Description: "Example:\n  seepnode autoscale pause",
				Flags: remoteFlags(), Action: a.withRemote((*remote).autoscalePause),
			},
			{
				Name: "resume", Usage: "let it go on", Description: "Example:\n  seepnode autoscale resume",
				Flags: remoteFlags(), Action: a.withRemote((*remote).autoscaleResume),
			},
		},
	}
}

func (a *app) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "how the cluster is doing, and what a person should look at", Description: "Example:\n  seepnode status --address 10.0.0.1:7600,10.0.0.2:7600",
		Flags: remoteFlags(), Action: a.withRemote((*remote).status),
	}
}

func (a *app) operatorCommand() *cli.Command {
	return &cli.Command{
		Name: "operator", Usage: "for who operates the cluster", Description: "Example:\n  seepnode operator raft peers",
		Subcommands: []*cli.Command{{
			Name: "raft", Usage: "the group that keeps the cluster's metadata", Description: "Example:\n  seepnode operator raft transfer n2",
			Subcommands: []*cli.Command{
				{
					Name: "peers", Usage: "its members", Description: "Example:\n  seepnode operator raft peers",
					Flags: remoteFlags(), Action: a.withRemote((*remote).raftPeers),
				},
				{
					Name: "transfer", Usage: "hand the leadership to a voter", ArgsUsage: "[NODE]",
					Description: "Without NODE it goes to the voter that is most up to date.\n\nExample:\n  seepnode operator raft transfer n2",
					Flags:       remoteFlags(), Action: a.withRemote((*remote).raftTransfer),
				},
			},
		}},
	}
}
