package print

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format/json"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// bufferKeep is the largest buffer, in bytes, that a lane keeps when it has printed all.
	bufferKeep = 1 << 20
	// waitingMax bounds the bytes that wait for Commit. Lines beyond are printed before their epoch is durable.
	waitingMax = 64 << 20
)

var definition = &connector.Definition{
	Name: "print",
	Doc:  "Shows rows, one a line, on the standard output of the node that made them. After a failure some may be shown again.",
	Options: []connector.Option{
		{Name: "print-identifier", Doc: "A prefix of every line, followed by '> '."},
		{Name: "standard-error", Kind: connector.Bool, Default: "false", Doc: "Write to standard error instead."},
		{Name: "format", Kind: connector.Enum, Default: "text", Values: []string{"text", "json"}, Doc: "'text' is Flink's '+I[1, a]'; 'json' is one object a line, with 'op' and 'epoch' before the columns."},
	},
	Fused:   true,
	Updates: true,
}

func init() { definition.NewSink = newSink }

// Definition declares the connector.
func Definition() *connector.Definition { return definition }

type sink struct {
	mu     sync.Mutex // one Write at a time
	to     io.Writer
	table  string
	config connector.Config
	prefix string
	json   bool
}

func newSink(c connector.Config) (connector.Sink, error) {
	s := &sink{to: c.Stdout, table: c.Table, config: c}
	toError, err := c.Bool(definition, "standard-error")
	if err != nil {
		return nil, err
	}
	if toError {
		s.to = os.Stderr
	} else if s.to == nil {
		s.to = os.Stdout
	}
	if id := c.Get(definition, "print-identifier"); id != "" {
		s.prefix = id + "> "
	}
	switch f := c.Get(definition, "format"); f {
	case "text":
	case "json":
		s.json = true
	default:
		return nil, fmt.Errorf("table %s: option 'format' is %q; it must be 'text' or 'json'", c.Table, f)
	}
	return s, nil
}

func (s *sink) Open(context.Context, int) (connector.Lane, error) {
	l := &lane{sink: s}
	if s.json {
		plain := s.config
		plain.Options = nil
		var err error
		if l.encoder, err = json.NewEncoder(plain); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (s *sink) Close(bool) error { return nil }

// write writes lines, each with its end, in one call and says how many bytes of them it wrote.
func (s *sink) write(lines []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.to.Write(lines)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return n, &connector.BlockedError{What: fmt.Sprintf("table %s: the disk that printed rows go to is full: free space and the query goes on", s.table), Err: err}
	}
	if err != nil {
		return n, fmt.Errorf("table %s: printing: %w", s.table, err)
	}
	return n, nil
}

type lane struct {
	sink    *sink
	encoder *json.Encoder
	buffer  []byte // lines that wait
	ends    []mark // of the epochs that have lines waiting, ascending
	before  []byte // key of the row before
	key     []byte

	seen, committed topology.Epoch
}

// mark says where the lines of an epoch end in the buffer.
type mark struct {
	epoch topology.Epoch
	end   int
}

// Write keeps the rows' lines for Commit.
func (l *lane) Write(_, last topology.Epoch, rows []connector.Rows) error {
	if last == l.seen {
		// Again, after printing early was blocked.
		return l.relieve()
	}
	from := len(l.buffer)
	cursor := position{rows: rows}
	for b, i, ok := cursor.next(); ok; {
		nextBatch, nextRow, more := cursor.next()
		op := "+I"
		if b.Weight(i) == batch.Retract {
			op = "-D"
			if more && nextBatch.Weight(nextRow) == batch.Insert && l.sameKey(b, i, nextBatch, nextRow) {
				if err := l.line("-U", last, b, i); err != nil {
					return err
				}
				op, b, i = "+U", nextBatch, nextRow
				nextBatch, nextRow, more = cursor.next()
			}
		}
		if err := l.line(op, last, b, i); err != nil {
			return err
		}
		b, i, ok = nextBatch, nextRow, more
	}
	if len(l.buffer) > from {
		l.ends = append(l.ends, mark{last, len(l.buffer)})
	}
	l.seen = last
	return l.relieve()
}

// relieve prints early what is more than may wait.
func (l *lane) relieve() error {
	if len(l.buffer) <= waitingMax {
		return nil
	}
	return l.print(len(l.ends))
}

// Commit prints the lines of the epochs up to through with one call of the output's Write.
func (l *lane) Commit(through topology.Epoch) error {
	n := 0
	for n < len(l.ends) && l.ends[n].epoch <= through {
		n++
	}
	if err := l.print(n); err != nil {
		return err
	}
	l.committed = max(l.committed, through)
	return nil
}

// print prints the lines of the first n epochs that have some waiting. What is printed is not printed again when it is blocked.
func (l *lane) print(n int) error {
	if n == 0 {
		return nil
	}
	end := l.ends[n-1].end
	written, err := l.sink.write(l.buffer[:end])
	l.buffer = l.buffer[:copy(l.buffer, l.buffer[written:])]
	for i := range l.ends {
		l.ends[i].end -= written
	}
	if err != nil {
		return err
	}
	l.ends = l.ends[:copy(l.ends, l.ends[n:])]
	if len(l.buffer) == 0 && cap(l.buffer) > bufferKeep {
		l.buffer = nil
	}
	return nil
}

// Committed is what was given to Commit.
func (l *lane) Committed() topology.Epoch { return l.committed }

// sameKey says whether two rows are versions of one row of a changelog, as far as is known.
func (l *lane) sameKey(a *batch.Batch, i int, b *batch.Batch, k int) bool {
	columns := l.sink.config.UpsertKey
	if columns == nil {
		return false
	}
	l.before = batch.AppendKey(l.before[:0], a, columns, i)
	l.key = batch.AppendKey(l.key[:0], b, columns, k)
	return bytes.Equal(l.before, l.key)
}

func (l *lane) line(op string, epoch topology.Epoch, b *batch.Batch, i int) (err error) {
	l.buffer = append(l.buffer, l.sink.prefix...)
	if l.sink.json {
		l.buffer = fmt.Appendf(l.buffer, `{"op":"%s","epoch":%d`, op, epoch)
		if l.buffer, err = l.encoder.AppendFields(l.buffer, b, i, false); err != nil {
			return fmt.Errorf("table %s: printing: %w", l.sink.table, err)
		}
	} else {
		l.buffer = append(l.buffer, op...)
		l.buffer = append(l.buffer, '[')
		for k := range b.Cols {
			if k > 0 {
				l.buffer = append(l.buffer, ", "...)
			}
			l.buffer = appendValue(l.buffer, &b.Cols[k], i, l.sink.config.Zone)
		}
		l.buffer = append(l.buffer, ']')
	}
	l.buffer = append(l.buffer, '\n')
	return nil
}

// End prints what still waits.
func (l *lane) End() error { return l.Commit(l.seen) }

// Close throws away what waits.
func (l *lane) Close() error {
	l.buffer, l.ends = nil, nil
	return nil
}

// position walks over rows of several views.
type position struct {
	rows []connector.Rows
	view int
	row  int // from the view's From
}

func (p *position) next() (*batch.Batch, int, bool) {
	for p.view < len(p.rows) {
		v := p.rows[p.view]
		if at := v.From + p.row; at < v.To {
			p.row++
			return v.Batch, at, true
		}
		p.view, p.row = p.view+1, 0
	}
	return nil, 0, false
}
