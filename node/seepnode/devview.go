package seepnode

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/node/api/client"
)

// devView shows a local cluster: on a terminal in place, elsewhere a line for each change.
type devView struct {
	cluster  *devCluster
	to       io.Writer
	terminal *os.File // nil: none, or logs are shown and would be torn apart
	lines    int      // drawn in place
	dead     map[string]string
	said     map[string]string // what the last line of each thing said, without a terminal
}

func newDevView(d *devCluster) *devView {
	v := &devView{cluster: d, to: d.app.streams.Err, dead: map[string]string{}, said: map[string]string{}}
	if screen := newConsole(d.app.streams); screen.terminal && !d.verbose {
		v.terminal, _ = d.app.streams.Err.(*os.File)
	}
	return v
}

// head says what is there and what to do with it.
func (v *devView) head() {
	d := v.cluster
	fmt.Fprintf(v.to, "%s, their files in %s; logs: %s\n", counted(len(d.agents), "agent"), d.dir, d.agents[0].log)
	fmt.Fprintf(v.to, "  in another terminal:  export %s=%s\n", addressEnv, d.addresses())
	fmt.Fprintf(v.to, "                        seepnode query add FILE --wait\n")
	fmt.Fprintf(v.to, "  Ctrl-C ends them and removes their files\n\n")
	if v.terminal == nil {
		for _, agent := range d.agents {
			fmt.Fprintf(v.to, "agent %s is process %d, HTTP on %s\n", agent.name, agent.command.Process.Pid, agent.http)
		}
	}
}

// died notes that an agent's process has ended.
func (v *devView) died(n *devAgent) {
	how := "ended"
	if n.err != nil {
		how = n.err.Error()
	}
	v.dead[n.name] = how
	if v.terminal == nil {
		v.say("process "+n.name, fmt.Sprintf("agent %s (process %d): %s", n.name, n.command.Process.Pid, how))
	}
}

func (v *devView) show(l *look) {
	if v.terminal == nil {
		v.changes(l)
		return
	}
	var b bytes.Buffer
	paint := newDisplay(v.terminal)
	v.draw(&display{&b, paint.colour}, l)
	v.replace(b.String())
}

// draw writes the whole view. A bytes.Buffer takes everything, so errors cannot be.
func (v *devView) draw(d *display, l *look) {
	known := map[string]*client.Node{}
	for i := range l.nodes {
		known[l.nodes[i].Name] = &l.nodes[i]
	}
	var rows [][]cell
	for _, agent := range v.cluster.agents {
		row := []cell{word(agent.name), {text: "starting", colour: yellow}, word(""), figure(strconv.Itoa(agent.command.Process.Pid)), figure(""), figure(""), figure(""), word(agent.http)}
		if n := known[agent.name]; n != nil {
			row[1], row[2] = nodeCell(n.Status), word(roleText(n))
			row[4], row[5], row[6] = count(int64(n.Partitions)), rate(n.Rates.RowsInPerS), size(n.VaultBytes)
		}
		if how, dead := v.dead[agent.name]; dead {
			row[1], row[2] = cell{text: how, colour: red}, word("")
		}
		rows = append(rows, row)
	}
	_ = d.table([]string{"NODE", "STATUS", "ROLE", "PROCESS", "PARTITIONS", "ROWS IN/S", "VAULT", "HTTP"}, rows)
	if len(l.queries) > 0 {
		rows = rows[:0]
		for i := range l.queries {
			q := &l.queries[i]
			rows = append(rows, []cell{
				word(q.Name), stateCell(q.State), count(int64(q.Epoch)), lag(q.EpochLagMs), rate(q.Rates.RowsInPerS), figure(fmt.Sprintf("%d/%d", q.PartitionsRunning, q.Partitions)),
				lag(q.CheckpointAgeMs), alarmText(q.BlocksBelowK), word(q.Reason),
			})
		}
		_ = d.line("")
		_ = d.table([]string{"QUERY", "STATE", "EPOCH", "LAG", "ROWS IN/S", "PARTITIONS", "CHECKPOINT AGE", "BELOW K", "REASON"}, rows)
	}
	if l.status != nil {
		for _, a := range l.status.Alerts {
			_ = d.line("%s %s", d.paint(cell{text: "alert", colour: red}), printable(a.Text))
		}
	}
	if l.err != nil {
		_ = d.line("%s", d.paint(cell{text: printable(l.err.Error()), colour: dim}))
	}
}

// replace puts text where the last one stood, cut to what the terminal shows: a line that wraps could not be taken back.
func (v *devView) replace(text string) {
	width, height := terminalWidth(v.terminal), terminalHeight(v.terminal)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if most := height - 1; most > 0 && len(lines) > most {
		lines = lines[:most]
	}
	var b strings.Builder
	if v.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.lines)
	}
	b.WriteString("\r\x1b[J")
	for _, l := range lines {
		b.WriteString(cutLine(l, width-1) + "\n")
	}
	v.lines = len(lines)
	_, _ = io.WriteString(v.to, b.String()) // a terminal that is gone sends a signal, too
}

// cutLine gives the first most characters of a line and all of its colours.
func cutLine(s string, most int) string {
	var b strings.Builder
	shown, escape := 0, false
	for _, r := range s {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if shown++; shown > most {
				continue
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}

// close leaves what was drawn where it is.
func (v *devView) close() { v.lines = 0 }

// changes says in lines what has changed.
func (v *devView) changes(l *look) {
	if l.status != nil && l.status.Leader != "" {
		v.say("leader", "leader is "+printable(l.status.Leader))
	}
	for i := range l.nodes {
		n := &l.nodes[i]
		v.say("node "+n.Name, fmt.Sprintf("node %s is %s, HTTP on %s", printable(n.Name), printable(n.Status), printable(n.Addresses.HTTP)))
	}
	for i := range l.queries {
		v.say("query "+l.queries[i].Name, fmt.Sprintf("query %s is %s", printable(l.queries[i].Name), stateText(&l.queries[i])))
	}
}

func (v *devView) say(thing, text string) {
	if v.said[thing] != text {
		v.said[thing] = text
		fmt.Fprintln(v.to, text)
	}
}
