package seepnode

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/agent"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// pollInterval is the time between two looks at a query that is waited for.
const pollInterval = 250 * time.Millisecond

// queryAdd gives the cluster a query.
func (r *remote) queryAdd(c *cli.Context) error {
	config, err := configOf(c)
	if err != nil {
		return err
	}
	file, src, err := r.app.read(config.File)
	if err != nil {
		return err
	}
	if len(src) > client.MaxSQLBytes {
		return fmt.Errorf("%s has more than %d bytes, which no query may have", file, client.MaxSQLBytes)
	}
	name := c.String("name")
	if !c.IsSet("name") {
		if name, err = nameFrom(config.File); err != nil {
			return err
		}
	} else if agent.CheckName(name) != nil {
		return usagef("--name %q: a query's name has letters, digits, and behind the first also _ - and .", name)
	}
	q, err := r.AddQuery(r.ctx, client.AddQueryRequest{Name: name, SQL: src, Set: config.Set})
	if err != nil {
		return mistake(file, src, err)
	}
	if c.Bool("wait") {
		if q, err = r.follow(name); err != nil {
			return err
		}
	}
	if r.json {
		err = r.printJSON()
	} else {
		err = newDisplay(r.app.streams.Out).line("query %s is added: %s", q.Name, stateText(q))
	}
	if err == nil && q.State == client.StateFailed {
		return fmt.Errorf("query %s failed: %s", q.Name, q.Reason)
	}
	return err
}

// nameFrom makes a query's name of its file's.
func nameFrom(file string) (string, error) {
	if file == "-" {
		return "", usagef("a query from standard input needs a name: give --name N")
	}
	name := filepath.Base(file)
	name = strings.TrimSuffix(name, filepath.Ext(name))
	if agent.CheckName(name) != nil {
		return "", usagef("%s gives no usable name for a query: give --name N, with letters, digits, and behind the first also _ - and .", file)
	}
	return name, nil
}

// errLeft is why a wait ends that a person ends.
var errLeft = errors.New("not waiting any longer")

// onSignal ends ctx at the first SIGINT or SIGTERM, with errLeft as its cause.
func onSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-signals:
			cancel(errLeft)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		<-gone
	}
}

// follow looks at a query until it runs or has ended. On a terminal a line shows how far it is.
func (r *remote) follow(name string) (*client.Query, error) {
	screen := newConsole(r.app.streams)
	defer screen.endLine()
	ctx, done := onSignal(r.ctx)
	defer done()
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	for {
		detail, err := r.Query(ctx, name)
		if err == nil && detail.Reached(client.UntilRunning) {
			return &detail.Query, nil
		}
		if err == nil {
			if screen.terminal {
				screen.draw(name + ": " + stateText(&detail.Query))
			}
			select {
			case <-ticks.C:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if errors.Is(context.Cause(ctx), errLeft) {
			return nil, fmt.Errorf("%w: query %s is in the cluster and goes on; look with: seepnode query show %s", errLeft, name, name)
		}
		return nil, err
	}
}

// stateText is "RUNNING, 3 of 4 partitions run" and why.
func stateText(q *client.Query) string {
	text := printable(q.State)
	switch {
	case q.State != client.StateRunning:
	case q.Partitions == 0:
		text += ", not placed yet"
	case q.PartitionsRunning < q.Partitions:
		text += fmt.Sprintf(", %d of %s run", q.PartitionsRunning, counted(q.Partitions, "partition"))
	}
	if q.Reason != "" {
		text += ": " + printable(q.Reason)
	}
	if q.Resolves != "" {
		text += " (" + printable(q.Resolves) + ")"
	}
	return text
}

func stateCell(state string) cell {
	colour := map[string]string{
		client.StateRunning: green, client.StateFinished: blue, client.StatePaused: dim, client.StateRemoving: dim,
		client.StateWaiting: yellow, client.StateBlocked: yellow, client.StateFailed: red,
	}[state]
	return cell{text: printable(state), colour: colour}
}

func (r *remote) queryList(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	queries, err := r.Queries(r.ctx)
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	if len(queries) == 0 {
		return d.line("no queries; add one with: seepnode query add FILE")
	}
	var rows [][]cell
	for i := range queries {
		q := &queries[i]
		rows = append(rows, []cell{
			word(q.Name), stateCell(q.State), count(int64(q.Epoch)), lag(q.EpochLagMs), rate(q.Rates.RowsInPerS), rate(q.Rates.RowsOutPerS),
			figure(fmt.Sprintf("%d/%d", q.PartitionsRunning, q.Partitions)), lag(q.CheckpointAgeMs), alarmText(q.BlocksBelowK), word(q.Reason),
		})
	}
	return d.table([]string{"QUERY", "STATE", "EPOCH", "LAG", "ROWS IN/S", "ROWS OUT/S", "PARTITIONS", "CHECKPOINT AGE", "BELOW K", "REASON"}, rows)
}

// alarmText is a count that is only worth a column when there is something.
func alarmText(n int) cell {
	if n == 0 {
		return figure("")
	}
	return alarm(int64(n), yellow)
}

func (r *remote) queryShow(c *cli.Context) error {
	args, err := words(c, "QUERY")
	if err != nil {
		return err
	}
	q, err := r.Query(r.ctx, args[0])
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	state := stateCell(q.State)
	title := d.paint(cell{text: printable(q.Name), colour: bold}) + "  " + d.paint(state)
	if err := errors.Join(d.line("%s", title), d.facts(queryFacts(q)), d.line("")); err != nil {
		return err
	}
	if err := stageTable(d, q.Stages); err != nil || len(q.Parts) == 0 {
		return err
	}
	if err := errors.Join(d.line(""), partitionTable(d, q.Parts)); err != nil || len(q.Sinks) == 0 {
		return err
	}
	var rows [][]cell
	for _, s := range q.Sinks {
		rows = append(rows, []cell{word(s.Name), word(s.Connector), count(int64(s.Lanes)), count(int64(s.CommittedEpoch))})
	}
	return errors.Join(d.line(""), d.table([]string{"SINK", "CONNECTOR", "LANES", "COMMITTED EPOCH"}, rows))
}

func queryFacts(q *client.QueryDetail) []fact {
	watermark := ""
	if !q.Watermark.IsZero() {
		watermark = fmt.Sprintf("%s, %s behind", timeText(q.Watermark), lagText(q.WatermarkLagMs))
	}
	copies := "all there"
	if q.BlocksBelowK > 0 {
		copies = counted(q.BlocksBelowK, "block") + " of state with fewer copies than there should be"
	}
	recoveries := strconv.Itoa(q.Recoveries)
	if l := q.LastRecovery; l != nil {
		recoveries += "; the last: " + recoveryText(l)
	}
	return []fact{
		{"reason", printable(q.Reason)},
		{"to resolve", printable(q.Resolves)},
		{"epoch", fmt.Sprintf("%s of %s each, lag %s", grouped(int64(q.Epoch)), lagText(q.EpochMs), lagText(q.EpochLagMs))},
		{"watermark", watermark},
		{"rows", fmt.Sprintf("%s in, %s out; now %s rows/s in, %s rows/s out", grouped(q.RowsIn), grouped(q.RowsOut), rate(q.Rates.RowsInPerS).text, rate(q.Rates.RowsOutPerS).text)},
		{"late, skipped", fmt.Sprintf("%s, %s", grouped(q.RowsLate), grouped(q.RowsSkipped))},
		{"partitions", fmt.Sprintf("%d, of which %d run", q.Partitions, q.PartitionsRunning)},
		{"checkpoint", fmt.Sprintf("epoch %s is complete, %s old; trimmed up to %s", grouped(int64(q.CompleteEpoch)), lagText(q.CheckpointAgeMs), grouped(int64(q.TrimEpoch)))},
		{"state, logs", fmt.Sprintf("%s, %s and %s on disk; %s of seals kept", bytesText(q.StateBytes), bytesText(q.LogBytes), bytesText(q.SpilledBytes), bytesText(q.SealBytes))},
		{"copies", copies},
		{"recoveries", recoveries},
		{"added", fmt.Sprintf("%s, incarnation %d, generation %d", timeText(q.Added), q.Incarnation, q.Generation)},
	}
}

func recoveryText(l *client.Recovery) string {
	leader := ""
	if l.Leader {
		leader = ", the leader"
	}
	total := l.DetectMs + l.CommitMs + l.RestoreMs + l.ReplayMs
	return fmt.Sprintf("%s, %s%s was lost (%s): %s = detect %d + commit %d + restore %d + replay %d", timeText(l.At), printable(l.Node), leader,
		printable(l.Reason), lagText(total), l.DetectMs, l.CommitMs, l.RestoreMs, l.ReplayMs)
}

func stageTable(d *display, stages []client.StageInfo) error {
	var rows [][]cell
	for _, s := range stages {
		rows = append(rows, []cell{
			figure(strconv.Itoa(int(s.Stage))), word(strings.Join(s.Operators, ", ")), count(int64(s.Partitions)), count(int64(s.KeyGroups)), count(int64(s.Epoch)),
			rate(s.Rates.RowsInPerS), rate(s.Rates.RowsOutPerS), share(s.Busy), share(s.Idle), share(s.Blocked), size(s.StateBytes), size(s.LogBytes),
		})
	}
	return d.table([]string{"STAGE", "OPERATORS", "PARTITIONS", "KEY GROUPS", "EPOCH", "ROWS IN/S", "ROWS OUT/S", "BUSY", "IDLE", "BLOCKED", "STATE", "LOGS"}, rows)
}

func partitionTable(d *display, parts []client.Partition) error {
	var rows [][]cell
	for _, p := range parts {
		phase := cell{text: printable(p.Phase), colour: map[string]string{client.PhaseRunning: green, client.PhaseEnded: blue}[p.Phase]}
		if phase.colour == plain {
			phase.colour = yellow
		}
		rows = append(rows, []cell{
			figure(strconv.Itoa(int(p.Stage))), word(p.Range.String()), word(p.Node), word(p.Role), phase, count(int64(p.Epoch)), durableCell(p.Durable),
			count(int64(p.RestoredEpoch)), count(p.RowsIn), count(p.RowsOut), share(p.Busy), share(p.Idle), share(p.Blocked), size(p.StateBytes),
		})
	}
	return d.table([]string{"STAGE", "PARTITION", "NODE", "ROLE", "PHASE", "EPOCH", "DURABLE", "RESTORED", "ROWS IN", "ROWS OUT", "BUSY", "IDLE", "BLOCKED", "STATE"}, rows)
}

// durableCell is the last epoch on disk everywhere. Of inputs that have ended that is every later one too.
func durableCell(e topology.Epoch) cell {
	if e == topology.EpochForever {
		return figure("all")
	}
	return count(int64(e))
}

func (r *remote) queryTopology(c *cli.Context) error {
	args, err := words(c, "QUERY")
	if err != nil {
		return err
	}
	t, err := r.Topology(r.ctx, args[0])
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	var parts []client.Partition
	var vaults, seals [][]cell
	for _, s := range t.Stages {
		parts = append(parts, s.Partitions...)
		for _, v := range s.Vaults {
			full := cell{text: fmt.Sprintf("%d/%d", v.Full, v.Wanted), colour: green, right: true}
			if v.Full < v.Wanted {
				full.colour = yellow
			}
			vaults = append(vaults, []cell{figure(strconv.Itoa(int(s.Stage))), word(blocksText(v)), word(strings.Join(v.Members, ", ")), full})
		}
	}
	for _, s := range t.SealSets {
		fenced := cell{}
		if s.Fenced {
			fenced = cell{text: "fenced", colour: yellow}
		}
		seals = append(seals, []cell{figure(strconv.FormatUint(uint64(s.Log), 10)), word(s.Owner), count(int64(s.Term)), word(strings.Join(s.Members, ", ")), fenced})
	}
	err = errors.Join(
		d.line("%s, version %d: checkpoint %s is complete, trimmed up to %s\n", printable(t.Query), t.Version, grouped(int64(t.CompleteEpoch)), grouped(int64(t.TrimEpoch))),
		partitionTable(d, parts))
	if len(vaults) > 0 {
		err = errors.Join(err, d.line(""), d.table([]string{"STAGE", "BLOCKS", "VAULTS", "COPIES"}, vaults))
	}
	if len(seals) > 0 {
		err = errors.Join(err, d.line(""), d.table([]string{"SEAL LOG", "OWNER", "TERM", "VAULTS", ""}, seals))
	}
	return err
}

// blocksText is "0-3, 7".
func blocksText(v client.VaultBlocks) string {
	var parts []string
	for i := 0; i < len(v.Blocks); {
		j := i
		for j+1 < len(v.Blocks) && v.Blocks[j+1] == v.Blocks[j]+1 {
			j++
		}
		text := strconv.Itoa(int(v.Blocks[i]))
		if j > i {
			text += "-" + strconv.Itoa(int(v.Blocks[j]))
		}
		parts, i = append(parts, text), j+1
	}
	return strings.Join(parts, ", ")
}

func (r *remote) queryHistory(c *cli.Context) error {
	args, err := words(c, "QUERY")
	if err != nil {
		return err
	}
	limit, err := countFlag(c, "limit", client.MaxHistory)
	if err != nil {
		return err
	}
	entries, err := r.History(r.ctx, args[0], client.HistoryRequest{Limit: limit})
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	var rows [][]cell
	for _, e := range entries {
		var figures []string
		for _, key := range slices.Sorted(maps.Keys(e.Figures)) {
			figures = append(figures, key+"="+e.Figures[key])
		}
		rows = append(rows, []cell{figure(strconv.FormatUint(e.Seq, 10)), faint(timeText(e.Time)), word(e.Kind), word(e.Text), word(strings.Join(figures, " "))})
	}
	return newDisplay(r.app.streams.Out).table([]string{"#", "TIME", "WHAT", "", "FIGURES"}, rows)
}

// countFlag is a flag with a number from 1 to most; 0 when it is not given.
func countFlag(c *cli.Context, name string, most int) (int, error) {
	if !c.IsSet(name) {
		return 0, nil
	}
	n, err := strconv.Atoi(c.String(name))
	if err != nil || n < 1 || n > most {
		return 0, usagef("--%s %s: it must be a number from 1 to %d", name, c.String(name), most)
	}
	return n, nil
}

// change makes a command of a call that changes a query.
func change(call func(r *remote, name string) (*client.Query, error), said string) func(r *remote, c *cli.Context) error {
	return func(r *remote, c *cli.Context) error {
		args, err := words(c, "QUERY")
		if err != nil {
			return err
		}
		q, err := call(r, args[0])
		if err != nil {
			return err
		}
		if r.json {
			return r.printJSON()
		}
		return newDisplay(r.app.streams.Out).line("query %s %s: %s", printable(q.Name), said, stateText(q))
	}
}

func (r *remote) queryRemove(c *cli.Context) error {
	args, err := words(c, "QUERY")
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		agreed, err := r.app.confirm(fmt.Sprintf("Remove query %s, its state and its tables?", printable(args[0])))
		if err != nil || !agreed {
			return errors.Join(err, errors.New("nothing was removed"))
		}
	}
	return change(func(r *remote, name string) (*client.Query, error) { return r.RemoveQuery(r.ctx, name) }, "is being removed")(r, c)
}

// confirm asks a person at a terminal; without one the answer is yes: a script has said what it wants.
func (a *app) confirm(question string) (bool, error) {
	in, ok := a.streams.In.(*os.File)
	if !ok || terminalWidth(in) <= 0 {
		return true, nil
	}
	fmt.Fprintf(a.streams.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

func (r *remote) queryRecover(c *cli.Context) error {
	args, err := words(c, "QUERY")
	if err != nil {
		return err
	}
	if !c.Bool("accept-loss") {
		return usagef("query recover goes on without what cannot be had, so results may be missing or wrong: say so with --accept-loss; \"seepnode query show %s\" says what would bring it back without loss", args[0])
	}
	v, err := r.RecoverQuery(r.ctx, args[0], client.RecoverRequest{AcceptLoss: true})
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	err = d.line("query %s goes on behind epoch %s as generation %d: %s", printable(v.Query.Name), grouped(int64(v.From)), v.Query.Generation, stateText(&v.Query))
	for _, missing := range v.Missing {
		err = errors.Join(err, d.line("  may be missing: %s", printable(missing)))
	}
	return err
}
