package autoscale

// cost is what partitions of a stage use of their nodes, learned from what they did: a fixed part, for being there while epochs pass, and
// a part for each row. On a small node the fixed part may be the greater, so that rows over use would say far too little of what a node
// takes. Both are the line of least squares through uses and rates of all partitions, older ones counting less and less. While rates hardly
// differ a line says nothing: what was known of the fixed part before is one weak observation among the others, at first that it is half of
// all that is seen.
type cost struct {
	n, x, y, xx, xy float64
	anchor          float64 // the fixed part, as it was last seen from rates that differed,
	known           bool    // if they ever did
	off             int     // samples in a row that were far from the line
}

const (
	// costKept is what an observation counts for after a second: half after 23.
	costKept = 0.97
	// anchorWeight is how many seconds the anchor is worth, anchorNew the weight of the latest second in it, and
	// anchorLeast the least variance of rates, in their mean's square, that says anything.
	anchorWeight = 0.5
	anchorNew    = 0.3
	anchorLeast  = 0.01
	// costFar is how far from the line a use may be before the rows are taken for others than those before: then what was learned is
	// dropped, when it is so costFarFor samples in a row.
	// A partition that can do no more says best what its node takes, so that little is too far.
	costFar     = 0.25
	costFullFar = 0.05
	costFarFor  = 2
	// fixedMost bounds the fixed part, rowsLeast the part of the mean use that rows make, also where the fixed part is known from rates that
	// differed: a line that goes through noise may fall.
	fixedMost      = 0.8
	rowsLeast      = 0.2
	rowsLeastKnown = 0.02
)

// learn takes what partitions did in a second: rows per second, and the share of what a node has. It says whether it has begun anew, since rows are
// others than they were.
func (c *cost) learn(seen []observation) (anew bool) {
	if len(seen) == 0 {
		return false
	}
	// Their mean: that one partition has more rows than another and uses more, or less, may be for what rows they are.
	var o observation
	for _, x := range seen {
		o.rows, o.use = o.rows+x.rows/float64(len(seen)), o.use+x.use/float64(len(seen))
	}
	fixed, perRow := c.line()
	far, limit := o.use-fixed-perRow*o.rows, costFar
	if o.use >= 1 {
		limit = costFullFar
	}
	if c.n > 0 && (far > limit || far < -limit) {
		if c.off++; c.off >= costFarFor {
			*c = cost{anchor: c.anchor, known: c.known}
			anew = true
		}
	} else {
		c.off = 0
	}
	c.n, c.x, c.y, c.xx, c.xy = costKept*c.n, costKept*c.x, costKept*c.y, costKept*c.xx, costKept*c.xy
	c.n++
	c.x, c.y = c.x+o.rows, c.y+o.use
	c.xx, c.xy = c.xx+o.rows*o.rows, c.xy+o.rows*o.use
	if mean := c.x / c.n; c.xx/c.n-mean*mean > anchorLeast*mean*mean {
		fixed, _ := c.through(0, 0)
		if !c.known {
			c.anchor, c.known = fixed, true
		}
		c.anchor += anchorNew * (fixed - c.anchor)
	}
	return anew
}

// observation is what a partition did in a second.
type observation struct{ rows, use float64 }

// line gives the fixed part of a partition's use and what each row per second adds; 0 and 0 while nothing is known.
func (c *cost) line() (fixed, perRow float64) {
	if c.n == 0 || c.x <= 0 || c.y <= 0 {
		return 0, 0
	}
	if !c.known {
		return c.through(anchorWeight, c.guess())
	}
	return c.through(anchorWeight, c.anchor)
}

// guess is the fixed part while nothing tells it.
func (c *cost) guess() float64 { return min(fixedMost, c.y/c.n/2) }

// through is the line of least squares through what was seen and a fixed part that counts for so much.
func (c *cost) through(weight, anchor float64) (fixed, perRow float64) {
	n := c.n + weight
	mx, my := c.x/n, (c.y+weight*anchor)/n
	perRow = (c.xy/n - mx*my) / (c.xx/n - mx*mx)
	mx, my = c.x/c.n, c.y/c.n // of what was seen
	part := rowsLeast
	if c.known {
		part = rowsLeastKnown
	}
	least, most := max(part*my, my-fixedMost)/mx, my/mx
	perRow = max(least, min(most, perRow))
	return my - perRow*mx, perRow
}

// rate is how many rows per second a partition takes that uses all of a node which the fixed part leaves; 0 while nothing is known.
func (c *cost) rate() float64 {
	fixed, perRow := c.line()
	if perRow <= 0 {
		return 0
	}
	return (1 - fixed) / perRow
}

// full is what a stage's partitions took when they could do no more, which bounds what costs say. A node has less to do for each row the more rows
// there are, as long as it can, and rows that fill a state may cost next to nothing: a line through their uses and later ones promised 630 rows per
// second of a node of a fifth of a core that could do no more at 430. It is their mean that is looked at: one that is slower than the others is on
// a node that is, and says nothing of their rows.
type full struct {
	rows  float64 // per second and partition; 0 while it is not known
	fades float64 // how much more is thought possible after each second
	at    int     // samples in a row in which they were
}

const (
	// fullUse is the use of what the fixed part leaves at which partitions can do no more, fullFalling the use of their nodes at which they cannot while
	// the query falls behind, when it is so fullFor samples in a row.
	fullUse, fullFalling = 0.95, 0.85
	fullFor              = 3
	// fullFades is how fast it fades at first, twice as much after 12 minutes: rows may have become cheaper. Each time it has faded too far it
	// fades half as fast from then on, or a steady load would have its layout made smaller and larger again for ever.
	fullFades = 0.001
	// fullOutdone is by how much partitions that are not full must do more for what was seen to be of other rows.
	fullOutdone = 1.1
)

// look takes a sample of a stage, whose partitions use so much of what their fixed parts leave of nodes; falling says that the query falls behind, bottleneck that
// this stage is what holds others back. Then all that it uses counts: how much of that is for rows is not known well where it is little.
func (x *full) look(load *StageLoad, rest float64, settled, falling, bottleneck bool) {
	x.rows *= 1 + x.fades
	n := float64(len(load.Partitions))
	if !settled || n == 0 {
		x.at = 0
		return
	}
	use, rows := 0.0, load.rowsIn()/n
	for i := range load.Partitions {
		use += load.Partitions[i].Use / n
	}
	if !bottleneck {
		use = rest
	}
	if rows <= 0 || rest < fullUse && (use < fullFalling || !falling) {
		if x.at = 0; rows > fullOutdone*x.rows {
			x.rows = 0
		}
		return
	}
	if x.at++; x.at < fullFor {
		return
	}
	switch {
	case x.rows == 0:
		x.rows, x.fades = rows, fullFades
	case rows > x.rows:
		x.rows = rows
	case falling:
		if x.at == fullFor {
			x.fades /= 2
		}
		x.rows += smooth * (rows - x.rows)
	}
}

// groupLoads is what is known of how a stage's rows are spread over its key groups: rows of each in some window, older ones counting less.
type groupLoads struct {
	rows []float64
	seen int // windows
}

const (
	// groupsNew is the weight of the latest window.
	groupsNew = 0.1
	// groupsWindows is how many windows that do not overlap are as good as the weighted ones: one a second, of meterWindowMs.
	groupsWindows = (2/groupsNew - 1) * 1000 / meterWindowMs
)

// add takes the rows of each key group in the latest window.
func (l *groupLoads) add(groups []float64) {
	if len(l.rows) != len(groups) {
		l.rows, l.seen = make([]float64, len(groups)), 0
	}
	l.seen++
	weight := max(groupsNew, 1/float64(l.seen))
	for g := range groups {
		l.rows[g] += weight * (groups[g] - l.rows[g])
	}
}

// shares are the parts of the stage's rows that its key groups have, nil when nothing is known. Of few rows most differences are chance:
// they are made smaller by the part of their variance that chance alone would give.
func (l *groupLoads) shares() []float64 {
	total := sum(l.rows)
	if total <= 0 {
		return nil
	}
	groups := float64(len(l.rows))
	mean, variance := total/groups, 0.0
	for _, x := range l.rows {
		variance += (x - mean) * (x - mean) / groups
	}
	// Chance gives counts a variance as great as their mean, and the mean of so many counts so much less.
	windows := min(groupsWindows, max(1, float64(l.seen)*1000/meterWindowMs))
	real := 0.0
	if chance := mean / windows; variance > chance {
		real = 1 - chance/variance
	}
	out := make([]float64, len(l.rows))
	for g, x := range l.rows {
		out[g] = (mean + real*(x-mean)) / total
	}
	return out
}
