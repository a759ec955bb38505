package coordinator

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// NodesMemory is what the steps on nodes remember. The zero value is a new leader's.
type NodesMemory struct {
	// BeganMs is since when this leader judges by missing reports; it begins anew when the leader itself stood still.
	BeganMs, LastMs int64
	Lives           []Life // ascending by process
	Pairs           []Pair // ascending by reporter, then of
	Losses          []Loss // the last maxLosses
}

const maxLosses = 64

// Life is what is known of a living process beside its reports.
type Life struct {
	Process topology.Process
	Version uint64 // of its record
	AtMs    int64  // when it was seen to join, also again; 0 when it was there before this leader
}

// Pair is a complaint about a process that lives.
type Pair struct {
	Reporter, Of topology.Process
	SinceMs      int64
}

// Nodes decides which processes are lost, and who is to blame when two do not reach each other.
//
// A process that has reported after a complaint about it began lives, so the complaint is about the pair; a report that could not
// be read is as good for that. Nobody is lost for want of reports before this leader has led for Timing.Silence, and the leader's
// own process never is.
//
// Where processor time is short, keep-alives and reports of the living come late. So the word of who has not reported lately does not
// count against the silent; a process of which nobody complains has twice the time to report, since of a dead one all do; and when
// most of the others are silent at once, it is likelier the leader or its machine: then nobody is lost for silence before
// Timing.Silence. Connections that ended are no silence.
func Nodes(v *View, m *NodesMemory) Decision {
	var d Decision
	if m.BeganMs == 0 || v.NowMs-m.LastMs > v.Timing.Stall || v.NowMs < m.LastMs {
		m.BeganMs, m.Pairs = v.NowMs, nil
	}
	first := m.LastMs == 0
	m.LastMs = v.NowMs
	m.seeLives(v, first)
	complaints := v.complaints()
	patient := v.mostAreSilent(m, complaints)
	var pairs []Pair
	for _, n := range v.State.Nodes {
		if n.Status != raftfsm.Alive && n.Status != raftfsm.Leaving {
			continue
		}
		p := n.Process()
		if p == v.Leader {
			pairs = append(pairs, pairsOf(p, complaints)...)
			continue
		}
		loss, conflicts := v.judge(p, m, complaints, patient)
		if loss != nil {
			d.command(&raftfsm.NodeStatus{Process: p, Version: n.Version, Status: raftfsm.Lost, Reason: loss.Why})
			d.Notes = append(d.Notes, Note{Kind: "lost", Text: fmt.Sprintf("%s: %s", p.Node, loss.Why),
				Figures: []raftfsm.KV{{Key: "detect_ms", Value: fmt.Sprint(loss.DetectMs)}}})
			m.lose(*loss)
			continue
		}
		pairs = append(pairs, conflicts...)
	}
	d.add(v.blame(m, pairs))
	return d
}

// lose remembers a loss; the command may have to be given again.
func (m *NodesMemory) lose(l Loss) {
	const again = 5000 // ms
	if slices.ContainsFunc(m.Losses, func(x Loss) bool { return x.Process == l.Process && l.AtMs-x.AtMs < again }) {
		return
	}
	m.Losses = append(slices.Clone(m.Losses), l) // views share the slice
	m.Losses = m.Losses[max(0, len(m.Losses)-maxLosses):]
}

// complaint is one that counts, with its reporter and when it began.
type complaint struct {
	by      topology.Process
	of      topology.Process
	kind    string
	beganMs int64
	sinceMs int64
	fresh   bool // its reporter has reported lately: it would have taken it back
}

// complaints are those of living processes that report, in the order of their reporters.
func (v *View) complaints() []complaint {
	var out []complaint
	for _, r := range v.Reports {
		p := r.Report.Process
		if !v.State.Lives(p) || v.NowMs-r.AtMs > v.Timing.Silence {
			continue
		}
		for _, c := range r.Report.Complaints {
			if c.Process != p && v.State.Lives(c.Process) {
				since := c.SinceMs + v.NowMs - r.AtMs
				out = append(out, complaint{p, c.Process, c.Kind, r.AtMs - c.SinceMs, since, v.NowMs-r.AtMs <= v.Timing.Fresh})
			}
		}
	}
	return out
}

// seeLives notes who has joined since.
func (m *NodesMemory) seeLives(v *View, first bool) {
	var lives []Life
	for _, n := range v.State.Nodes {
		if n.Status != raftfsm.Alive && n.Status != raftfsm.Leaving {
			continue
		}
		l := Life{Process: n.Process(), Version: n.Version, AtMs: v.NowMs}
		i, ok := slices.BinarySearchFunc(m.Lives, l.Process, func(l Life, p topology.Process) int { return compareProcess(l.Process, p) })
		if ok {
			l.AtMs = m.Lives[i].AtMs
		} else if first {
			l.AtMs = 0
		}
		// Who is there again, perhaps before this leader saw that it was not, had not died, whatever it was lost of.
		if !ok && !first || ok && m.Lives[i].Version != l.Version {
			m.Losses = slices.DeleteFunc(slices.Clone(m.Losses), func(x Loss) bool { return x.Process == l.Process }) // views share the slice
		}
		lives = append(lives, l)
	}
	m.Lives = lives // ascending, as nodes are
}

// signMs is when p last showed that it lives, 0 when never to this leader.
func (v *View) signMs(p topology.Process, m *NodesMemory) int64 {
	sign := max(v.reportedMs(p), v.unreadMs(p))
	if i, ok := slices.BinarySearchFunc(m.Lives, p, func(l Life, p topology.Process) int { return compareProcess(l.Process, p) }); ok {
		sign = max(sign, m.Lives[i].AtMs)
	}
	return sign
}

// mostAreSilent says whether the leader hears nothing of more than half of the other processes, of more than one at least.
func (v *View) mostAreSilent(m *NodesMemory, all []complaint) bool {
	others, silent := 0, 0
	for _, n := range v.State.Nodes {
		p := n.Process()
		if p == v.Leader || !v.State.Lives(p) {
			continue
		}
		others++
		sign := max(v.signMs(p, m), m.BeganMs)
		complains := slices.ContainsFunc(all, func(c complaint) bool {
			return c.of == p && c.by == v.Leader && c.kind == ComplaintSilent && sign <= c.beganMs+v.Timing.Slack
		})
		if complains || v.NowMs-sign > v.Timing.Fresh {
			silent++
		}
	}
	return silent > 1 && 2*silent > others
}

// judge says why a process is lost, nil when it is not, and which complaints about it are about pairs. Patient: not for silence yet.
func (v *View) judge(p topology.Process, m *NodesMemory, all []complaint, patient bool) (*Loss, []Pair) {
	one, pair := v.Timing.SilentOne, v.Timing.SilentPair
	if patient {
		one, pair = v.Timing.Silence, v.Timing.Silence
	}
	complained := false
	sign := v.signMs(p, m)
	lost := func(c complaint, why string) *Loss {
		return &Loss{p, v.NowMs, v.NowMs - c.beganMs, why, c.kind == ComplaintEnded}
	}
	var silent []complaint
	var pairs []Pair
	for _, c := range all {
		if c.of != p {
			continue
		}
		complained = true
		if c.kind == ComplaintSerf {
			if c.sinceMs >= v.Timing.Serf && v.NowMs-sign > v.Timing.Serf/2 {
				return lost(c, "the membership protocol has it failed"), nil
			}
			continue
		}
		if sign > c.beganMs+v.Timing.Slack || v.told(p, c, all) {
			pairs = append(pairs, Pair{Reporter: c.by, Of: p})
			continue
		}
		switch c.kind {
		case ComplaintEnded:
			return lost(c, fmt.Sprintf("its connection with %s ended without goodbye", c.by.Node)), nil
		case ComplaintSilent:
			if !c.fresh {
				continue
			}
			if c.sinceMs >= one {
				return lost(c, fmt.Sprintf("%s has heard nothing of it for %d ms", c.by.Node, c.sinceMs)), nil
			}
			if c.sinceMs >= pair {
				silent = append(silent, c)
			}
		}
	}
	if len(silent) >= 2 {
		return lost(silent[0], fmt.Sprintf("%s and %s have heard nothing of it for %d ms", silent[0].by.Node, silent[1].by.Node, pair)), nil
	}
	silence := v.Timing.Silence
	if !complained && v.heardBy(p) {
		silence *= 2
	}
	if heard := max(sign, m.BeganMs); v.NowMs-heard > silence {
		return &Loss{p, v.NowMs, v.NowMs - heard, fmt.Sprintf("it has not reported for %d ms", v.NowMs-heard), false}, nil
	}
	return nil, slices.Compact(pairs)
}

// told says that p itself tells of the end that c is about: it lived after that, and only the connection is gone. What it told before it fell
// silent says nothing of now.
func (v *View) told(p topology.Process, c complaint, all []complaint) bool {
	return c.kind == ComplaintEnded && slices.ContainsFunc(all, func(o complaint) bool {
		return o.by == p && o.of == c.by && o.fresh && o.kind == ComplaintEnded && o.beganMs >= c.beganMs-v.Timing.Slack
	})
}

// heardBy says whether somebody else reports, who would complain of p.
func (v *View) heardBy(p topology.Process) bool {
	return slices.ContainsFunc(v.Reports, func(r Received) bool {
		return r.Report.Process != p && v.State.Lives(r.Report.Process) && v.NowMs-r.AtMs <= v.Timing.Fresh
	})
}

// pairsOf are the complaints about the leader's own process, which lives.
func pairsOf(p topology.Process, all []complaint) []Pair {
	var out []Pair
	for _, c := range all {
		if c.of == p && c.kind != ComplaintSerf {
			out = append(out, Pair{Reporter: c.by, Of: p})
		}
	}
	return slices.Compact(out)
}

// blame takes the partitions of the one with more complaints, of two that live and have not reached each other for a while.
func (v *View) blame(m *NodesMemory, pairs []Pair) Decision {
	var d Decision
	for i := range pairs {
		pairs[i].SinceMs = v.NowMs
		j := slices.IndexFunc(m.Pairs, func(x Pair) bool { return x.Reporter == pairs[i].Reporter && x.Of == pairs[i].Of })
		if j >= 0 {
			pairs[i].SinceMs = m.Pairs[j].SinceMs
		}
	}
	m.Pairs = pairs
	count := func(p topology.Process) (n int) {
		for _, x := range pairs {
			if x.Of == p {
				n++
			}
		}
		return n
	}
	for _, x := range pairs {
		guilty, other := x.Of, x.Reporter
		if a, b := count(guilty), count(other); a < b || a == b && (guilty == v.Leader || other != v.Leader && compareProcess(guilty, other) < 0) {
			guilty, other = other, guilty
		}
		n := v.State.Node(guilty.Node)
		if v.NowMs-x.SinceMs < v.Timing.Pair || n == nil || n.Process() != guilty || v.blamed(n) || v.blamed(v.State.Node(other.Node)) {
			continue
		}
		until := v.NowMs + v.Timing.Blame
		why := fmt.Sprintf("it and %s do not reach each other; %d processes complain of it, %d of %s", other.Node, count(guilty), count(other), other.Node)
		d.command(&raftfsm.NodeBlame{Process: guilty, Version: n.Version, UntilMs: until, Reason: why})
		d.Notes = append(d.Notes, Note{Kind: "blamed", Text: fmt.Sprintf("%s gets no partitions for %d s: %s", guilty.Node, v.Timing.Blame/1000, why)})
		break // one at a time: the others count anew
	}
	return d
}
