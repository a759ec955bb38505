package seepnode

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/api/client"
)

// queryTail prints rows as a sink gets them until Ctrl-C or the query's end.
func (r *remote) queryTail(c *cli.Context) error {
	args, err := words(c, "QUERY", "[SINK]")
	if err != nil {
		return err
	}
	limit, err := countFlag(c, "limit", 1<<31-1)
	if err != nil {
		return err
	}
	request := client.TailRequest{Limit: int64(limit)}
	if len(args) > 1 {
		request.Sink = args[1]
	}
	ctx, done := onSignal(r.ctx)
	defer done()
	out := bufio.NewWriter(r.app.streams.Out)
	defer out.Flush() //nolint:errcheck // flushed below; what is left after an error is of no use
	for row, err := range r.Tail(ctx, args[0], request) {
		if errors.Is(context.Cause(ctx), errLeft) {
			return nil
		}
		if err != nil {
			return err
		}
		if row.Dropped > 0 && !r.json {
			fmt.Fprintf(r.app.streams.Err, "seepnode: %s left out: this reader is too slow\n", counted(int(row.Dropped), "row"))
		}
		if r.json {
			err = writeJSON(out, row, "")
		} else {
			_, err = fmt.Fprintln(out, tailText(row))
		}
		if err := errors.Join(err, out.Flush()); err != nil {
			return err
		}
	}
	return nil
}

// tailText is "+I[1, ann]", as 'print' shows a row.
func tailText(row client.TailRow) string {
	_, values, err := orderedRow(row.Row)
	if err != nil {
		return row.Op + string(row.Row)
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = valueText(v, "NULL")
	}
	return printable(row.Op) + "[" + strings.Join(texts, ", ") + "]"
}

// orderedRow takes a JSON object apart in the order of its keys.
func orderedRow(row client.Row) (names []string, values []json.RawMessage, err error) {
	d := json.NewDecoder(strings.NewReader(string(row)))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, errors.New("a row of the answer is no JSON object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, nil, err
		}
		name, _ := t.(string)
		names, values = append(names, name), append(values, v)
	}
	return names, values, nil
}

// valueText is a JSON value for people: a string without its quotes, null as it is called there.
func valueText(v json.RawMessage, null string) string {
	text := string(v)
	if text == "null" {
		return null
	}
	if s := ""; strings.HasPrefix(text, `"`) && json.Unmarshal(v, &s) == nil {
		return printable(s)
	}
	return text
}
