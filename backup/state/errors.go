package state

import "fmt"

// SchemaError says that encoded state and the registered tables do not fit each other.
type SchemaError struct {
	Table string // name of the table; empty for a table outside a group
	What  string // what differs
}

func (e *SchemaError) Error() string {
	if e.Table == "" {
		return "state: " + e.What
	}
	return fmt.Sprintf("state %q: %s", e.Table, e.What)
}

// CorruptError says that bytes are no encoding of state: they were damaged or are something else.
type CorruptError struct {
	Table  string // name of the table; empty for the group's own framing or a table outside a group
	Offset int    // bytes from the start of what was being decoded
	What   string
}

func (e *CorruptError) Error() string {
	if e.Table == "" {
		return fmt.Sprintf("state: encoding is corrupt at byte %d: %s", e.Offset, e.What)
	}
	return fmt.Sprintf("state %q: encoding is corrupt at byte %d: %s", e.Table, e.Offset, e.What)
}

// LimitError says that one table of one key group outgrew what its index or an arena can address. Writing methods panic
// with it, since nothing sensible can follow; the engine fails the query with operator, key group and row. Apply returns it.
type LimitError struct {
	What  string
	Limit uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("state: one table of one key group would hold more than %d %s: use more key groups or smaller values", e.Limit, e.What)
}

// TypeError says that a Go type cannot be kept in state.
type TypeError struct {
	State string // name given at registration
	What  string // the field and what is wrong with it
}

func (e *TypeError) Error() string { return fmt.Sprintf("state %q: %s", e.State, e.What) }
