package spelling

import (
	"slices"
	"strings"
	"testing"
)

func TestNearestNameIsFewSlipsAway(t *testing.T) {
	names := []string{"query", "run", "version", "validate", "verbose", "Total"}
	given := slices.Clone(names)
	for word, want := range map[string]string{
		"rnu": "run", "rum": "run", "r": "", "runn": "run", "qurey": "query", "versoin": "version", "agent": "", "vali": "validate",
		"valdiate": "validate", "": "", "xyz": "", "verb": "verbose", strings.Repeat("run", 100): "", "QUREY": "query", "total": "Total", "tota": "Total",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
	if !slices.Equal(names, given) {
		t.Errorf("the names are %q afterwards, they were %q", names, given)
	}
}

func TestNearestOfEqualsIsTheFirstInSortedOrder(t *testing.T) {
	for _, names := range [][]string{{"cat", "bat", "rat"}, {"rat", "cat", "bat"}} {
		if got := Nearest("hat", names); got != "bat" {
			t.Errorf("Nearest(hat) of %q = %q, want bat", names, got)
		}
	}
}
