package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/fleet"
)

const (
	// never is a checkpoint interval that is longer than any run.
	never = 1 << 20
	// settleBudget bounds the wait for a checkpoint, lossBudget a recovery.
	settleBudget = 2 * time.Minute
	lossBudget   = 90 * time.Second
	lookEvery    = 10 * time.Millisecond
	// toldWithin is how long the history may take to tell of a recovery that is over.
	toldWithin = 5 * time.Second
	// placements is how often a query is added anew until its stages are apart.
	placements = 12
)

// Ways to recover, of the paper.
const (
	stateManagement = "state management"
	upstreamBackup  = "upstream backup"
	sourceReplay    = "source replay"
)

// recoveries is experiment (c).
func recoveries(ctx context.Context, b *bench) error {
	out, err := b.report.data("c-recovery.csv", "way", "checkpoint_s", "rows_per_s", "state_mb", "parts", "replayed_ms", "caught_up_ms", "detect_ms", "commit_ms", "restore_ms", "replay_ms", "silence_ms")
	if err != nil {
		return err
	}
	defer out.close()
	b.report.text("Workers of 0.4 cores, one partition of the keyed stage, whose node is lost by kill -9 when nine tenths of a checkpoint interval are over, or of the window. *All replayed* is")
	b.report.text("the paper's measure: from the kill until the result table shows all rows that were due before it; *caught up* is when the query lags less than %s again.", fleet.LagMost)
	b.report.text("Upstream backup: no checkpoint is complete, all that the upstream stage has emitted since the query began is retained and sent again. Source replay: the same, and")
	b.report.text("the source's node is lost at the same moment, so that nothing is retained and the rows are read again from their seals.\n")
	intervals := pick(b, []int{128, 512, 2048, 4096}, []int{128, 512})
	rates := pick(b, []int{500, 1000, 2000}, []int{1000})
	losses := pick(b, 2, 1)
	var rows [][]string
	measure := func(way string, epochs, rate int) error {
		o, err := b.recoveryWith(ctx, way, epochs, rate, losses)
		if err != nil {
			return fmt.Errorf("%s, %d rows/s, %s: %w", way, rate, seconds(epochs), err)
		}
		for _, x := range o {
			if err := out.row(way, float64(epochs)/100, rate, float64(x.stateBytes)/1e6, x.parts, x.replayed, x.caughtUp, x.detect, x.commit, x.restore, x.replay, x.silence); err != nil {
				return err
			}
		}
		replayed, caught := means(o)
		say("%s, %d rows/s, %s: all replayed %s ms, caught up %s ms", way, rate, seconds(epochs), sample.Ms(replayed), sample.Ms(caught))
		rows = append(rows, []string{way, fmt.Sprintf("%.1f", float64(epochs)/100), strconv.Itoa(rate), sample.Ms(replayed), sample.Ms(caught), strconv.Itoa(len(o))})
		return nil
	}
	for _, rate := range rates {
		for _, epochs := range intervals {
			if err := measure(stateManagement, epochs, rate); err != nil {
				return err
			}
		}
		// The window that is retained.
		window := pick(b, 1024, 512)
		for _, way := range []string{upstreamBackup, sourceReplay} {
			if err := measure(way, window, rate); err != nil {
				return err
			}
		}
	}
	b.report.text("Means. For upstream backup and source replay the second column is the window.\n")
	b.report.markdown([]string{"way", "checkpoint every, s", "rows/s", "all replayed, ms", "caught up, ms", "losses"}, rows)
	c := chart{Name: "c-recovery", Title: "Recovery against checkpoint interval", X: "checkpoint interval, s"}
	for _, y := range []struct{ column, label string }{{"replayed_ms", "all replayed, ms"}, {"caught_up_ms", "caught up, ms"}} {
		p := panel{Y: y.label}
		for _, rate := range rates {
			p.Series = append(p.Series, series{Name: fmt.Sprintf("%d rows/s", rate), File: out.name, X: "checkpoint_s", Y: y.column,
				Where: map[string]string{"way": stateManagement, "rows_per_s": strconv.Itoa(rate)}, Style: "points"})
		}
		c.Panels = append(c.Panels, p)
	}
	b.report.chart(c)
	w := chart{Name: "c-ways", Title: "Ways to recover", X: "rows/s", Panels: []panel{{Y: "all replayed, ms"}}}
	for _, s := range []struct{ way, interval string }{{stateManagement, "5.120"}, {upstreamBackup, ""}, {sourceReplay, ""}} {
		where := map[string]string{"way": s.way}
		if s.interval != "" {
			where["checkpoint_s"] = s.interval
		}
		w.Panels[0].Series = append(w.Panels[0].Series, series{Name: s.way, File: out.name, X: "rows_per_s", Y: "replayed_ms", Where: where, Style: "points"})
	}
	b.report.chart(w)
	return nil
}

func seconds(epochs int) string { return fmt.Sprintf("%.2f s", float64(epochs)/100) }

// loss is what was measured of one.
type loss struct {
	stateBytes int64 // that was lost
	parts      int   // nodes of the keyed stage afterwards
	// replayed is the paper's recovery time.
	replayed, caughtUp, silence time.Duration
	// Phases as the cluster tells them.
	detect, commit, restore, replay time.Duration
}

func means(losses []loss) (replayed, caught time.Duration) {
	for _, l := range losses {
		replayed += l.replayed
		caught += l.caughtUp
	}
	n := time.Duration(max(1, len(losses)))
	return replayed / n, caught / n
}

// recoveryWith loses the node of the keyed stage again and again. Without checkpoints each loss is in a cluster of its own: what is
// retained must be the window and no more.
func (b *bench) recoveryWith(ctx context.Context, way string, epochs, rate, losses int) (out []loss, err error) {
	load := fleet.Workload{Rate: fleet.Steady(rate), Keys: 1000, StateBytes: 100, Work: 2, Checkpoints: epochs}
	if way != stateManagement {
		load.Checkpoints = never
		for range losses {
			l, err := b.loseWithin(ctx, load, way, time.Duration(epochs)*10*time.Millisecond)
			if err != nil {
				return nil, err
			}
			out = append(out, l...)
		}
		return out, nil
	}
	f, err := b.newRig(ctx, 4, 0.4)
	if err != nil {
		return nil, err
	}
	defer func() { err = f.Close(err) }()
	if err := f.addApart(ctx, load); err != nil {
		return nil, err
	}
	for range losses {
		if err := f.awaitCheckpoint(ctx, load.Checkpoints); err != nil {
			return nil, err
		}
		l, err := f.lose(ctx, f.agentOf(ctx, false))
		if err != nil {
			return nil, err
		}
		out = append(out, *l)
	}
	return out, nil
}

func (b *bench) loseWithin(ctx context.Context, load fleet.Workload, way string, window time.Duration) (_ []loss, err error) {
	f, err := b.newRig(ctx, 4, 0.4)
	if err != nil {
		return nil, err
	}
	defer func() { err = f.Close(err) }()
	if err := f.addApart(ctx, load); err != nil {
		return nil, err
	}
	if err := pause(ctx, time.Until(f.Clock.Start.Add(window*9/10))); err != nil {
		return nil, err
	}
	victims := []string{f.agentOf(ctx, false)}
	if way == sourceReplay {
		victims = append(victims, f.agentOf(ctx, true))
	}
	l, err := f.lose(ctx, victims...)
	if err != nil {
		return nil, err
	}
	return []loss{*l}, nil
}

// addApart adds a query so that the keyed stage and the source whose rows are counted are on different nodes.
func (f *rig) addApart(ctx context.Context, load fleet.Workload) error {
	for range placements {
		if err := f.Add(ctx, load); err != nil {
			return err
		}
		keyed, source := f.agentOf(ctx, false), f.agentOf(ctx, true)
		if keyed == "" || source == "" {
			return errors.New("the query has no keyed stage, or no source")
		}
		if keyed != source {
			return nil
		}
		if err := f.remove(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("the source and the keyed stage came to lie on one node %d times", placements)
}

func (f *rig) remove(ctx context.Context) error {
	if _, err := f.Asks.RemoveQuery(ctx, fleet.QueryName); err != nil {
		return err
	}
	return f.Await(ctx, "the query to be gone", func(ctx context.Context) (bool, string, error) {
		_, err := f.Query(ctx)
		return client.IsNotFound(err), fmt.Sprint(err), nil
	})
}

// agentOf names the node that runs the first partition of the keyed stage, or of the source whose rows are counted, which is the last source.
func (f *rig) agentOf(ctx context.Context, source bool) (node string) {
	t, err := f.Asks.Topology(ctx, fleet.QueryName)
	if err != nil {
		return ""
	}
	for _, st := range t.Stages {
		if i := slices.IndexFunc(st.Partitions, func(p client.Partition) bool { return p.Role == client.RoleActive }); st.Source == source && i >= 0 {
			node = st.Partitions[i].Node
		}
	}
	return node
}

// awaitCheckpoint waits until nine tenths of the interval behind a complete checkpoint are over.
func (f *rig) awaitCheckpoint(ctx context.Context, epochs int) error {
	from := topology.Epoch(-1)
	ctx, cancel := context.WithTimeoutCause(ctx, settleBudget, fmt.Errorf("not there after %s", settleBudget))
	defer cancel()
	var complete topology.Epoch
	err := f.Await(ctx, "a complete checkpoint", func(ctx context.Context) (bool, string, error) {
		q, err := f.Query(ctx)
		if err != nil {
			return false, err.Error(), nil
		}
		if from < 0 {
			from = q.CompleteEpoch
		}
		complete = q.CompleteEpoch
		return complete > from, fmt.Sprintf("the last one is that of epoch %d", complete), nil
	})
	if err != nil {
		return err
	}
	return pause(ctx, time.Until(f.Clock.Time(complete).Add(time.Duration(epochs)*10*time.Millisecond*9/10)))
}

// lose kills nodes, measures until all is as before, and starts them again.
func (f *rig) lose(ctx context.Context, nodes ...string) (*loss, error) {
	q, err := f.Query(ctx)
	if err != nil {
		return nil, err
	}
	l := &loss{}
	for _, p := range q.Parts {
		if p.Role == client.RoleActive && slices.Contains(nodes, p.Node) {
			l.stateBytes += p.StateBytes
		}
	}
	seq, err := f.historySeq(ctx)
	if err != nil {
		return nil, err
	}
	w, err := f.Watch(ctx)
	if err != nil {
		return nil, err
	}
	defer w.End()
	if err := pause(ctx, 200*time.Millisecond); err != nil {
		return nil, err
	}
	at := time.Now()
	var victims []int
	for _, name := range nodes {
		victims = append(victims, f.Find(name))
	}
	for _, i := range victims {
		if err := f.Kill(i); err != nil {
			return nil, err
		}
	}
	if err := f.observe(ctx, l, at, seq, nodes); err != nil {
		return nil, err
	}
	if l.replayed, err = w.Shows(ctx, at); err != nil {
		return nil, err
	}
	l.silence = w.Silence(at, time.Now())
	for _, i := range victims {
		if err := f.Restart(i); err != nil {
			return nil, err
		}
	}
	if err := f.AwaitMembers(ctx); err != nil {
		return nil, err
	}
	return l, f.Settle(ctx, func(*client.QueryDetail) bool { return true })
}

func (f *rig) historySeq(ctx context.Context) (uint64, error) {
	h, err := f.Asks.History(ctx, fleet.QueryName, client.HistoryRequest{Limit: 1})
	if err != nil || len(h) == 0 {
		return 0, err
	}
	return h[len(h)-1].Seq, nil
}

// observe waits until the query has caught up and the history tells how.
func (f *rig) observe(ctx context.Context, l *loss, at time.Time, seq uint64, gone []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lossBudget, fmt.Errorf("not there after %s", lossBudget))
	defer cancel()
	asks, err := f.Poll(0, 1, 2)
	if err != nil {
		return err
	}
	defer asks.Close()
	for {
		q, err := asks.Query(ctx, fleet.QueryName)
		onGone := err == nil && slices.ContainsFunc(q.Parts, func(p client.Partition) bool { return p.Role == client.RoleActive && slices.Contains(gone, p.Node) })
		if err == nil && fleet.CaughtUp(q) && !onGone {
			_, l.parts = fleet.Layout(q)
			break
		}
		if err := errors.Join(f.Check(), pause(ctx, lookEvery)); err != nil {
			return fmt.Errorf("waiting for the query to catch up: %w", err)
		}
	}
	l.caughtUp = time.Since(at)
	told, cancel := context.WithTimeoutCause(ctx, toldWithin, errors.New("the history does not tell of the recovery"))
	defer cancel()
	for {
		h, err := asks.History(told, fleet.QueryName, client.HistoryRequest{After: seq})
		if err == nil && l.read(h) == len(gone) {
			return nil
		}
		if err := pause(told, lookEvery); err != nil {
			return err
		}
	}
}

// read takes the slowest recovery of a history and counts them.
func (l *loss) read(h []client.HistoryEntry) (n int) {
	var slowest time.Duration
	for _, e := range h {
		if e.Kind != "recovered" {
			continue
		}
		n++
		figure := func(name string) time.Duration {
			v, _ := strconv.ParseInt(e.Figures[name], 10, 64) // what is not told took no time
			return time.Duration(v) * time.Millisecond
		}
		x := loss{detect: figure("detect_ms"), commit: figure("commit_ms"), restore: figure("restore_ms"), replay: figure("replay_ms")}
		if all := x.detect + x.commit + x.restore + x.replay; all >= slowest {
			slowest = all
			l.detect, l.commit, l.restore, l.replay = x.detect, x.commit, x.restore, x.replay
		}
	}
	return n
}

// parallelRecovery is experiment (p): a partition of 100 MB is lost, which as many others take over as there are.
func parallelRecovery(ctx context.Context, b *bench) error {
	out, err := b.report.data("c-parallel.csv", "parts", "state_mb", "rows_per_s", "replayed_ms", "caught_up_ms", "restore_ms", "replay_ms", "silence_ms")
	if err != nil {
		return err
	}
	defer out.close()
	sizes := pick(b, []int{100, 150}, []int{100})
	const rate = 500
	losses := pick(b, 2, 1)
	b.report.text("Workers of 0.3 cores, %d rows/s, checkpoints every 5.12 s; a lost partition goes to as many nodes as bring its restore below 200 ms, at most to those", rate)
	b.report.text("that there are: 1, 2 or 4.\n")
	var rows [][]string
	took := map[[2]int]time.Duration{}
	for _, size := range sizes {
		for _, others := range []int{1, 2, 4} {
			o, err := b.losePartition(ctx, fleet.Workload{Rate: fleet.Steady(rate), Keys: size * 1000, StateBytes: 1000, Work: 4, Checkpoints: 512}, others, losses)
			if err != nil {
				return fmt.Errorf("%d MB to %d nodes: %w", size, others, err)
			}
			for _, x := range o {
				if err := out.row(x.parts, size, rate, x.replayed, x.caughtUp, x.restore, x.replay, x.silence); err != nil {
					return err
				}
			}
			replayed, caught := means(o)
			took[[2]int{size, others}] = caught
			say("%d MB to %d of %d nodes: all replayed %s ms, caught up %s ms", size, o[0].parts, others, sample.Ms(replayed), sample.Ms(caught))
			rows = append(rows, []string{strconv.Itoa(size), strconv.Itoa(others), strconv.Itoa(o[0].parts), sample.Ms(replayed), sample.Ms(caught), strconv.Itoa(len(o))})
		}
	}
	b.report.markdown([]string{"MB", "other nodes", "parts", "all replayed, ms", "caught up, ms", "losses"}, rows)
	serial := took[[2]int{100, 1}]
	parallel := min(took[[2]int{100, 2}], took[[2]int{100, 4}])
	b.report.aim("parallel recovery faster than serial at 100 MB", parallel < serial, "caught up after %s ms in parallel, %s ms serial", sample.Ms(parallel), sample.Ms(serial))
	b.report.chart(chart{Name: "c-parallel", Title: "Parallel recovery, 100 MB", X: "parts", Panels: []panel{{Y: "ms", Series: []series{
		{Name: "all replayed", File: out.name, X: "parts", Y: "replayed_ms", Where: map[string]string{"state_mb": "100"}, Style: "points"},
		{Name: "caught up", File: out.name, X: "parts", Y: "caught_up_ms", Where: map[string]string{"state_mb": "100"}, Style: "points"}}}}})
	return nil
}

// losePartition loses the node of the keyed stage in clusters of its own, in which others nodes are left.
func (b *bench) losePartition(ctx context.Context, load fleet.Workload, others, losses int) (out []loss, err error) {
	for range losses {
		l, err := b.loseOnce(ctx, load, others)
		if err != nil {
			return nil, err
		}
		out = append(out, *l)
	}
	return out, nil
}

func (b *bench) loseOnce(ctx context.Context, load fleet.Workload, others int) (_ *loss, err error) {
	f, err := b.newRig(ctx, others+1, 0.3)
	if err != nil {
		return nil, err
	}
	defer func() { err = f.Close(err) }()
	if err := f.addApart(ctx, load); err != nil {
		return nil, err
	}
	if err := f.awaitCheckpoint(ctx, load.Checkpoints); err != nil {
		return nil, err
	}
	return f.lose(ctx, f.agentOf(ctx, false))
}
