package relational

import (
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
)

// Failure is an error of a custom operator: at which row or timer, and what it said. The engine adds operator and key group.
type Failure struct {
	Where string // "row {column: value, ...}" or "timer name"
	Err   error
}

func (f *Failure) Error() string { return f.Where + ": " + f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// rowTextMax is the most bytes of a row that an error shows.
const rowTextMax = 300

// RowText is a row for people: {column: value, ...}, cut.
func RowText(b *batch.Batch, row int) string {
	var dst []byte
	for i := range b.Cols {
		dst = append(dst, ", "...)
		if i == 0 {
			dst = append(dst[:0], '{')
		}
		dst = append(append(dst, b.Schema.Fields[i].Name...), ": "...)
		dst = appendValueText(dst, &b.Cols[i], row)
		if len(dst) > rowTextMax {
			return strings.ToValidUTF8(string(dst[:rowTextMax]), "") + "..."
		}
	}
	return string(append(dst, '}'))
}

func appendValueText(dst []byte, c *batch.Column, row int) []byte {
	if c.Kind() != batch.KindBytes || c.IsNull(row) {
		return expr.AppendText(dst, c, row, nil)
	}
	v := c.Bytes(row)
	cut := v[:min(len(v), rowTextMax)]
	if len(cut) < len(v) {
		for n := 0; n < utf8.UTFMax && len(cut) > 0 && !utf8.RuneStart(v[len(cut)]); n++ {
			cut = cut[:len(cut)-1]
		}
	}
	if utf8.Valid(cut) {
		return append(append(append(dst, '\''), cut...), '\'')
	}
	return fmt.Appendf(dst, "X'%X'", cut)
}

// own are the packages that a custom operator's mistake may surface in: the frame to show is the one that called them.
var own = []string{
	"runtime.",
	"runtime/",
	"reflect.",
	"github.com/seepnode/seepnode/dataplane/",
	"github.com/seepnode/seepnode/backup/state.",
	"github.com/seepnode/seepnode/node/operator.",
}

const adapterPackage = "github.com/seepnode/seepnode/node/relational."

// panicError makes an error of what a custom operator panicked with, naming the topmost frame of its own code. It must be
// called by the deferred function that recovered, or by one that it calls.
func panicError(value any) error {
	if limit, ok := value.(*state.LimitError); ok {
		return limit
	}
	what := fmt.Errorf("panic: %v", value)
	if err, ok := value.(error); ok {
		what = fmt.Errorf("panic: %w", err)
	}
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	panicking := false
	for {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic" || f.Function == "runtime.sigpanic":
			panicking = true
		case !panicking:
		case strings.HasPrefix(f.Function, adapterPackage):
			return what
		case f.File != "" && !isOwn(f.Function):
			return fmt.Errorf("%w (in %s, %s:%d)", what, f.Function, f.File, f.Line)
		}
		if !more {
			return what
		}
	}
}

func isOwn(function string) bool {
	for _, p := range own {
		if strings.HasPrefix(function, p) {
			return true
		}
	}
	return false
}
