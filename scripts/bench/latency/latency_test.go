package main

import (
	"testing"
	"time"

	"github.com/seepnode/seepnode/scripts/bench/sample"
)

func TestEveryMillisecondOfTheEpochsThatBecomeVisibleIsARow(t *testing.T) {
	at := time.Unix(100, 0)
	ages := visible(6, 9, at, 10*time.Millisecond, at.Add(4*time.Millisecond))
	if len(ages) != 30 || ages.Max() != 33*time.Millisecond+500*time.Microsecond || ages.Quantile(0) != 4*time.Millisecond+500*time.Microsecond {
		t.Fatal(len(ages), ages.Max(), ages.Quantile(0))
	}
	if got := sample.Ms(ages.Quantile(0.5)); got != "18.5" {
		t.Fatal(got)
	}
}
