package filesystem

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// flushBytes is how much a lane gathers before it writes.
	flushBytes = 256 << 10
	// openRollsMax bounds the finished rolls whose files are kept open until they are published.
	openRollsMax = 64
)

// lane writes the files of one lane: a roll's rows go to a temporary file, begun with the first of them; Commit gives it its name.
// Several processes may write one lane at the same time, of which all but one do not know yet that they have been replaced: they
// share no temporary file, and of a file that has its name already each makes sure that it is the one it would have published.
type lane struct {
	sink    *sink
	writing *format.Writing
	number  int
	prefix  string // of its files' names
	opening string // tells this writer's temporary files from others'
	marker  *marker

	seen      topology.Epoch // the last one written, or 0
	began     int64          // the first roll
	committed topology.Epoch
	filling   *roll   // nil: none has a row
	finished  []*roll // ascending; wait for Commit
	// earlier are the rolls behind the start that a predecessor published and that this lane has not come to, ascending.
	earlier []int64
	buffer  []byte // encoded for filling and not yet in its file
	unsafe  bool   // names were given that the directory may forget

	// done is how many rows of call are in the buffer or the file: a call that was blocked goes on behind them.
	call  [2]topology.Epoch
	done  int
	ended bool
	err   error // the lane is broken
}

// Write adds rows to the temporary file of last's roll, and finishes files whose rolls have ended.
func (l *lane) Write(first, last topology.Epoch, rows []connector.Rows) error {
	if l.err != nil {
		return l.err
	}
	if err := l.follow(first, last); err != nil {
		return l.failed(err)
	}
	if err := l.add(last, rows); err != nil {
		return l.failed(err)
	}
	l.seen, l.call, l.done = last, [2]topology.Epoch{}, 0
	return nil
}

// follow holds a call's epochs against the last call's.
func (l *lane) follow(first, last topology.Epoch) error {
	call := [2]topology.Epoch{first, last}
	switch {
	case l.call == call:
		return nil // again
	case l.call != [2]topology.Epoch{}:
		return fmt.Errorf("epochs [%d,%d] are written while [%d,%d] wait", first, last, l.call[0], l.call[1])
	case l.ended:
		return fmt.Errorf("epochs [%d,%d] come behind the end at epoch %d", first, last, l.seen)
	case first < 1 || last < first || l.seen != 0 && first != l.seen+1:
		return fmt.Errorf("epochs [%d,%d] do not follow epoch %d", first, last, l.seen)
	case l.seen == 0 && int64(first-1)%l.sink.epochs != 0:
		// Its file would hold a part of the roll and take the place of the whole.
		return fmt.Errorf("epoch %d is not the first of a roll of %d epochs", first, l.sink.epochs)
	}
	if l.seen == 0 {
		l.began = int64(first-1) / l.sink.epochs
		if err := l.findEarlier(l.began); err != nil {
			return err
		}
		l.committed = max(l.committed, first-1)
	}
	l.call, l.done = call, 0
	return nil
}

func (l *lane) add(last topology.Epoch, rows []connector.Rows) error {
	number := int64(last-1) / l.sink.epochs
	if l.filling != nil && l.filling.number != number {
		if err := l.finish(); err != nil {
			return err
		}
	}
	skip := l.done
	for _, r := range rows {
		if skip >= r.To-r.From {
			skip -= r.To - r.From
			continue
		}
		for i := r.From + skip; i < r.To; i++ {
			if err := l.row(number, r.Batch, i); err != nil {
				return err
			}
			l.done++
		}
		skip = 0
	}
	if l.filling != nil && int64(last)%l.sink.epochs == 0 {
		return l.finish()
	}
	return nil
}

func (l *lane) row(number int64, b *batch.Batch, i int) (err error) {
	if b.Weight(i) != batch.Insert {
		return errors.New("a retraction, and files can only be added to")
	}
	if l.filling == nil {
		l.filling = l.newRoll(number)
		l.buffer = append(l.buffer[:0], l.writing.Header...)
	} else if len(l.buffer) >= flushBytes {
		// Before the row rather than behind it: when the disk is full the row has not been taken.
		if err := l.flush(); err != nil {
			return err
		}
	}
	if l.buffer, err = l.writing.Encoder.Append(l.buffer, b, i); err != nil {
		return err
	}
	l.buffer = append(l.buffer, '\n')
	return nil
}

// flush writes the buffer to the filling roll's file. What did not fit stays in the buffer.
func (l *lane) flush() error {
	r := l.filling
	if r.file == nil {
		if err := l.create(r); err != nil {
			return err
		}
	}
	n, err := r.append(l.sink.disk, l.buffer)
	l.buffer = l.buffer[:copy(l.buffer, l.buffer[n:])]
	return err
}

// finish takes the filling roll to those that wait for Commit. Of many of them the older ones' files are closed.
func (l *lane) finish() error {
	if len(l.buffer) > 0 {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if spare := len(l.finished) - openRollsMax; spare >= 0 {
		if err := l.finished[spare].release(l.sink.disk); err != nil {
			return err
		}
	}
	l.finished, l.filling = append(l.finished, l.filling), nil
	return nil
}

// Commit publishes the rolls that end at through or before.
func (l *lane) Commit(through topology.Epoch) error {
	if l.err != nil {
		return l.err
	}
	whole := int64(through) / l.sink.epochs
	if l.seen == 0 {
		// What a checkpoint that the lane starts from covers is outside.
		l.committed = max(l.committed, topology.Epoch(whole*l.sink.epochs))
		return nil
	}
	if through > l.seen {
		return l.failed(fmt.Errorf("epoch %d is to be committed and only those up to %d were written", through, l.seen))
	}
	if err := l.publish(whole); err != nil {
		return l.failed(err)
	}
	l.committed = max(l.committed, topology.Epoch(whole*l.sink.epochs))
	return nil
}

// Committed is the end of the last published roll, or of the one before the first that is not.
func (l *lane) Committed() topology.Epoch { return l.committed }

// End publishes all rolls, the last of which will get no further rows.
func (l *lane) End() error {
	if l.err != nil {
		return l.err
	}
	if l.filling != nil {
		if err := l.finish(); err != nil {
			return l.failed(err)
		}
	}
	if err := l.publish(maxRoll); err != nil {
		return l.failed(err)
	}
	if l.seen != 0 {
		// What one that does not know yet that it was replaced has published since.
		if err := l.supersede(l.began); err != nil {
			return l.failed(err)
		}
	}
	l.committed, l.ended = max(l.committed, l.seen), true
	// Nobody needs what others left of the lane's files, all of which have their names. It is in nobody's way either.
	if err := l.sink.removeLeftovers(l.prefix, l.opening); err != nil && l.sink.config.Logger != nil {
		l.sink.config.Logger.Warn("temporary files of earlier writers stay", "table", l.sink.config.Table, "directory", l.sink.dir, "error", err)
	}
	return nil
}

// maxRoll is above every roll's number.
const maxRoll = int64(1) << 62

// publish gives the finished rolls below number before their names, in order, and makes that durable.
func (l *lane) publish(before int64) error {
	for len(l.finished) > 0 && l.finished[0].number < before {
		for _, prefix := range l.earlierPrefixes() {
			if err := l.supersedeRoll(prefix, l.finished[0].number); err != nil {
				return err
			}
		}
		if err := l.place(l.finished[0]); err != nil {
			return err
		}
		l.unsafe = true
		l.finished = slices.Delete(l.finished, 0, 1)
	}
	if len(l.earlier) > 0 && l.earlier[0] < before {
		return l.unexpected(l.earlier[0])
	}
	if l.unsafe {
		if err := l.sink.disk.syncDirectory(l.sink.dir); err != nil {
			return err
		}
		l.unsafe = false
	}
	return nil
}

// failed tells an error. Except when the lane only has to wait, it is the lane's end, and its temporary files go.
func (l *lane) failed(err error) error {
	var waits *connector.BlockedError
	var conflict *connector.ConflictError
	switch {
	case errors.As(err, &waits):
		return waits
	case isFull(err):
		return l.sink.blocked(err)
	case errors.As(err, &conflict):
		l.err = err
	default:
		l.err = l.sink.failed(err)
	}
	if discardErr := l.discard(); discardErr != nil {
		l.err = errors.Join(l.err, discardErr)
	}
	return l.err
}

func (l *lane) discard() error {
	var errs []error
	if l.filling != nil {
		errs = append(errs, l.filling.drop())
	}
	for _, r := range l.finished {
		errs = append(errs, r.drop())
	}
	l.filling, l.finished = nil, nil
	if l.marker != nil {
		errs = append(errs, l.marker.remove())
		l.marker = nil
	}
	return errors.Join(errs...)
}

// Close throws away what has not been published.
func (l *lane) Close() error {
	if err := l.discard(); err != nil {
		return l.sink.failed(err)
	}
	if l.err == nil && !l.ended {
		l.err = l.sink.failed(os.ErrClosed)
	}
	return nil
}

// name is the name of a roll's file: incarnation, lane, first and last epoch.
func (l *lane) name(number int64) string { return l.named(l.prefix, number) }

func (l *lane) named(prefix string, number int64) string {
	return fmt.Sprintf("%s%012d-%012d%s", prefix, number*l.sink.epochs+1, (number+1)*l.sink.epochs, l.writing.Extension)
}

// findEarlier lists the files of rolls from number from on: a predecessor's. Those of earlier generations go, when their rows come again.
func (l *lane) findEarlier(from int64) (err error) {
	if err := l.supersede(from); err != nil {
		return err
	}
	if l.earlier, err = l.published(l.prefix, from); err != nil {
		return err
	}
	slices.Sort(l.earlier)
	return nil
}

func (l *lane) path(number int64) string { return filepath.Join(l.sink.dir, l.name(number)) }
