package seepnode

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/api/client"
)

func nodeCell(status string) cell {
	colour := map[string]string{client.NodeAlive: green, client.NodeLost: red, client.NodeLeaving: yellow, client.DrainRunning: yellow, client.DrainDone: yellow, client.NodeLeft: dim}[status]
	return cell{text: printable(status), colour: colour}
}

// roleText is what a node is in the Raft group.
func roleText(n *client.Node) string {
	switch {
	case n.Leader:
		return "leader"
	case n.Voter:
		return "voter"
	}
	return "follower"
}

func (r *remote) nodeList(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	nodes, err := r.Nodes(r.ctx)
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	there := slices.DeleteFunc(slices.Clone(nodes), func(n client.Node) bool { return n.Status == client.NodeLeft })
	if left := len(nodes) - len(there); left > 0 && !c.Bool("all") {
		fmt.Fprintf(r.app.streams.Err, "seepnode: %s more have left; --all shows them, too\n", grouped(int64(left)))
		nodes = there
	}
	return nodeTable(d, nodes)
}

// standing is what a node's column of statuses says: how far its draining is counts while it is there.
func standing(n *client.Node) string {
	if n.Status == client.NodeAlive || n.Status == client.NodeLeaving {
		return cmp.Or(n.Drain, n.Status)
	}
	return n.Status
}

func nodeTable(d *display, nodes []client.Node) error {
	var rows [][]cell
	for i := range nodes {
		n := &nodes[i]
		up := figure("")
		if n.Status == client.NodeAlive && n.UptimeMs > 0 {
			up = figure(agoText(time.Duration(n.UptimeMs) * time.Millisecond))
		}
		rows = append(rows, []cell{
			word(n.Name), nodeCell(standing(n)), word(roleText(n)), count(int64(n.Partitions)), count(int64(n.Shadows)), rate(n.Rates.RowsInPerS), share(n.Busy),
			size(n.VaultBytes), up, word(n.Addresses.HTTP), word(n.Addresses.Data), word(n.Zone), word(n.Reason),
		})
	}
	return d.table([]string{"NODE", "STATUS", "ROLE", "PARTITIONS", "SHADOWS", "ROWS IN/S", "BUSY", "VAULT", "UP", "HTTP", "DATA", "ZONE", "REASON"}, rows)
}

func (r *remote) nodeShow(c *cli.Context) error {
	args, err := words(c, "NODE")
	if err != nil {
		return err
	}
	n, err := r.Node(r.ctx, args[0])
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	var tags []string
	for _, key := range slices.Sorted(maps.Keys(n.Tags)) {
		tags = append(tags, printable(key+"="+n.Tags[key]))
	}
	report := "never"
	if n.LastReportMs >= 0 {
		report = lagText(n.LastReportMs) + " ago"
	}
	blamed := ""
	if !n.BlamedUntil.IsZero() {
		blamed = "none before " + timeText(n.BlamedUntil)
	}
	return errors.Join(d.line("%s  %s", d.paint(cell{text: printable(n.Name), colour: bold}), d.paint(nodeCell(n.Status))), d.facts([]fact{
		{"reason", printable(n.Reason)},
		{"raft", roleText(n)},
		{"partitions", fmt.Sprintf("%d, and %s", n.Partitions, counted(n.Shadows, "shadow"))},
		{"new partitions", blamed},
		{"drain", n.Drain},
		{"still holds", printable(strings.Join(n.Holds, ", "))},
		{"rows", fmt.Sprintf("%s rows/s in, %s rows/s out, %s/s sent", rate(n.Rates.RowsInPerS).text, rate(n.Rates.RowsOutPerS).text, bytesText(int64(n.Rates.BytesPerS)))},
		{"busy", share(n.Busy).text},
		{"vault", fmt.Sprintf("%s, %s", counted(n.VaultBlocks, "block"), bytesText(n.VaultBytes))},
		{"vault full", printable(n.VaultFull)},
		{"output logs", fmt.Sprintf("%s in memory, %s on disk", bytesText(n.LogBytes), bytesText(n.SpilledBytes))},
		{"disk of logs", printable(n.SpillFull)},
		{"machine", fmt.Sprintf("%s, %s", counted(n.Cores, "core"), bytesText(n.MemoryBytes))},
		{"zone", printable(n.Zone)},
		{"tags", strings.Join(tags, " ")},
		{"http", printable(n.Addresses.HTTP)},
		{"data", printable(n.Addresses.Data)},
		{"gossip", printable(n.Addresses.Gossip)},
		{"operators", printable(strings.Join(n.Operators, ", "))},
		{"version", printable(n.Version)},
		{"fingerprint", printable(n.Fingerprint)},
		{"boot", printable(n.Boot)},
		{"started", timeText(n.Started)},
		{"last report", report},
		{"clock", fmt.Sprintf("%+.1f ms off the cluster's time", n.ClockOffsetMs)},
	}))
}

func (r *remote) status(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	s, err := r.Status(r.ctx)
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	leader := printable(s.Leader)
	if leader == "" {
		leader = d.paint(cell{text: "none", colour: red})
	}
	nodes := fmt.Sprintf("%d alive, %s", s.NodesAlive, counted(s.Voters, "voter"))
	if s.NodesLost > 0 {
		nodes += ", " + d.paint(cell{text: fmt.Sprintf("%d lost", s.NodesLost), colour: red})
	}
	if s.NodesLeaving > 0 {
		nodes += fmt.Sprintf(", %d leaving", s.NodesLeaving)
	}
	var queries []string
	for _, state := range slices.Sorted(maps.Keys(s.Queries)) {
		queries = append(queries, fmt.Sprintf("%d %s", s.Queries[state], d.paint(stateCell(state))))
	}
	if queries == nil {
		queries = []string{"none"}
	}
	copies := "all there"
	if s.BlocksBelowK > 0 {
		copies = d.paint(cell{text: counted(s.BlocksBelowK, "block") + " of state with fewer copies than there should be", colour: yellow})
	}
	cluster := printable(s.Cluster)
	if cluster == "" {
		cluster = "none yet"
	}
	err = d.facts([]fact{
		{"cluster", cluster},
		{"leader", fmt.Sprintf("%s, term %d", leader, s.Term)},
		{"nodes", nodes},
		{"queries", strings.Join(queries, ", ")},
		{"rows", fmt.Sprintf("%s rows/s in, %s rows/s out", rate(s.Rates.RowsInPerS).text, rate(s.Rates.RowsOutPerS).text)},
		{"copies", copies},
		{"answered by", printable(s.Node) + ", seepnode " + printable(s.Version)},
	})
	for _, a := range s.Alerts {
		of := ""
		if a.Query != "" && !strings.Contains(a.Text, a.Query) {
			of += "query " + printable(a.Query) + ": "
		}
		if a.Node != "" && !strings.Contains(a.Text, a.Node) {
			of += "node " + printable(a.Node) + ": "
		}
		err = errors.Join(err, d.line("%s %s: %s%s", d.paint(cell{text: "alert", colour: red}), printable(a.Kind), of, printable(a.Text)))
		if a.Hint != "" {
			err = errors.Join(err, d.line("      %s", printable(a.Hint)))
		}
	}
	return err
}

func (r *remote) raftPeers(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	p, err := r.RaftPeers(r.ctx)
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	var rows [][]cell
	for _, peer := range p.Peers {
		role := "non-voter"
		switch {
		case peer.Leader:
			role = "leader"
		case peer.Voter:
			role = "voter"
		}
		rows = append(rows, []cell{word(peer.Node), word(role), nodeCell(peer.Status), word(peer.Address)})
	}
	return errors.Join(
		d.table([]string{"NODE", "ROLE", "STATUS", "ADDRESS"}, rows),
		d.line("\n%s is %s in term %d: log %s, committed %s, applied %s; the leader was heard %s ago", printable(p.Node), printable(p.State), p.Term,
			grouped(int64(p.LastIndex)), grouped(int64(p.CommitIndex)), grouped(int64(p.AppliedIndex)), lagText(p.LeaderSilenceMs)))
}

func (r *remote) raftTransfer(c *cli.Context) error {
	args, err := words(c, "[NODE]")
	if err != nil {
		return err
	}
	to := ""
	if len(args) > 0 {
		to = args[0]
	}
	leader, err := r.TransferRaft(r.ctx, to)
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	return newDisplay(r.app.streams.Out).line("%s leads now", printable(leader))
}
