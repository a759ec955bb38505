package main

import (
	"fmt"
	"strconv"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/operator"
)

// idleAlert declares
//
//	idle_alert(TABLE events PARTITION BY (device), limit_ms)
//
// which gives a row (device, last_value, last_at, alert_at) whenever a device sends nothing for more than limit_ms of event time. The
// table needs a column "at" TIMESTAMP(3) or TIMESTAMP_LTZ(3) and a column "reading" DOUBLE. A device's rows are expected in order
// of time; one that is older than the latest is ignored. When a bounded table ends, every device has fallen silent.
func idleAlert() *operator.Definition {
	return &operator.Definition{
		Name: "idle_alert",
		Doc:  "Tells of devices that send nothing for longer than a limit in milliseconds.",
		Bind: bindIdleAlert,
	}
}

// bindIdleAlert runs while the query is planned: what it refuses is shown at the call's place in the SQL text.
func bindIdleAlert(call operator.Call) (operator.Binding, error) {
	var none operator.Binding
	if len(call.PartitionBy) == 0 {
		return none, fmt.Errorf("say which device a row is of: TABLE events PARTITION BY (device)")
	}
	if len(call.Args) != 1 || call.Args[0].Null {
		return none, fmt.Errorf("one argument is needed, the limit in milliseconds")
	}
	limitMs, err := strconv.ParseInt(call.Args[0].Text, 10, 64)
	if err != nil || limitMs < 1 {
		return none, fmt.Errorf("the limit %q is not a number of milliseconds above 0", call.Args[0].Text)
	}
	at, reading := call.Input.Index("at"), call.Input.Index("reading")
	if at < 0 || !call.Input.Fields[at].Type.IsTime() {
		return none, fmt.Errorf("the table has no column \"at\" of type TIMESTAMP(3)")
	}
	if reading < 0 || call.Input.Fields[reading].Type.ID != batch.Double {
		return none, fmt.Errorf("the table has no column \"reading\" of type DOUBLE")
	}
	time := call.Input.Fields[at].Type.Nullable()
	return operator.Binding{
		Output: batch.NewSchema(
			batch.Field{Name: "last_value", Type: batch.TypeDouble},
			batch.Field{Name: "last_at", Type: time},
			batch.Field{Name: "alert_at", Type: time},
		),
		New: func() operator.Operator { return &idle{at: at, reading: reading, limitMs: limitMs} },
	}, nil
}

// idle is the object of one key group. Its fields are constants of the call; all it remembers of devices is in last.
type idle struct {
	at, reading int // columns
	limitMs     int64
	last        *state.Value[latest]
}

// latest is what is remembered of a device.
type latest struct {
	AtMs    int64
	Reading float64
	Alerted bool // its silence was told already
}

// Open declares state; what was checkpointed under this name is there again after a restore.
func (o *idle) Open(s operator.Setup) (err error) {
	o.last, err = state.NewValue[latest](s, "last")
	return err
}

// Row takes one row; o.last is that of the row's device.
func (o *idle) Row(ctx *operator.Context, row batch.Row) error {
	if row.IsNull(o.at) || row.IsNull(o.reading) {
		return nil
	}
	now := latest{AtMs: row.Int64(o.at), Reading: row.Float64(o.reading)}
	before, known := o.last.Get()
	if known && now.AtMs <= before.AtMs {
		return nil
	}
	// Rows of one epoch come before its timers. A silence that ends in the epoch in which it would be told is told here, so that
	// the alerts are the same however the rows were cut into epochs.
	if known && !before.Alerted && now.AtMs-before.AtMs > o.limitMs {
		o.alert(ctx, before)
	}
	o.last.Set(now)
	return ctx.SetTimer("silent", now.AtMs+o.limitMs)
}

// Timer is called when the watermark passes the timer's time: no row came that would have moved it.
func (o *idle) Timer(ctx *operator.Context, _ operator.Timer) error {
	v, known := o.last.Get()
	if !known || v.Alerted {
		return nil
	}
	o.alert(ctx, v)
	v.Alerted = true
	o.last.Set(v)
	return nil
}

func (o *idle) alert(ctx *operator.Context, v latest) {
	ctx.Out.Float64(v.Reading).Int64(v.AtMs).Int64(v.AtMs + o.limitMs).End()
}
