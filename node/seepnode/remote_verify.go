package seepnode

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/api/client"
)

func (r *remote) queryVerify(c *cli.Context) error {
	args, err := words(c, "QUERY")
	if err != nil {
		return err
	}
	ctx, done := onSignal(r.ctx)
	defer done()
	screen := newConsole(r.app.streams)
	v, err := r.VerifyQuery(ctx, args[0], func(p client.VerifyProgress) {
		if screen.terminal {
			screen.draw(verifyProgressText(p))
		}
	})
	screen.endLine()
	if err != nil {
		return err
	}
	if r.json {
		err = writeJSON(r.app.streams.Out, v, "  ")
	} else {
		err = showVerification(newDisplay(r.app.streams.Out), v)
	}
	if err == nil && !v.Equal {
		err = fmt.Errorf("query %s gives other results when it is run again on one node: %s", args[0], printable(firstDifference(v)))
	}
	return err
}

func firstDifference(v *client.Verification) string {
	if len(v.Differences) == 0 {
		return "the answer does not say where"
	}
	return v.Differences[0].Text
}

func verifyProgressText(p client.VerifyProgress) string {
	if p.From == 0 {
		return printable(p.Doing)
	}
	return fmt.Sprintf("%s: epoch %s of %s to %s  %s  state %s", printable(p.Doing), grouped(int64(p.Epoch)), grouped(int64(p.From)), grouped(int64(p.To)), counted(int(p.Rows), "row"),
		bytesText(p.StateBytes))
}

// showVerification tells what was compared, and what differs.
func showVerification(d *display, v *client.Verification) error {
	verdict := d.paint(cell{text: "the same", colour: green})
	if !v.Equal {
		verdict = d.paint(cell{text: "different", colour: red})
	}
	facts := []fact{
		{"query " + printable(v.Query), fmt.Sprintf("%s, run again on one node (%s) in %s", verdict, printable(v.Node), lagText(v.ElapsedMs))},
		{"epochs", fmt.Sprintf("%s to %s, of %s", grouped(int64(v.From)), grouped(int64(v.To)), counted(v.Checkpoints, "checkpoint"))},
		{"input", fmt.Sprintf("%s in %s (%s)", counted(int(v.Rows), "row"), counted(v.Seals, "seal"), bytesText(v.SealBytes))},
		{"chains", fmt.Sprintf("%s of %s", grouped(int64(v.Chains)), counted(v.KeyGroups, "key group"))},
		{"files", fmt.Sprintf("%d with %s", v.Files, bytesText(v.FileBytes))},
		{"tables", fmt.Sprintf("%d with %s, at epoch %s", v.Tables, counted(int(v.TableRows), "row"), grouped(int64(v.To)))},
	}
	if len(v.NotCompared) > 0 {
		facts = append(facts, fact{"by chains alone", printable(strings.Join(v.NotCompared, ", "))})
	}
	err := d.facts(facts)
	for i := range v.Differences {
		err = errors.Join(err, d.line("%s %s", d.paint(cell{text: "differs", colour: red}), printable(v.Differences[i].Text)))
	}
	return err
}
