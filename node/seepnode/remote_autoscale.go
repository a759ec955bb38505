package seepnode

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// autoscaleLoads shows what the leader sees, wants and does.
func autoscaleLoads(d *display, a *client.Autoscale) error {
	errs := []error{d.facts([]fact{
		{"policy", printable(a.Policy) + " on " + printable(a.Leader) + ", which leads"},
		{"nodes wanted", fmt.Sprintf("%d: %s", a.WantedNodes, printable(a.Why))},
	})}
	errs = append(errs, stageUses(d, a.Loads), nodeUses(d, a.Nodes))
	for i := range a.Loads {
		q := &a.Loads[i]
		if q.Text != "" {
			errs = append(errs, d.line("\n%s  %s, %s", printable(q.Name), timeText(q.Decided), printable(q.Text)))
		}
		for _, hot := range q.Hot {
			errs = append(errs, d.line("%s  %s", printable(q.Name), d.paint(cell{text: printable(hot), colour: yellow})))
		}
	}
	if a.Pool != nil {
		errs = append(errs, poolText(d, a.Pool))
	}
	return errors.Join(errs...)
}

func stageUses(d *display, queries []client.AutoscaleQuery) error {
	var rows [][]cell
	for i := range queries {
		q := &queries[i]
		for j := range q.Stages {
			st := &q.Stages[j]
			wanted := "auto"
			switch {
			case st.Fixed > 0:
				wanted = "fixed"
			case st.Min > 0 && st.Max > 0:
				wanted = fmt.Sprintf("auto, %d to %d", st.Min, st.Max)
			case st.Max > 0:
				wanted = fmt.Sprintf("auto, at most %d", st.Max)
			case st.Min > 0:
				wanted = fmt.Sprintf("auto, at least %d", st.Min)
			}
			waiting := ""
			if j == 0 {
				waiting = q.Waiting
			}
			rows = append(rows, []cell{
				word(q.Name), word(fmt.Sprintf("%d %s", st.Stage, st.Name)), count(int64(st.Partitions)), word(wanted), rate(st.RowsInPerS), rate(st.DemandRowsPerS),
				rate(st.TrueRateRowsPerS), share(st.UsedNodes), share(st.NeededNodes), share(st.HottestUse), lag(st.LagMs), faint(waiting),
			})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return errors.Join(d.line(""), d.table([]string{"QUERY", "STAGE", "PARTITIONS", "WANTED", "ROWS IN/S", "DEMAND/S", "NODE TAKES/S", "USED", "NEEDED", "HOTTEST", "LAG", ""}, rows))
}

func nodeUses(d *display, nodes []client.AutoscaleNode) error {
	var list []string
	for _, n := range nodes {
		use := "?"
		if n.Use >= 0 {
			use = share(n.Use).text
		}
		list = append(list, fmt.Sprintf("%s %s", printable(n.Name), use))
	}
	if len(list) == 0 {
		return nil
	}
	return d.line("\nprocessors: %s", strings.Join(list, ", "))
}

func poolText(d *display, p *client.AutoscalePool) error {
	var rows [][]cell
	for _, i := range p.Instances {
		rows = append(rows, []cell{word(i.ID), word(i.State), word(i.Node), word(i.Zone), word(i.Address), word(timeText(i.Launched))})
	}
	failed := printable(p.Error)
	if failed != "" {
		failed = fmt.Sprintf("%s (%s)", failed, printable(p.ErrorKind))
		if wait := time.Until(p.Retry); wait > 0 {
			failed += fmt.Sprintf(", tried again in %s", lagText(wait.Milliseconds()))
		}
	}
	errs := []error{d.line(""), d.facts([]fact{
		{"provider", printable(p.Provider)},
		{"nodes", fmt.Sprintf("%d take work, %d are needed (%s), %d are starting; at most %d", p.Nodes, p.Needed, counted(p.Spares, "spare"), p.Starting, p.MaxNodes)},
		{"pool", printable(p.Waiting)},
		{"error", failed},
		{"problems", printable(strings.Join(p.Problems, "; "))},
	})}
	if len(rows) > 0 {
		errs = append(errs, d.line(""), d.table([]string{"INSTANCE", "STATE", "NODE", "ZONE", "ADDRESS", "LAUNCHED"}, rows))
	}
	const most = 8
	events := p.Events[max(0, len(p.Events)-most):]
	if len(events) > 0 {
		errs = append(errs, d.line(""))
	}
	for _, e := range events {
		errs = append(errs, d.line("%s  %s", timeText(e.Time), printable(e.Text)))
	}
	return errors.Join(errs...)
}
