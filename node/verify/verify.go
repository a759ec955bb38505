package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/blackhole"
	"github.com/seepnode/seepnode/node/connector/filesystem"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/table"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Config says what is verified.
type Config struct {
	Plan        *plan.Plan
	T0Ms        int64
	Incarnation uint64
	Resealed    uint32 // the last generation that gave up what was sealed, 0 when none did
	// Floor is a checkpoint at which some state was given up as lost: what came before cannot be run again. 0: there is none.
	Floor topology.Epoch
	Past  *Past
	// Restore gives the state of a stage at a checkpoint, see engine.QueryConfig, when the run cannot begin at the query's start.
	Restore func(ctx context.Context, stage topology.StageID, r topology.Range, epoch topology.Epoch, take func(chain []backup.GroupDelta) error) error
	// Tables are the rows of materialized tables at the Past's last checkpoint, by name; those that are not here are not compared.
	Tables map[string]*Rows

	Connectors *connector.Registry // sources are read through it, sinks are not
	Operators  *operator.Registry
	AllowPaths []string // where files may be, as filesystem.DefinitionWithin takes it; nil: anywhere
	// MemoryBytes bounds the seals and, for itself, the state of the run; 0: unbounded.
	MemoryBytes int64
	// Share is the share of one core's time that the run takes at most, from above 0 to 1; 0: 1.
	Share float64
	// Progress is called now and then. May be nil.
	Progress func(Progress)
	Logger   *slog.Logger
}

// Progress is how far a run is.
type Progress struct {
	From, Epoch, Through topology.Epoch
	Rows                 int64
	StateBytes           int64
}

// MemoryError says that a run would take more memory than it may.
type MemoryError struct {
	What           string
	Bytes, AtMost  int64
	Through, Epoch topology.Epoch
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%s of %d bytes at epoch %d of %d are more than the %d that a verification may take", e.What, e.Bytes, e.Epoch, e.Through, e.AtMost)
}

// progressEvery is how often progress is told and memory looked at.
const progressEvery = 200 * time.Millisecond

// verification is one under way.
type verification struct {
	Config
	from     topology.Epoch
	findings findings
	chains   *chains
	store    *table.Store
	files    *filesystem.Comparison
	pace     pace
	result   Result
}

// Run repeats the run and compares. What differs is in the result.
//
// Errors: *TrimmedError and *MemoryError when it cannot be verified; *engine.SourceError when sources cannot be read as they were sealed; those
// of Restore, of the run and ctx's cause.
func Run(ctx context.Context, c Config) (*Result, error) {
	from, err := c.Past.start(c.Floor)
	if err != nil {
		return nil, err
	}
	v := &verification{Config: c, from: from, store: table.NewStore()}
	v.chains = newChains(c.Past, from, &v.findings)
	v.pace.share = c.Share
	v.files = filesystem.NewComparison(c.Past.through, c.AllowPaths, func(d filesystem.FileDifference) {
		v.findings.add(Difference{Kind: KindFile, After: d.First - 1, Epoch: d.Last, Table: d.Table, File: d.File, Offset: d.Offset, Text: d.Text})
	})
	if c.MemoryBytes > 0 && c.Past.bytes > c.MemoryBytes {
		return nil, &MemoryError{What: "seals", Bytes: c.Past.bytes, AtMost: c.MemoryBytes, Through: c.Past.through}
	}
	connectors, err := v.connectors()
	if err != nil {
		return nil, err
	}
	err = v.run(ctx, connectors)
	if differences := v.findings.first(); err != nil && (len(differences) == 0 || ctx.Err() != nil) {
		return nil, err // otherwise it follows from what differs
	}
	v.chains.count(&v.result)
	v.result.From, v.result.Through = from, c.Past.through
	v.result.Files, v.result.FileBytes = v.files.Compared()
	v.result.Differences = v.findings.first()
	return &v.result, nil
}

// connectors are the query's, with sinks that compare or drop what they get.
func (v *verification) connectors() (*connector.Registry, error) {
	out := &connector.Registry{}
	tables, files := v.store.Definition(), v.files.Definition()
	for _, name := range v.Connectors.Names() {
		d, ok := v.Connectors.Lookup(name)
		if !ok {
			continue
		}
		instead := *d
		switch name {
		case tables.Name:
			instead = *tables
		case files.Name:
			instead.NewSink = files.NewSink
		default:
			if d.NewSink != nil {
				instead.NewSink = blackhole.Definition().NewSink
			}
		}
		if err := out.Register(&instead); err != nil {
			return nil, err
		}
	}
	for _, st := range v.Plan.Stages {
		for _, op := range st.Ops {
			if op.Sink == nil {
				continue
			}
			t := v.Plan.Tables[op.Sink.Table]
			if t.Connector == tables.Name && v.Tables[t.Name] != nil || t.Connector == files.Name {
				continue
			}
			v.result.NotCompared = append(v.result.NotCompared, t.Name)
		}
	}
	return out, nil
}

func (v *verification) run(ctx context.Context, connectors *connector.Registry) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	log, seals := v.Past.log(v.T0Ms, v.from)
	v.result.Seals, v.result.SealBytes = seals, v.Past.bytes
	limits := engine.DefaultLimits()
	limits.Log = dataplane.Limits{Bytes: 8 << 20, Epochs: 64}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	result, err := engine.Run(ctx, v.Plan, engine.Options{Nodes: 1, Workers: 1, Limits: limits, Connectors: connectors, Operators: v.Operators, Logger: v.Logger,
		Stdout: io.Discard, Incarnation: v.Incarnation, Resealed: v.Resealed, Replay: log, From: v.from, Restore: v.Restore, Until: v.Past.through,
		TraceChains: func(stage topology.StageID, r topology.Range, e topology.Epoch, now [][]uint64) {
			v.chains.step(stage, r, e, now)
			v.pace.wait()
		},
		Reached: func() error { return v.compareOutside(ctx) },
		Started: func(progress func() engine.Progress) {
			watching.Go(func() { v.watch(ctx, cancel, progress) })
		}})
	if result != nil {
		v.result.Rows = result.Progress.RowsIn
	}
	var failed *engine.SourceError
	if err != nil && errors.As(err, &failed) {
		return failed
	}
	return err
}

// watch tells of progress and ends a run that takes too much memory.
func (v *verification) watch(ctx context.Context, cancel context.CancelCauseFunc, progress func() engine.Progress) {
	ticks := time.NewTicker(progressEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		p := progress()
		if v.Progress != nil {
			v.Progress(Progress{From: v.from, Epoch: min(p.Epoch, v.Past.through), Through: v.Past.through, Rows: p.RowsIn, StateBytes: p.StateBytes})
		}
		if v.MemoryBytes > 0 && p.StateBytes > v.MemoryBytes {
			cancel(&MemoryError{What: "states", Bytes: p.StateBytes, AtMost: v.MemoryBytes, Through: v.Past.through, Epoch: p.Epoch})
			return
		}
	}
}

// compareOutside compares tables and looks for files that should not be, when all rows are there.
func (v *verification) compareOutside(ctx context.Context) error {
	v.chains.end()
	if err := v.files.Finish(); err != nil {
		return err
	}
	id := topology.QueryID{Incarnation: v.Incarnation, Generation: 1}
	for _, st := range v.Plan.Stages {
		for _, op := range st.Ops {
			if op.Sink == nil {
				continue
			}
			t := v.Plan.Tables[op.Sink.Table]
			held := v.Tables[t.Name]
			if held == nil {
				continue
			}
			var key []string
			for _, i := range t.Primary {
				key = append(key, t.Schema.Fields[i].Name)
			}
			read := func(r topology.Range) ([]table.Row, error) {
				response, err := v.store.Read(ctx, table.Request{Query: id, Table: t.Name, Range: r, Epoch: v.Past.through})
				return response.Rows, err
			}
			err := held.compare(key, read, func(key, text string) {
				v.findings.add(Difference{Kind: KindTable, Epoch: v.Past.through, Stage: st.ID, StageName: st.Name, Table: t.Name, Key: key, Text: text})
			})
			if err != nil {
				return fmt.Errorf("table %s of the run that was repeated: %w", t.Name, err)
			}
			v.result.Tables++
			v.result.TableRows += held.count
		}
	}
	return nil
}

// pace makes a run rest, so that it takes a share of a core at most.
type pace struct {
	share float64
	mu    sync.Mutex
	woke  time.Time
}

// restMax bounds one rest.
const restMax = 50 * time.Millisecond

// wait is called after every step.
func (p *pace) wait() {
	if p.share <= 0 || p.share >= 1 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); !p.woke.IsZero() {
		if rest := time.Duration(float64(now.Sub(p.woke)) * (1 - p.share) / p.share); rest > 100*time.Microsecond {
			time.Sleep(min(rest, restMax))
		}
	}
	p.woke = time.Now()
}
