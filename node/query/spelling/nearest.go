package spelling

import (
	"slices"
	"strings"

	"github.com/hbollon/go-edlib"
)

// wordMax bounds the words that are compared, in bytes: nobody mistypes longer ones by a letter.
const wordMax = 64

// Distance counts the insertions, deletions, replacements and swaps of neighbours, in characters, that make b of a, whatever their case.
// Words of more than 64 bytes are as far from all others as they are long.
func Distance(a, b string) int {
	if len(a) > wordMax || len(b) > wordMax {
		return max(len(a), len(b))
	}
	return edlib.OSADamerauLevenshteinDistance(strings.ToLower(a), strings.ToLower(b))
}

// Nearest is the name that word most likely stands for: the one with the fewest slips, if they are few for its length; else one that word
// begins. The first in sorted order of equals, "" without any. The names are left as they are.
func Nearest(word string, names []string) string {
	sorted := slices.Sorted(slices.Values(names))
	best, fewest := "", 4
	for _, name := range sorted {
		if slips := Distance(word, name); slips < fewest && slips <= (max(len(word), len(name))+1)/3 {
			best, fewest = name, slips
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	lower := strings.ToLower(word)
	for _, name := range sorted {
		if strings.HasPrefix(strings.ToLower(name), lower) {
			return name
		}
	}
	return ""
}
