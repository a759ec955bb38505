package seepnode

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/api/client"
)

// queryScale says what is wanted of stages, or shows it.
func (r *remote) queryScale(c *cli.Context) error {
	args, err := words(c, "QUERY", "[STAGE=N]...")
	if err != nil {
		return err
	}
	request, err := scaleRequest(args[1:], c.String("min"), c.String("max"))
	if err != nil {
		return err
	}
	var scale *client.Scale
	if request == nil {
		scale, err = r.QueryScale(r.ctx, args[0])
	} else {
		scale, err = r.ScaleQuery(r.ctx, args[0], *request)
	}
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	return scaleTable(newDisplay(r.app.streams.Out), []client.Scale{*scale})
}

// scaleRequest reads STAGE=N and STAGE=auto; nil when nothing is asked for. Limits alone are of the stages that are automatic.
func scaleRequest(args []string, least, most string) (*client.ScaleRequest, error) {
	if len(args) == 0 && least == "" && most == "" {
		return nil, nil
	}
	out := client.ScaleRequest{Stages: []client.ScaleStage{}}
	var err error
	if out.Min, err = limitOf("min", least); err != nil {
		return nil, err
	}
	if out.Max, err = limitOf("max", most); err != nil {
		return nil, err
	}
	automatic := len(args) == 0
	for _, a := range args {
		i := strings.LastIndexByte(a, '=')
		if i <= 0 {
			return nil, usagef("%q is not STAGE=N or STAGE=auto", a)
		}
		st := client.ScaleStage{Stage: a[:i]}
		if slices.ContainsFunc(out.Stages, func(other client.ScaleStage) bool { return other.Stage == st.Stage }) {
			return nil, usagef("stage %q is named twice", st.Stage)
		}
		if value := a[i+1:]; value != "auto" {
			if st.Partitions, err = strconv.Atoi(value); err != nil || st.Partitions < 1 {
				return nil, usagef("%q: a stage has a number of partitions, 1 or more, or is auto", a)
			}
		}
		automatic = automatic || st.Partitions == 0
		out.Stages = append(out.Stages, st)
	}
	if !automatic && (out.Min > 0 || out.Max > 0) {
		return nil, usagef("--min and --max are of stages that are automatic, and none of %s is", strings.Join(args, " "))
	}
	return &out, nil
}

func limitOf(name, text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, usagef("--%s is %q, not a number of partitions, 1 or more", name, text)
	}
	return n, nil
}

func scaleTable(d *display, list []client.Scale) error {
	var rows [][]cell
	for _, q := range list {
		for _, s := range q.Stages {
			wanted, limits := "as it is", ""
			if s.Wanted > 0 {
				wanted = strconv.Itoa(s.Wanted)
			}
			if s.Auto {
				wanted += ", auto"
			}
			if s.Min > 0 || s.Max > 0 {
				limits = fmt.Sprintf("%d to ", max(1, s.Min))
				if s.Max > 0 {
					limits += strconv.Itoa(s.Max)
				} else {
					limits += "any"
				}
			}
			changing := ""
			if s.Changing {
				changing = "changing"
			}
			rows = append(rows, []cell{word(q.Query), count(int64(s.Stage)), word(s.Name), count(int64(s.Partitions)), word(wanted), word(limits), count(int64(s.KeyGroups)), word(changing)})
		}
	}
	return d.table([]string{"QUERY", "STAGE", "NAME", "PARTITIONS", "WANTED", "LIMITS", "KEY GROUPS", ""}, rows)
}

// drainLook is how often it is looked how far a draining is.
const drainLook = 200 * time.Millisecond

func (r *remote) nodeDrain(c *cli.Context) error {
	args, err := words(c, "NODE")
	if err != nil {
		return err
	}
	n, err := r.DrainNode(r.ctx, args[0])
	if err != nil {
		return err
	}
	for c.Bool("wait") && n.Drain == client.DrainRunning {
		select {
		case <-time.After(drainLook):
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
		if n, err = r.Node(r.ctx, args[0]); err != nil {
			return err
		}
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	switch n.Drain {
	case client.DrainDone:
		return d.line("%s holds nothing any more and may leave", printable(n.Name))
	case client.DrainRunning:
		return errors.Join(d.line("%s gives everything away; it still holds:", printable(n.Name)), heldLines(d, n))
	}
	return d.line("%s is no longer drained", printable(n.Name))
}

func heldLines(d *display, n *client.Node) (err error) {
	for _, what := range n.Holds {
		err = errors.Join(err, d.line("  %s", printable(what)))
	}
	return err
}

func (r *remote) nodeUndrain(c *cli.Context) error {
	args, err := words(c, "NODE")
	if err != nil {
		return err
	}
	n, err := r.UndrainNode(r.ctx, args[0])
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	return newDisplay(r.app.streams.Out).line("%s gets partitions, copies and a vote again", printable(n.Name))
}

func (r *remote) autoscaleStatus(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	a, err := r.Autoscale(r.ctx)
	if err != nil {
		return err
	}
	return r.showAutoscale(a)
}

func (r *remote) autoscalePause(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	a, err := r.PauseAutoscale(r.ctx)
	if err != nil {
		return err
	}
	return r.showAutoscale(a)
}

func (r *remote) autoscaleResume(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	a, err := r.ResumeAutoscale(r.ctx)
	if err != nil {
		return err
	}
	return r.showAutoscale(a)
}

func (r *remote) showAutoscale(a *client.Autoscale) error {
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	text := "on"
	if a.Paused {
		text = d.paint(cell{text: "paused: layouts change only when a person says so", colour: yellow})
	}
	err := d.facts([]fact{{"autoscale", text}})
	if len(a.Queries) > 0 {
		err = errors.Join(err, scaleTable(d, a.Queries), d.line(""))
	}
	return errors.Join(err, autoscaleLoads(d, a))
}
