package raftfsm

import "fmt"

// Code says what became of a command. Numbers are on disk: never change or reuse one.
type Code uint8

const (
	// Applied: the command changed the state, now or when the request of its ID was first applied.
	Applied Code = 1
	// Already: what it asks for was so before; nothing changed.
	Already Code = 2
	// Stale: it was based on a version, term or value that is no longer current; nothing changed. Look again and decide anew.
	Stale Code = 3
	// Refused: it would break an invariant or names what does not exist; nothing changed.
	Refused Code = 4
)

// String is the code's name.
func (c Code) String() string {
	switch c {
	case Applied:
		return "applied"
	case Already:
		return "already so"
	case Stale:
		return "stale"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// Reason says why a command was Stale or Refused. Numbers are on disk: never change or reuse one.
type Reason uint8

const (
	// NoReason: Applied or Already.
	NoReason Reason = 0
	// OldVersion: the version, term or epoch that the command names is not the current one.
	OldVersion Reason = 1
	// NoSuchQuery: no query has this incarnation.
	NoSuchQuery Reason = 2
	// OldGeneration: the query has another generation by now.
	OldGeneration Reason = 3
	// NameTaken: another query has the name.
	NameTaken Reason = 4
	// NoSuchNode: no node has the name.
	NoSuchNode Reason = 5
	// ProcessGone: the process is not the node's current one, or takes nothing new because it is lost or leaving.
	ProcessGone Reason = 6
	// OtherFingerprint: the process does not have the fingerprint of the query's generation.
	OtherFingerprint Reason = 7
	// BadCoverage: key groups of a stage would not be covered exactly once.
	BadCoverage Reason = 8
	// ChangePending: a key group has a pending change already.
	ChangePending Reason = 9
	// BadEpoch: the epoch is trimmed, or not complete.
	BadEpoch Reason = 10
	// StillNamed: the node holds a partition, shadow, output log, vault or vote.
	StillNamed Reason = 11
	// BadTransition: a query in this state cannot get into that one.
	BadTransition Reason = 12
	// NoSeals: a source would have no vaults for its seals, or a log of seals would be lost.
	NoSeals Reason = 13
	// BadVaults: a vault set is empty, names a node twice, or a process that is gone.
	BadVaults Reason = 14
	// OtherCluster: the cluster has an id already, and another one.
	OtherCluster Reason = 15
	// OverLimit: too many or too long.
	OverLimit Reason = 16
	// Malformed: the command cannot be decoded, or lacks what it must have.
	Malformed Reason = 17
	// NoSuchShadow: the shadows named are not there, or not these.
	NoSuchShadow Reason = 18
	// NoCluster: the cluster has no id yet.
	NoCluster Reason = 19
)

var reasonNames = [...]string{
	NoReason: "", OldVersion: "old version", NoSuchQuery: "no such query", OldGeneration: "old generation", NameTaken: "name taken",
	NoSuchNode: "no such node", ProcessGone: "process gone", OtherFingerprint: "other fingerprint", BadCoverage: "bad coverage",
	ChangePending: "change pending", BadEpoch: "bad epoch", StillNamed: "still named", BadTransition: "bad transition",
	NoSeals: "no seals", BadVaults: "bad vaults", OtherCluster: "other cluster", OverLimit: "over limit", Malformed: "malformed",
	NoSuchShadow: "no such shadow", NoCluster: "no cluster",
}

// String is the reason's name.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Outcome is what Apply gives for a command: the same on every node.
type Outcome struct {
	Code   Code
	Reason Reason
	Text   string // for people, when Stale or Refused
	// Version is the state's after the command: a view of at least this version shows its effect.
	Version uint64
	// Value is what the command created, if it created something numbered: a query's incarnation, the first new instance, a seal
	// log's number, a node's new version.
	Value uint64
}

// Done says that what the command asks for holds: it was Applied, or Already so.
func (o Outcome) Done() bool { return o.Code == Applied || o.Code == Already }

// Err is nil when Done, and an *OutcomeError otherwise.
func (o Outcome) Err() error {
	if o.Done() {
		return nil
	}
	return &OutcomeError{o}
}

// OutcomeError is a command that was Stale or Refused.
type OutcomeError struct{ Outcome Outcome }

func (e *OutcomeError) Error() string {
	if e.Outcome.Text == "" {
		return fmt.Sprintf("%v: %v", e.Outcome.Code, e.Outcome.Reason)
	}
	return e.Outcome.Text
}

func applied(value uint64) Outcome { return Outcome{Code: Applied, Value: value} }
func already(value uint64) Outcome { return Outcome{Code: Already, Value: value} }

func stale(r Reason, format string, args ...any) Outcome {
	return Outcome{Code: Stale, Reason: r, Text: fmt.Sprintf(format, args...)}
}

func refused(r Reason, format string, args ...any) Outcome {
	return Outcome{Code: Refused, Reason: r, Text: fmt.Sprintf(format, args...)}
}
