package engine

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestTheMostFrequentTextIsFoundAmongMany(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s spaceSaving
	for range 100_000 {
		if r.IntN(10) < 4 {
			s.add([]byte("alice"))
		} else {
			s.add(fmt.Appendf(nil, "user-%d", r.IntN(10_000)))
		}
	}
	if text, share := s.top(); text != "alice" || share < 0.35 || share > 0.45 {
		t.Errorf("found %q with %.2f of all, it is alice with 0.4", text, share)
	}
	if len(s.counters) > countersMax {
		t.Errorf("%d counters", len(s.counters))
	}
	var even spaceSaving
	for i := range 100_000 {
		even.add(fmt.Appendf(nil, "user-%d", i%10_000))
	}
	if text, share := even.top(); text != "" {
		t.Errorf("%q with %.2f stands out among equals", text, share)
	}
}

func TestKeysAreSampledOnlyWhileAKeyGroupHasAGreatPart(t *testing.T) {
	var h hotKey
	loads := make([]int64, 8)
	step := func(hot int64) {
		for i := range loads {
			loads[i] += 1000
		}
		loads[3] += hot
		h.look(loads, 100)
	}
	step(0)
	step(0)
	if h.on {
		t.Error("keys are sampled while all key groups are alike")
	}
	step(50_000)
	if !h.on || h.group != 103 {
		t.Errorf("key group 103 has most of the rows; sampled is %v %d", h.on, h.group)
	}
	for range 100 {
		h.sketch.add([]byte("k"))
	}
	for i := range loads {
		loads[i] += 100
	}
	loads[3] += 50_000
	if key, share := h.look(loads, 100); key != "k" || share != 1 {
		t.Errorf("found %q, %g", key, share)
	}
	step(0)
	if h.on {
		t.Error("keys are still sampled")
	}
	if h.look(loads[:4], 100); h.on {
		t.Error("a partition that gave key groups away goes on sampling")
	}
}
